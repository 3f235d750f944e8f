package ort

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	ort "github.com/yalue/onnxruntime_go"
)

const (
	preparedModel   = "model.onnx"
	preparedWeights = "weights.bin"
	preparedEntry   = "entry.json"
	// recipe is part of every name in the cache: another way of preparing models gets another number.
	recipe = 2

	// cacheLimit bounds the cache: every set of layers that a job asks for is a program of its own. VGG16 is 1 GiB.
	cacheLimit = 6 << 30
	// abandoned is the age at which an entry in the making belongs to nobody any more.
	abandoned = 24 * time.Hour
)

// entry is the content of entry.json. It is written last, so that a folder without it is not complete.
type entry struct {
	Program string // digest of the program
	ORT     string // version of the library
	CPU     string // see CPUClass
	Files   []entryFile
}

type entryFile struct {
	Name   string
	Bytes  int64
	CRC32C uint32
}

// Recipe names the way in which this build makes programs ready: another one has other entries.
func Recipe() string { return strconv.Itoa(recipe) }

// Entry is the folder of a program in a cache once it was made ready for this CPU and a version of the library: everything that the
// prepared bytes depend on is in its name. "": without a digest it is made ready each time.
func Entry(version, digest string, in Port, out []Port) string {
	if digest == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q %v %v", recipe, digest, version, CPUClass(), in, out))
	return "ort-" + hex.EncodeToString(sum[:16])
}

// Has tells whether a cache has an entry that is complete. It may be damaged, or gone the next moment: who opens the program finds out.
func Has(cache, name string) bool {
	_, err := os.Stat(filepath.Join(cache, name, preparedEntry))
	return err == nil
}

// prepared returns the path of the prepared model, making it if it is not there or damaged. It appears under its name
// whole, by renaming its folder within the cache (a local disk, not the jobs' store); of two processes that make the
// same one, one keeps its own and the other takes it.
func (r *Runtime) prepared(ctx context.Context, path, digest string, in Port, out []Port) (string, error) {
	dir := filepath.Join(r.o.CacheDir, Entry(ort.GetVersion(), digest, in, out))
	model := filepath.Join(dir, preparedModel)
	if verify(ctx, dir) == nil {
		now := time.Now()
		_ = os.Chtimes(filepath.Join(dir, preparedEntry), now, now) // it has been used; if that cannot be noted, it ages
		return model, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(r.o.CacheDir, 0o777); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(r.o.CacheDir, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // after the rename there is nothing to remove
	if err := r.save(path, tmp, in, out, true); err != nil {
		return "", err
	}
	// The library puts what it has packed behind whatever comes before, and its kernels read it in place with instructions
	// that need it aligned: such a file would end the process. It is kept as it is only where it happens to be aligned, as
	// the weights of all large layers are; else the weights are packed by each session.
	if ok, err := aligned(filepath.Join(tmp, preparedModel)); err != nil {
		return "", err
	} else if !ok {
		if err := errors.Join(os.Remove(filepath.Join(tmp, preparedModel)), os.Remove(filepath.Join(tmp, preparedWeights))); err != nil {
			return "", err
		}
		if err := r.save(path, tmp, in, out, false); err != nil {
			return "", err
		}
	}
	if err := seal(tmp, entry{Program: digest, ORT: ort.GetVersion(), CPU: CPUClass()}); err != nil {
		return "", err
	}
	err = os.Rename(tmp, dir)
	if err != nil && verify(ctx, dir) != nil {
		// What stands there is damaged. A session that has mapped it keeps its pages.
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
		err = os.Rename(tmp, dir)
	} else {
		err = nil // done, or somebody else was quicker
	}
	if err != nil {
		return "", err
	}
	_ = prune(r.o.CacheDir, filepath.Base(dir), cacheLimit, time.Now()) // the next one to add an entry tries again
	return model, nil
}

// prune removes what has not been used for longest until the cache holds at most limit bytes, but never the entry to
// keep, and removes what was abandoned in the making. Sessions keep the files that they have mapped.
func prune(cache, keep string, limit int64, now time.Time) error {
	list, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	type old struct {
		dir   string
		bytes int64
		used  time.Time
	}
	var olds []old
	var total int64
	for _, d := range list {
		dir := filepath.Join(cache, d.Name())
		if strings.HasPrefix(d.Name(), ".new-") {
			if st, err := os.Stat(dir); err == nil && now.Sub(st.ModTime()) > abandoned {
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(d.Name(), "ort-") {
			continue // not ours
		}
		o := old{dir: dir}
		for _, name := range []string{preparedModel, preparedWeights, preparedEntry} {
			if st, err := os.Stat(filepath.Join(dir, name)); err == nil {
				o.bytes += st.Size()
				o.used = st.ModTime() // the entry's, if there is one
			}
		}
		total += o.bytes
		if d.Name() != keep {
			olds = append(olds, o)
		}
	}
	slices.SortFunc(olds, func(a, b old) int { return a.used.Compare(b.used) })
	for _, o := range olds {
		if total <= limit {
			break
		}
		if err := os.RemoveAll(o.dir); err != nil {
			return err
		}
		total -= o.bytes
	}
	return nil
}

// packed finds, in a saved graph, where in the file of weights something lies that was packed.
var packed = regexp.MustCompile(`\|([0-9]+);[0-9]+;`)

// alignment is the most that the library's kernels ask of packed weights, in bytes.
const alignment = 64

// aligned tells whether all that was packed can be read in place.
func aligned(model string) (bool, error) {
	graph, err := os.ReadFile(model)
	if err != nil {
		return false, err
	}
	for _, m := range packed.FindAllSubmatch(graph, -1) {
		if at, err := strconv.ParseInt(string(m[1]), 10, 64); err != nil || at%alignment != 0 {
			return false, nil
		}
	}
	return true, nil
}

// save writes the optimized graph and its weights to a folder; if pack, in the layout in which they are computed with. The
// session that does it holds the weights in memory; it is gone before the one that runs is started.
func (r *Runtime) save(path, dir string, in Port, out []Port, pack bool) error {
	s, err := r.session(path, false, in, out, func(o *ort.SessionOptions) error {
		prepacked := "0"
		if pack {
			prepacked = "1"
		}
		for _, e := range [][2]string{
			{"session.save_external_prepacked_constant_initializers", prepacked},
			{"session.optimized_model_external_initializers_file_name", preparedWeights},
			{"session.optimized_model_external_initializers_min_size_in_bytes", "1024"},
		} {
			if err := o.AddSessionConfigEntry(e[0], e[1]); err != nil {
				return err
			}
		}
		return o.SetOptimizedModelFilePath(filepath.Join(dir, preparedModel))
	})
	if err != nil {
		return err
	}
	err = s.Destroy()
	trim()
	return err
}

// seal adds the entry, which says what the other files' bytes are.
func seal(dir string, e entry) error {
	for _, name := range []string{preparedModel, preparedWeights} {
		n, sum, err := checksum(context.Background(), filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && name == preparedWeights {
			continue // all weights are small
		}
		if err != nil {
			return err
		}
		e.Files = append(e.Files, entryFile{Name: name, Bytes: n, CRC32C: sum})
	}
	b, err := json.MarshalIndent(e, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, preparedEntry), append(b, '\n'), 0o666)
}

// verify tells whether a folder holds what its entry says. Reading the weights for that also brings them into the
// system's page cache, from where the session maps them.
func verify(ctx context.Context, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, preparedEntry))
	if err != nil {
		return err
	}
	var e entry
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if len(e.Files) == 0 || e.Files[0].Name != preparedModel {
		return errors.New("no model is listed")
	}
	for _, f := range e.Files {
		if f.Name != filepath.Base(f.Name) {
			return fmt.Errorf("%q is no file name", f.Name)
		}
		n, sum, err := checksum(ctx, filepath.Join(dir, f.Name))
		if err != nil {
			return err
		}
		if n != f.Bytes || sum != f.CRC32C {
			return fmt.Errorf("%s is damaged", f.Name)
		}
	}
	return nil
}

// checksum returns a file's length and CRC32C.
func checksum(ctx context.Context, path string) (int64, uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	buf := make([]byte, 1<<20)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		k, err := f.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			return n, h.Sum32(), nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}
