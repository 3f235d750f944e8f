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

	ort "github.com/yalue/onnxruntime_go"
)

const (
	preparedModel   = "model.onnx"
	preparedWeights = "weights.bin"
	preparedEntry   = "entry.json"
	// recipe is part of every name in the cache: another way of preparing models gets another number.
	recipe = 1
)

// entry is the content of entry.json. It is written last, so that a folder without it is not complete.
type entry struct {
	Program string // digest of the program
	ORT     string // version of the library
	CPU     string // see cpuClass
	Files   []entryFile
}

type entryFile struct {
	Name   string
	Bytes  int64
	CRC32C uint32
}

// cacheName is the folder of a program in the cache: everything that the prepared bytes depend on is in it.
func cacheName(digest string, in Port, out []Port) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q %v %v", recipe, digest, ort.GetVersion(), cpuClass(), in, out))
	return "ort-" + hex.EncodeToString(sum[:16])
}

// prepared returns the path of the prepared model, making it if it is not there or damaged. It appears under its name
// whole, by renaming its folder within the cache (a local disk, not the jobs' store); of two processes that make the
// same one, one keeps its own and the other takes it.
func (r *Runtime) prepared(ctx context.Context, path, digest string, in Port, out []Port) (string, error) {
	dir := filepath.Join(r.o.CacheDir, cacheName(digest, in, out))
	model := filepath.Join(dir, preparedModel)
	if verify(ctx, dir) == nil {
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
	if err := r.save(path, tmp, in, out); err != nil {
		return "", err
	}
	if err := seal(tmp, entry{Program: digest, ORT: ort.GetVersion(), CPU: cpuClass()}); err != nil {
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
	return model, err
}

// save writes the optimized graph and its weights, in the layout in which they are computed with, to a folder. The
// session that does it holds the weights in memory; it is gone before the one that runs is started.
func (r *Runtime) save(path, dir string, in Port, out []Port) error {
	s, err := r.session(path, false, in, out, func(o *ort.SessionOptions) error {
		for _, e := range [][2]string{
			{"session.save_external_prepacked_constant_initializers", "1"},
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
