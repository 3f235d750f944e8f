package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// scanners is how many containers are walked at once.
const scanners = 4

// Scan makes the index of a source. The progress function, if there is one, is told how many of the
// source's files have been walked.
func Scan(ctx context.Context, r Resolver, spec Spec, progress func(done, total int)) (*Index, error) {
	s, err := Find(ctx, r, spec.URI)
	if err != nil {
		return nil, err
	}
	return s.scan(ctx, spec, progress)
}

func (s *Source) scan(ctx context.Context, spec Spec, progress func(done, total int)) (_ *Index, err error) {
	b := &builder{}
	if s.Format == Files {
		err = s.scanFiles(spec, b)
	} else {
		err = s.scanContainers(ctx, spec, b, progress)
	}
	if err != nil {
		return nil, err
	}
	if len(b.entries) == 0 {
		return nil, &SourceError{Path: spec.URI, Cause: "holds no image", Fix: "name the files and the columns that hold the images"}
	}
	x := b.index(spec.Multiple)
	x.What = s.describe(spec)
	h := sha256.New()
	for _, f := range s.Files {
		fmt.Fprintf(h, "%q %d %d\n", s.uri(f.Path), f.Size, f.ModTime.UnixNano())
	}
	x.Listing = hex.EncodeToString(h.Sum(nil))
	return x, nil
}

// describe says in words what a source is.
func (s *Source) describe(spec Spec) string {
	key := spec.Key
	if key == "" {
		key = Stem
	}
	switch s.Format {
	case Files:
		return several(len(s.Files), "image file") + ", key " + key
	case Tar:
		return several(len(s.Files), "tar archive") + ", key " + key
	case Avro:
		return several(len(s.Files), "Avro file")
	}
	return several(len(s.Files), "Parquet file")
}

func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (s *Source) scanFiles(spec Spec, b *builder) error {
	for _, f := range s.Files {
		name := string(f.Path)
		if s.root != "" {
			name = name[len(s.root)+1:]
		}
		u := b.file(s.uri(f.Path))
		if err := b.add(entry{key: FileKey(spec.Key, s.root.Base(), name), unit: u, size: f.Size}, name); err != nil {
			return err
		}
	}
	return nil
}

// scanContainers walks several files at once and puts what it finds into their order.
func (s *Source) scanContainers(ctx context.Context, spec Spec, b *builder, progress func(done, total int)) error {
	if progress == nil {
		progress = func(int, int) {}
	}
	for start := 0; start < len(s.Files); start += scanners {
		files := s.Files[start:min(start+scanners, len(s.Files))]
		found := make([]builder, len(files))
		g, ctx := errgroup.WithContext(ctx)
		for i, info := range files {
			g.Go(func() error { return s.scanOne(ctx, spec, info, &found[i]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for i := range found {
			if err := b.join(&found[i]); err != nil {
				return err
			}
			if err := b.fits(); err != nil {
				return &SourceError{Path: spec.URI, Cause: "cannot be used", Fix: "use shorter keys, or fewer files", Err: err}
			}
		}
		progress(start+len(files), len(s.Files))
	}
	return nil
}

func (s *Source) scanOne(ctx context.Context, spec Spec, info dfs.Info, b *builder) (err error) {
	uri := s.uri(info.Path)
	b.size = info.Size
	if s.Format == Avro {
		if done, err := s.scanKeys(ctx, info, b); done || err != nil {
			return err
		}
	}
	f, err := s.FS.Open(ctx, info.Path)
	if err != nil {
		return &SourceError{Path: uri, Cause: "cannot be read", Fix: "check the file and its permissions", Err: err}
	}
	defer f.Close() // reading only
	c := &container{f: f, uri: uri, spec: spec, b: b, window: window{r: f, size: f.Size(), chunk: windowFor(s.FS)}}
	switch s.Format {
	case Tar:
		err = c.tar(ctx)
	case Avro:
		err = c.avro(ctx)
	default:
		err = c.parquet(ctx)
	}
	var se *SourceError
	switch {
	case errors.As(err, &se) && se.Path == "":
		se.Path = uri
		return err
	case err == nil || errors.As(err, &se) || errs.Is(err, errs.Canceled):
		return err
	case errs.Is(err, errs.Invalid):
		return &SourceError{Path: uri, Cause: "cannot be used", Fix: "name the files and the columns that hold the images", Err: err}
	case errs.Is(err, errs.Corrupt):
		return &SourceError{Path: uri, Cause: "is damaged", Fix: "fetch or write the file again", Err: err}
	}
	return errs.E("scan", errs.Unknown, uri, err)
}

// container is one file being walked.
type container struct {
	f    dfs.File
	uri  string
	spec Spec
	b    *builder
	window
}

// leastBytes is the least that an image with its key is taken to need in a file; with it, a small file cannot
// stand for an index that fills the memory. A few may need less.
const leastBytes, fewImages = 16, 4096

// most is how many images the file may hold.
func (c *container) most() int64 { return fewImages + c.size/leastBytes }

// add adds the image of a row or record.
func (c *container) add(e entry, row int) error {
	if int64(len(c.b.entries)) >= c.most() {
		return corrupt("%d images are more than a file of %d bytes can hold", len(c.b.entries)+1, c.size)
	}
	name := ""
	if strings.TrimSpace(e.key) == "" {
		name = fmt.Sprintf("row %d", row)
	}
	return c.b.add(e, name)
}

func corrupt(format string, args ...any) error {
	return errs.E("images", errs.Corrupt, "", fmt.Errorf(format, args...))
}

// broken says what a failed walk means: bytes that make no sense are damage, a store that does not answer keeps
// its own kind.
func broken(err error, format string, args ...any) error {
	where := fmt.Sprintf(format, args...)
	var e *errs.Error
	if errors.As(err, &e) && e.Kind != errs.Corrupt {
		return errs.E("images", errs.Unknown, "", fmt.Errorf("%s: %w", where, err))
	}
	return corrupt("%s: %w", where, err)
}

func invalid(format string, args ...any) error {
	return errs.E("images", errs.Invalid, "", fmt.Errorf(format, args...))
}

// ScanColumn makes the index of images that a table names: pairs yields each record's key and what stands in
// its column, of about so many. Relative paths start from spec.URI.
func ScanColumn(ctx context.Context, r Resolver, spec Spec, rows int64, pairs func(yield func(key, value string) error) error) (*Index, error) {
	_, root, err := r.Resolve(ctx, spec.URI)
	if err != nil {
		return nil, err
	}
	type digest [16]byte // of a key: a million long ones would take gigabytes
	rows = min(rows, maxImages)
	b := &builder{unique: true, units: make([]unit, 0, rows), entries: make([]entry, 0, rows)}
	seen, scope, h := make(map[digest]struct{}, rows), scopeOf(spec.URI), sha256.New()
	outside := scope + string(root)
	err = pairs(func(key, value string) error {
		if value == "" {
			return nil // a row without an image
		}
		sum := sha256.Sum256([]byte(key))
		d := digest(sum[:16])
		if _, twice := seen[d]; twice {
			return nil // of rows with the same key the first stays
		}
		seen[d] = struct{}{}
		e := entry{key: key}
		uri, ok := columnURI(scope, root, value)
		if !ok {
			what := "a path"
			if len(b.flaws) < maxTexts {
				what = fmt.Sprintf("%q", clip(value))
			}
			uri = outside
			e.bad = b.flaw("outside", fmt.Sprintf("%s leads out of %s: write the path of a file below it, an absolute path or a URI", what, spec.URI))
		}
		fmt.Fprintf(h, "%q %q\n", key, uri)
		e.unit = b.file(uri)
		if most := int64(freeText + textPerRow*(len(b.entries)+1)); b.text > most {
			return &SourceError{Key: "images.column", Path: spec.URI, Cause: fmt.Sprintf("the keys and paths of %d rows of the table take more than %d bytes", len(b.entries)+1, most),
				Fix: "use shorter keys and paths: paths may be relative to images.uri"}
		}
		return b.add(e, value)
	})
	if err != nil {
		return nil, err
	}
	if len(b.entries) == 0 {
		return nil, &SourceError{Key: "images.column", Path: spec.URI, Cause: "the table's column names no image", Fix: "set images.column to the column that holds paths"}
	}
	x := b.index(spec.Multiple)
	x.What, x.Listing = fmt.Sprintf("%d paths in the table", len(b.entries)), hex.EncodeToString(h.Sum(nil))
	return x, nil
}

// columnURI is the URI of what a table's cell names. A relative path does not lead out of the folder that it is
// relative to.
func columnURI(scope string, root dfs.Path, value string) (string, bool) {
	if dfs.HasScheme(value) {
		return value, true
	}
	if value[0] == '/' {
		return scope + path.Clean(value)[1:], true
	}
	p := path.Clean(value)
	if p == ".." || p == "." || len(p) > 2 && p[:3] == "../" {
		return "", false
	}
	return scope + string(root.Join(p)), true
}
