package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/shuffle"
)

// Records reads the files of an input one after the other.
func (a *attempt) Records(ctx context.Context, name string) iter.Seq2[mr.Record, error] {
	return func(yield func(mr.Record, error) bool) {
		each := yield
		yield = func(r mr.Record, err error) bool {
			a.moves.Add(1)
			return each(r, err)
		}
		for _, in := range a.spec.Inputs {
			if in.Name != name {
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			files := newAhead(a.env.Store, in.Files)
			defer files.wait()
			defer cancel() // before it
			for i, f := range in.Files {
				open := func() (dfs.File, error) { return files.open(ctx, i) }
				more, proven := readPart(ctx, open, f, yield)
				if !proven {
					a.mu.Lock()
					a.suspects = append(a.suspects, f)
					a.mu.Unlock()
				}
				if !more {
					return
				}
			}
			return
		}
		yield(mr.Record{}, errs.E("records", errs.Internal, "", fmt.Errorf("the task has no input %q", name)))
	}
}

// blame finds out whether an attempt failed because of damage that it could not know of. Then the damage is the error, and not
// what the task made of it.
func (a *attempt) blame(ctx context.Context, err error) error {
	if bad := a.prove(ctx); errs.Is(bad, errs.Corrupt) {
		return errors.Join(bad, err)
	}
	return err
}

// prove looks at uncompressed files of which the attempt was given records and that it left before their checksum was
// complete: what it was given is as good as the whole file is.
func (a *attempt) prove(ctx context.Context) error {
	a.mu.Lock()
	suspects := a.suspects
	a.mu.Unlock()
	for _, f := range suspects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := verify(ctx, a.env.Store, f); err != nil {
			return err
		}
	}
	return nil
}

// verify reads a file only to compare it with its manifest.
func verify(ctx context.Context, fs dfs.FS, f mr.PartFile) error {
	file, err := fs.Open(ctx, f.Path)
	if err != nil {
		return errs.E("verify", errs.KindOf(err), string(f.Path), err)
	}
	defer file.Close() // reading only
	if err := checksum.Verify(file, f.Bytes, f.CRC); err != nil {
		return errs.E("verify", errs.KindOf(err), string(f.Path), err)
	}
	return nil
}

// ReadPart reads the key-value records of one committed part file, each byte once. The sequence
// ends with errs.Corrupt if the bytes are not those of the manifest; only a sequence that came to
// its end without an error has proven the file sound. A record is valid until the next step.
func ReadPart(ctx context.Context, fs dfs.FS, f mr.PartFile) iter.Seq2[mr.Record, error] {
	open := func() (dfs.File, error) { return fs.Open(ctx, f.Path) }
	return func(yield func(mr.Record, error) bool) { readPart(ctx, open, f, yield) }
}

// readPart tells whether to go on, and whether what it gave is proven: blocks that are packed
// carry checksums of their own, which are compared first; the others are proven by the whole
// file's.
func readPart(ctx context.Context, open func() (dfs.File, error), f mr.PartFile, yield func(mr.Record, error) bool) (more, proven bool) {
	fail := func(err error) (bool, bool) {
		yield(mr.Record{}, errs.E("read", errs.KindOf(err), string(f.Path), err))
		return false, true
	}
	damaged := func(format string, args ...any) (bool, bool) {
		return fail(errs.E("read", errs.Corrupt, string(f.Path), fmt.Errorf(format, args...)))
	}
	file, err := open()
	if err != nil {
		return fail(err)
	}
	defer file.Close() // reading only: a failed close loses nothing
	if file.Size() != f.Bytes {
		return damaged("%d bytes, its manifest says %d", file.Size(), f.Bytes)
	}
	var crc uint32
	r, blocks, err := avro.Scan(file, f.Bytes, avro.ReaderOptions{}, func(b []byte) { crc = checksum.Update(crc, b) })
	if errs.Is(err, errs.Invalid) {
		return damaged("%w", err) // the engine wrote it: what is no container any more is damaged
	}
	if err != nil {
		return fail(err)
	}
	if r.Schema() != avro.KVSchema {
		if err := checksum.Verify(file, f.Bytes, f.CRC); err != nil {
			return fail(err)
		}
		return fail(errs.E("read", errs.Internal, string(f.Path), errors.New("the file does not hold key-value pairs")))
	}
	rows := int64(0)
	for blocks.Next() {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		more := true
		err := avro.EachKV(blocks.Block(), func(key, value []byte) bool {
			rows++
			more = yield(mr.Record{Key: key, Value: value}, nil)
			return more
		})
		if err != nil {
			return fail(err)
		}
		if !more {
			return false, r.Codec() == avro.Snappy
		}
	}
	if err := blocks.Err(); err != nil {
		return fail(err)
	}
	if crc != f.CRC {
		return damaged("checksum is %08x, its manifest says %08x: the stored bytes are damaged", crc, f.CRC)
	}
	if rows != f.Rows {
		return damaged("%d records, its manifest says %d", rows, f.Rows)
	}
	return true, true
}

// groups merges the segments of a reduce task's partition and tells inputs apart.
type groups struct {
	*shuffle.Groups
	input []int // by source
}

// lazyFile opens its file when it is first read, and may be closed and opened again: a reduce
// task has a file for every map task, and must not hold them all.
type lazyFile struct {
	open func() (dfs.File, error)
	file dfs.File
}

func (l *lazyFile) ReadAt(b []byte, off int64) (int, error) {
	if l.file == nil {
		var err error
		if l.file, err = l.open(); err != nil {
			return 0, err
		}
	}
	return l.file.ReadAt(b, off)
}

func (l *lazyFile) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// merge finds the segments of all shuffled inputs, in the order of inputs and tasks. A merge
// closes a file when it has come to its segment's end.
func (a *attempt) merge(ctx context.Context) (*groups, func() error, error) {
	var sources []shuffle.Source
	var input []int
	var open []io.Closer
	closeAll := func() error {
		var all []error
		for _, c := range open {
			all = append(all, c.Close())
		}
		return errors.Join(all...)
	}
	for i, in := range a.spec.Inputs {
		if in.Mode != mr.Shuffled {
			continue
		}
		for _, f := range in.Files {
			file := &lazyFile{open: func() (dfs.File, error) { return a.env.Store.Open(ctx, f.Path) }}
			open = append(open, file)
			for _, s := range f.Segments {
				if s.Partition != a.spec.Attempt.Task.Index {
					continue
				}
				sources = append(sources, shuffle.Source{R: file, Done: file.Close, Name: string(f.Path), Seg: shuffle.Segment(s)})
				input = append(input, i)
			}
		}
	}
	scratch, err := a.Scratch()
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	g, err := shuffle.Merge(ctx, sources, shuffle.MergeOptions{Memory: a.env.SortMemory, Scratch: scratch})
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	open = append(open, g)
	return &groups{Groups: g, input: input}, closeAll, nil
}

func (g *groups) values() iter.Seq2[mr.Value, error] {
	return func(yield func(mr.Value, error) bool) {
		for v, err := range g.Values() {
			if err != nil {
				yield(mr.Value{}, err)
				return
			}
			if !yield(mr.Value{Input: g.input[g.Source()], Data: v}, nil) {
				return
			}
		}
	}
}
