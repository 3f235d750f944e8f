package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"unsafe"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// What is read of a network at most: a file, and all data files of an ONNX model together. ONNX files
// cannot be larger than 2 GiB; no CNN comes near 4 GiB. Beyond maxInMemory in all, or a quarter of the memory that there
// is, files are mapped instead of read, so that a file's size alone does not take memory.
const (
	maxModelFile = 4 << 30
	maxModelData = 4 << 30
	maxInMemory  = 768 << 20
)

// Bundle reads the files of one network: a model or weights, and the data files beside an ONNX model. It is
// used by one goroutine.
type Bundle struct {
	model  string                   // its URI, for the message where it cannot be read
	key    func(name string) string // of the job file, for the same
	limit  int64                    // of the first file
	data   func(name string) ([]byte, error)
	main   string // folder of the first file that was read: what follows lies beside it
	memory int64  // that files may still take
	beside int64  // bytes of data files in a store elsewhere
	maps   []mapped
}

// mapped is a file that was mapped instead of read.
type mapped struct {
	path string
	data []byte
}

// NewBundle prepares for reading the network that a job or a user calls model.
func NewBundle(model string) *Bundle {
	b := &Bundle{model: model, key: (&conf.CNN{}).Key, limit: maxModelFile, memory: min(maxInMemory, machine.Memory()/4)}
	if !isFile(model) { // weights of a network of the roster
		b.limit = maxWeights
	}
	return b
}

// Read returns a file's bytes, which stay until Release. The first is the model, or the weights of a network of the
// roster; any further ones are data files: regular files of the same folder, not links of either kind.
func (b *Bundle) Read(ctx context.Context, uri string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if conf.URI(uri).Scheme() != "file" {
		return b.readStore(ctx, uri)
	}
	path := conf.URI(uri).LocalPath()
	dir := filepath.Dir(path)
	if b.main == dir {
		if b.data == nil {
			b.data = onnx.DirReader(dir, maxModelData, b.load)
		}
		data, err := b.data(filepath.Base(path))
		if err != nil {
			return nil, b.fail(path, "cannot be read as data of the model", err)
		}
		return data, nil
	}
	b.main = dir
	f, info, err := OpenFile(path)
	switch {
	case errors.Is(err, ErrNotFile):
		return nil, b.fail(path, "is not a file", nil)
	case err != nil:
		return nil, b.fail(path, "cannot be read", err)
	}
	defer f.Close() // reading only
	if info.Size() > b.limit {
		return nil, b.fail(path, fmt.Sprintf("has %d bytes, at most %d are read", info.Size(), b.limit), nil)
	}
	data, err := b.load(f, info.Size())
	if err != nil {
		return nil, b.fail(path, "cannot be read", err)
	}
	return data, nil
}

// load reads a file into memory, or maps it where that would be too much.
func (b *Bundle) load(f *os.File, size int64) ([]byte, error) {
	if size > b.memory {
		data, err := mapFile(f, size)
		if err != nil {
			return nil, err
		}
		b.maps = append(b.maps, mapped{f.Name(), data})
		return data, nil
	}
	b.memory -= size
	data := make([]byte, size)
	_, err := io.ReadFull(f, data)
	return data, err
}

// readStore is Read for a file in a store elsewhere. What is too much for the memory goes to a local file that is gone
// when it is released.
func (b *Bundle) readStore(ctx context.Context, uri string) ([]byte, error) {
	dir := uri[:strings.LastIndexByte(uri, '/')]
	first := b.main != dir
	b.main = dir
	fail := func(cause string, err error) error {
		if away(uri, err) {
			return elsewhere(b.fail(uri, "", nil).Key, uri, err)
		}
		return b.fail(uri, cause, err)
	}
	fs, p, err := stores().Resolve(ctx, uri)
	if err != nil {
		return nil, fail("cannot be opened", err)
	}
	f, err := fs.Open(ctx, p)
	if err != nil {
		return nil, fail("cannot be read", err)
	}
	defer f.Close() // reading only
	limit := b.limit
	if !first {
		limit = maxModelData - b.beside
		b.beside += f.Size()
	}
	if f.Size() > limit {
		return nil, fail(fmt.Sprintf("has %d bytes, at most %d are read", f.Size(), limit), nil)
	}
	in := io.NewSectionReader(f, 0, f.Size())
	if f.Size() <= b.memory {
		b.memory -= f.Size()
		data := make([]byte, f.Size())
		if _, err := io.ReadFull(in, data); err != nil {
			return nil, fail("cannot be read", err)
		}
		return data, nil
	}
	tmp, err := os.CreateTemp("", "vista-mr-*")
	if err != nil {
		return nil, fail("cannot be kept on this machine", err)
	}
	_, err = io.Copy(tmp, in)
	if err == nil {
		_, err = tmp.Seek(0, io.SeekStart)
	}
	var data []byte
	if err == nil {
		data, err = mapFile(tmp, f.Size())
	}
	if err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())); err != nil {
		return nil, fail("cannot be kept on this machine", err)
	}
	b.maps = append(b.maps, mapped{uri, data})
	return data, nil
}

// Release lets go of mapped files. Nothing that refers to what was read may be used any more.
func (b *Bundle) Release() error {
	var all []error
	for _, m := range b.maps {
		all = append(all, unmapFile(m.data))
	}
	b.maps, b.data = nil, nil
	return errors.Join(all...)
}

// guard runs what uses the files' bytes. Those of a mapped file that somebody cuts are gone: reading them is a fault,
// which ends a program unless it is asked for as a panic. Here it is an error. Other goroutines that fn starts have to
// pass theirs on.
func (b *Bundle) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface{ Addr() uintptr })
		if ok {
			for _, m := range b.maps {
				if from := uintptr(unsafe.Pointer(unsafe.SliceData(m.data))); fault.Addr()-from < uintptr(len(m.data)) {
					err = b.cut(m)
					return
				}
			}
		}
		panic(r)
	}()
	err = fn()
	if len(b.maps) > 0 && errors.Is(err, syscall.EFAULT) { // the system itself has read it, to write it elsewhere
		return b.cut(b.maps[0])
	}
	return err
}

func (b *Bundle) cut(m mapped) error {
	e := b.fail(m.path, "got shorter, or could not be read any more, while it was in use", nil)
	e.Next = "run the same command again when the file is complete and nothing writes to it"
	return e
}

func (b *Bundle) fail(path, cause string, err error) *InputError {
	e := &InputError{ID: "E-WEIGHTS", Key: b.key("weights"), Path: path, Cause: cause, Err: err, Next: "give the path of the weights"}
	if isFile(b.model) {
		e.ID, e.Key, e.Next = "E-MODEL", b.key("model"), "give the path of the model"
	}
	if errors.Is(err, os.ErrNotExist) {
		e.Next += nearHint(path)
	}
	return e
}
