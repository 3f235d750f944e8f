package task

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// part is a part file being written: records into Avro blocks, blocks through a checksum into
// the store's writer.
type part struct {
	channel string
	path    dfs.Path
	kv      bool
	dst     *begun
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
	p.dst = begin(ctx, fs, path)
	p.sum = checksum.NewWriter(p.dst)
	var err error
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

// commitShuffle writes the sorted segments of a map attempt as one file.
func (a *attempt) commitShuffle(ctx context.Context) (mr.PartFile, error) {
	path := a.spec.Out.Join(fmt.Sprintf("shuffle-%05d.seg", a.spec.Attempt.Task.Index))
	dst := begin(ctx, a.env.Store, path)
	sum := checksum.NewWriter(dst)
	index, err := a.shuffle.Finish(ctx, sum)
	a.spilled()
	if err != nil {
		return mr.PartFile{}, errors.Join(err, dst.Abort())
	}
	if err := dst.Commit(ctx); err != nil {
		return mr.PartFile{}, errors.Join(err, dst.Abort())
	}
	f := mr.PartFile{Path: path, Bytes: sum.N(), CRC: sum.Sum()}
	for _, s := range index {
		if s.Records == 0 {
			continue
		}
		f.Rows += s.Records
		f.Segments = append(f.Segments, mr.Segment(s))
	}
	return f, nil
}

// appendString writes an Avro string.
func appendString(dst []byte, s string) []byte {
	dst = binary.AppendVarint(dst, int64(len(s)))
	return append(dst, s...)
}
