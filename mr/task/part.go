package task

import (
	"context"
	"encoding/binary"
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

// part is a part file being written: records into Avro blocks, blocks through a checksum into
// the store's writer.
type part struct {
	channel string
	path    dfs.Path
	kv      bool
	dst     dfs.Writer
	sum     *checksum.Writer
	w       *avro.Writer
	ended   bool
}

var _ mr.PartWriter = (*part)(nil)

func newPart(ctx context.Context, fs dfs.FS, path dfs.Path, channel string, o mr.PartOptions) (*part, error) {
	p := &part{channel: channel, path: path, kv: o.Schema == ""}
	if p.kv {
		o.Schema = avro.KVSchema
	}
	codec := avro.Snappy
	if o.Raw {
		codec = avro.Null
	}
	var err error
	if p.dst, err = fs.Create(ctx, path); err != nil {
		return nil, err
	}
	p.sum = checksum.NewWriter(p.dst)
	if p.w, err = avro.NewWriter(p.sum, avro.WriterOptions{Schema: o.Schema, Codec: codec, Meta: o.Meta}); err != nil {
		return nil, errors.Join(err, p.dst.Abort())
	}
	return p, nil
}

func (p *part) Append(key, value []byte) error {
	if !p.kv {
		return errs.E("append", errs.Internal, string(p.path), errors.New("the file does not hold key-value pairs"))
	}
	return p.w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, key, value) })
}

func (p *part) AppendFunc(f func(dst []byte) []byte) error { return p.w.AppendFunc(f) }

func (p *part) commit(ctx context.Context) (mr.PartFile, error) {
	if err := p.w.Close(); err != nil {
		return mr.PartFile{}, err
	}
	if err := p.dst.Commit(ctx); err != nil {
		return mr.PartFile{}, err
	}
	p.ended = true
	return mr.PartFile{Channel: p.channel, Path: p.path, Rows: p.w.Rows(), Bytes: p.sum.N(), CRC: p.sum.Sum()}, nil
}

func (p *part) abort() error {
	if p.ended {
		return nil
	}
	p.ended = true
	return p.dst.Abort()
}

// commitShuffle writes the sorted segments of a map attempt as one file. Called with a.mu held.
func (a *attempt) commitShuffle(ctx context.Context) (mr.PartFile, error) {
	path := a.spec.Out.Join(fmt.Sprintf("shuffle-%05d.seg", a.spec.Attempt.Task.Index))
	dst, err := a.env.Store.Create(ctx, path)
	if err != nil {
		return mr.PartFile{}, err
	}
	sum := checksum.NewWriter(dst)
	index, err := a.shuffle.Finish(ctx, sum)
	if err != nil {
		return mr.PartFile{}, errors.Join(err, dst.Abort())
	}
	if err := dst.Commit(ctx); err != nil {
		return mr.PartFile{}, errors.Join(err, dst.Abort())
	}
	f := mr.PartFile{Task: a.spec.Attempt.Task.Index, Path: path, Bytes: sum.N(), CRC: sum.Sum()}
	for _, s := range index {
		if s.Records == 0 {
			continue
		}
		f.Rows += s.Records
		f.Segments = append(f.Segments, mr.Segment{Partition: s.Partition, Offset: s.Offset,
			Bytes: s.Bytes, RawBytes: s.RawBytes, Records: s.Records, CRC: s.CRC, Block: s.Block})
	}
	return f, nil
}

// Records reads the files of an input one after the other.
func (a *attempt) Records(ctx context.Context, name string) iter.Seq2[mr.Record, error] {
	return func(yield func(mr.Record, error) bool) {
		for _, in := range a.spec.Inputs {
			if in.Name != name {
				continue
			}
			for _, f := range in.Files {
				if !readPart(ctx, a.env.Store, f, yield) {
					return
				}
			}
			return
		}
		yield(mr.Record{}, errs.E("records", errs.Internal, "", fmt.Errorf("the task has no input %q", name)))
	}
}

// ReadPart reads the key-value records of one committed part file, after comparing the file's
// length and checksum with the manifest's. The record is valid until the next step.
func ReadPart(ctx context.Context, fs dfs.FS, f mr.PartFile) iter.Seq2[mr.Record, error] {
	return func(yield func(mr.Record, error) bool) { readPart(ctx, fs, f, yield) }
}

// readPart tells whether to go on.
func readPart(ctx context.Context, fs dfs.FS, f mr.PartFile, yield func(mr.Record, error) bool) bool {
	fail := func(err error) bool {
		yield(mr.Record{}, errs.E("read", errs.KindOf(err), string(f.Path), err))
		return false
	}
	file, err := fs.Open(ctx, f.Path)
	if err != nil {
		return fail(err)
	}
	defer file.Close() // reading only: a failed close loses nothing
	if file.Size() != f.Bytes {
		return fail(errs.E("read", errs.Corrupt, string(f.Path), fmt.Errorf("%d bytes, its manifest says %d", file.Size(), f.Bytes)))
	}
	if err := checksum.Verify(file, f.Bytes, f.CRC); err != nil {
		return fail(err)
	}
	r, err := avro.NewReader(file, f.Bytes, avro.ReaderOptions{})
	if err != nil {
		return fail(err)
	}
	if r.Schema() != avro.KVSchema {
		return fail(errs.E("read", errs.Internal, string(f.Path), errors.New("the file does not hold key-value pairs")))
	}
	blocks := r.Blocks(0, f.Bytes)
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
			return false
		}
	}
	if err := blocks.Err(); err != nil {
		return fail(err)
	}
	if rows != f.Rows {
		return fail(errs.E("read", errs.Corrupt, string(f.Path), fmt.Errorf("%d records, its manifest says %d", rows, f.Rows)))
	}
	return true
}

// groups merges the segments of a reduce task's partition and tells inputs apart.
type groups struct {
	*shuffle.Groups
	input []int // by source
}

// merge opens the segments of all shuffled inputs, in the order of inputs and tasks.
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
			file, err := a.env.Store.Open(ctx, f.Path)
			if err != nil {
				return nil, nil, errors.Join(errs.E("read", errs.KindOf(err), string(f.Path), err), closeAll())
			}
			open = append(open, file)
			for _, s := range f.Segments {
				if s.Partition != a.spec.Attempt.Task.Index {
					continue
				}
				sources = append(sources, shuffle.Source{R: file, Name: string(f.Path), Seg: shuffle.Segment{Partition: s.Partition,
					Offset: s.Offset, Bytes: s.Bytes, RawBytes: s.RawBytes, Records: s.Records, CRC: s.CRC, Block: s.Block}})
				input = append(input, i)
			}
		}
	}
	g, err := shuffle.Merge(ctx, sources, shuffle.MergeOptions{Memory: a.env.SortMemory, Scratch: a.scratch})
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

// appendString writes an Avro string.
func appendString(dst []byte, s string) []byte {
	dst = binary.AppendVarint(dst, int64(len(s)))
	return append(dst, s...)
}
