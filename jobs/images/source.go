package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Spec is what the job file says about the images.
type Spec struct {
	URI        string
	Key        string // Stem, Path or Folder; empty: Stem
	KeyField   string // column of Avro and Parquet files
	ImageField string // likewise; of tar archives: the endings that are images, parted by ";"
	Multiple   string // First, Mean or Max; empty: First
}

// Resolver opens URIs.
type Resolver interface {
	Resolve(ctx context.Context, uri string) (dfs.FS, dfs.Path, error)
}

// Format is what images come in.
type Format string

// The formats.
const (
	Files   Format = "files"
	Tar     Format = "tar"
	Avro    Format = "avro"
	Parquet Format = "parquet"
)

// Source is the files of a source of one format.
type Source struct {
	Format Format
	Files  []dfs.Info // in the order of the source
	FS     dfs.FS

	root   dfs.Path // the folder that keys of files are relative to
	scope  string   // what makes a URI of a path
	packed bool     // by package pack
	lookup string   // the last lookup file of a packed folder
}

// SourceError says that a source cannot be used.
type SourceError struct {
	Key   string // of the job file: images.uri if it is empty
	Path  string
	Cause string
	Fix   string
	Err   error
}

func (e *SourceError) Error() string {
	s := e.Path + ": " + e.Cause
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// ErrorID is stable.
func (e *SourceError) ErrorID() string { return "E-IMAGES" }

// Input is what cannot be used.
func (e *SourceError) Input() string { return e.Path }

// Hint says what to do.
func (e *SourceError) Hint() string { return e.Fix }

// scopeOf is what a URI has in front of the path that its file system knows.
func scopeOf(uri string) string {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || strings.Contains(scheme, "/") || strings.EqualFold(scheme, "file") {
		return "/"
	}
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host + "/"
}

func (s *Source) uri(p dfs.Path) string { return s.scope + string(p) }

// Find lists the files of a source and finds out their format.
func Find(ctx context.Context, r Resolver, uri string) (*Source, error) {
	fs, root, err := r.Resolve(ctx, uri)
	if err != nil {
		return nil, err
	}
	s := &Source{FS: fs, root: root, scope: scopeOf(uri)}
	info, err := dfs.Info{}, errs.E("stat", errs.NotExist, uri, nil)
	if root != "" {
		info, err = fs.Stat(ctx, root)
	}
	switch {
	case err == nil:
		s.Files = []dfs.Info{info}
		s.root = root.Dir()
	case errs.Is(err, errs.NotExist):
		if err := s.list(ctx, uri); err != nil {
			return nil, err
		}
	case errs.Is(err, errs.Invalid): // a pipe, a device
		return nil, &SourceError{Path: uri, Cause: "cannot be read", Fix: "name the folder or the files that hold the images", Err: err}
	default:
		return nil, &SourceError{Path: uri, Cause: "cannot be read", Fix: "check the permissions", Err: err}
	}
	if err := s.choose(ctx, uri, len(s.Files) == 1 && s.Files[0].Path == root); err != nil {
		return nil, err
	}
	return s, nil
}

// list finds the files below a folder, or those that a pattern means.
func (s *Source) list(ctx context.Context, uri string) error {
	dir, patterns := s.root, []string(nil)
	if hasPattern(string(s.root)) && !s.isFolder(ctx) {
		var err error
		if patterns, err = expand(string(s.root)); err != nil {
			return &SourceError{Path: uri, Cause: "is no pattern", Fix: "write {000..127}, {a,b}, * or ?", Err: err}
		}
		dir = dfs.Path(strings.TrimSuffix(fixedFolder(string(s.root)), "/"))
	}
	wanted := map[string]int{} // of patterns without wildcards: their order
	var wild []int             // the others
	for i, p := range patterns {
		if strings.ContainsAny(p, "*?[") {
			wild = append(wild, i)
		} else {
			wanted[p] = i
		}
	}
	found := map[int][]dfs.Info{}
	any := false
	for info, err := range s.FS.List(ctx, dir) {
		if err != nil {
			fix := "check the folder and its permissions"
			var says *errs.Error
			if errors.As(err, &says) && says.Hint() != "" {
				fix = says.Hint()
			}
			return &SourceError{Path: uri, Cause: "cannot be read", Fix: fix, Err: err}
		}
		any = true
		if patterns == nil {
			switch base := info.Path.Base(); {
			case isData(base):
				s.Files = append(s.Files, info)
			case info.Path == dir.Join(PackMarker):
				s.packed = true
			case strings.HasSuffix(base, ".lookup"):
				s.lookup = base
			}
			continue
		}
		if i, ok := wanted[string(info.Path)]; ok {
			found[i] = append(found[i], info)
			continue
		}
		for _, i := range wild {
			ok, err := path.Match(patterns[i], string(info.Path))
			if err != nil {
				return &SourceError{Path: uri, Cause: "is no pattern", Fix: "write {000..127}, {a,b}, * or ?", Err: err}
			}
			if ok && isData(info.Path.Base()) {
				found[i] = append(found[i], info)
				break
			}
		}
	}
	if patterns == nil {
		if !any {
			return &SourceError{Path: uri, Cause: "does not exist, or is an empty folder", Fix: "name the folder or the files that hold the images"}
		}
		return nil
	}
	s.root = dir
	for i, p := range patterns {
		if len(found[i]) == 0 && !strings.ContainsAny(p, "*?[") {
			return &SourceError{Path: s.uri(dfs.Path(p)), Cause: "does not exist", Fix: "the pattern " + uri + " names it"}
		}
		s.Files = append(s.Files, found[i]...)
	}
	return nil
}

// isFolder tells whether there is a folder whose name looks like a pattern.
func (s *Source) isFolder(ctx context.Context) bool {
	for _, err := range s.FS.List(ctx, s.root) {
		return err == nil
	}
	return false
}

// formatOf tells the format of a container by its name, or Files.
func formatOf(name string) Format {
	switch strings.ToLower(path.Ext(name)) {
	case ".tar":
		return Tar
	case ".avro":
		return Avro
	case ".parquet":
		return Parquet
	}
	return Files
}

// choose finds the format of the files that were found. In a folder that holds containers of one format and no image
// files, those are the source, and what lies beside them is not.
func (s *Source) choose(ctx context.Context, uri string, single bool) error {
	if single {
		return s.sniff(ctx, uri)
	}
	n := map[Format]int{}
	loose := 0
	for _, f := range s.Files {
		n[formatOf(string(f.Path))]++
		if isImageName(string(f.Path)) {
			loose++
		}
	}
	var formats []Format
	for _, f := range []Format{Tar, Avro, Parquet} {
		if n[f] > 0 {
			formats = append(formats, f)
		}
	}
	switch {
	case len(s.Files) == 0:
		return &SourceError{Path: uri, Cause: "holds no file", Fix: "name the folder or the files that hold the images"}
	case len(formats) == 0:
		s.Format = Files
		return nil
	case len(formats) > 1:
		return &SourceError{Path: uri, Cause: fmt.Sprintf("holds files of several formats: %s", list(formats)), Fix: "name those that hold the images with a pattern such as " + uri + "/*." + string(formats[0])}
	case loose > 0:
		return &SourceError{Path: uri, Cause: fmt.Sprintf("holds %d image files and %d .%s files", loose, n[formats[0]], formats[0]), Fix: "name the ones that are meant with a pattern such as " + uri + "/*." + string(formats[0])}
	}
	if s.packed && s.lookup != LookupName(n[Avro]) {
		return &SourceError{Path: uri, Cause: "is a packed folder that is not finished", Fix: "run the same vista-mr pack command again: it goes on where it stopped"}
	}
	s.Format = formats[0]
	s.Files = slices.DeleteFunc(s.Files, func(f dfs.Info) bool { return formatOf(string(f.Path)) != s.Format })
	return nil
}

func list(f []Format) string {
	var out []string
	for _, x := range f {
		out = append(out, string(x))
	}
	return strings.Join(out, ", ")
}

// sniff finds the format of a single file by its content.
func (s *Source) sniff(ctx context.Context, uri string) error {
	f, err := s.FS.Open(ctx, s.Files[0].Path)
	if err != nil {
		return &SourceError{Path: uri, Cause: "cannot be read", Fix: "check the file and its permissions", Err: err}
	}
	defer f.Close() // reading only
	w := window{r: f, size: f.Size(), chunk: 512}
	b, err := w.peek(0, 512)
	if err != nil {
		return &SourceError{Path: uri, Cause: "cannot be read", Fix: "check the file and its permissions", Err: err}
	}
	switch {
	case bytes.HasPrefix(b, []byte("PAR1")):
		s.Format = Parquet
	case bytes.HasPrefix(b, []byte("Obj\x01")):
		s.Format = Avro
	case len(b) == 512 && (string(b[257:262]) == "ustar" || formatOf(uri) == Tar):
		s.Format = Tar
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		return &SourceError{Path: uri, Cause: "is compressed as a whole, so that no image in it can be found without unpacking all before it", Fix: "unpack it with gunzip: images are compressed already"}
	case isImageData(b):
		return &SourceError{Path: uri, Cause: "is a single image", Fix: "name the folder that holds the image files"}
	default:
		return &SourceError{Path: uri, Cause: "is neither a folder nor a tar, Avro or Parquet file", Fix: "name the folder that holds the image files"}
	}
	return nil
}
