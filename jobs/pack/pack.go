package pack

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

const (
	// shardBytes ends a shard. A record has at most 48 MiB of images, so no shard reaches 128 MiB.
	shardBytes = 64 << 20
	// blockBytes ends a block between records.
	blockBytes = 1 << 20
	// maxListed is how many of the images that were left out are told.
	maxListed = 100
)

// Options says what is packed and where to.
type Options struct {
	Source   images.Spec // Multiple is set here
	From     images.Resolver
	To       dfs.FS
	Out      dfs.Path
	OutName  string                  // as the user wrote it, for messages
	Progress func(done, total int64) // of images; nil: nobody
	Scanned  func(done, total int)   // of files of the source; nil: nobody

	shardBytes int64 // for tests
}

// Summary is what a run has done, and what the folder holds now.
type Summary struct {
	Source  string         `json:"source"` // in words
	Packed  int64          `json:"packed"` // images written by this run
	Before  int64          `json:"before"` // images whose key the folder had
	Bad     int64          `json:"bad"`    // images that were left out
	Left    []mr.BadRecord `json:"left,omitempty"`
	New     int            `json:"newShards"`
	Shards  int            `json:"shards"`
	Images  int64          `json:"images"` // in the folder
	Records int64          `json:"records"`
	Bytes   int64          `json:"bytes"`
}

// Run packs what the folder does not have yet.
func Run(ctx context.Context, o Options) (*Summary, error) {
	if o.shardBytes == 0 {
		o.shardBytes = shardBytes
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	o.Source.Multiple = images.Keep
	if err := apart(ctx, &o); err != nil {
		return nil, err
	}
	x, err := images.Scan(ctx, o.From, o.Source, o.Scanned)
	if err != nil {
		return nil, err
	}
	f, err := openFolder(ctx, o.To, o.Out, o.OutName)
	if err != nil {
		return nil, err
	}
	p := &packer{o: &o, f: f, sum: &Summary{Source: x.What}, total: x.Images}
	if err := p.all(ctx, x); err != nil {
		return nil, errors.Join(err, p.abort())
	}
	if err := f.writeLookup(ctx); err != nil {
		return nil, err
	}
	s := p.sum
	s.Shards, s.Images, s.Records, s.Bytes = len(f.shards), f.images, int64(len(f.places)), f.bytes
	return s, nil
}

// apart refuses an output that lies within the source: its shards would be a part of it the next time.
func apart(ctx context.Context, o *Options) error {
	fs, from, err := o.From.Resolve(ctx, o.Source.URI)
	if err != nil || fs.Caps().Name != o.To.Caps().Name {
		return err
	}
	if o.Out == from || o.Out.Under(from) {
		return &OutputError{Path: o.OutName, Cause: "lies within the images that are to be packed", Fix: "choose a folder beside them"}
	}
	return nil
}

// packer writes shards.
type packer struct {
	o     *Options
	f     *folder
	sum   *Summary
	total int64
	done  int64

	path   dfs.Path
	file   dfs.Writer // nil: no shard is open
	buffer *bufio.Writer
	w      *avro.Writer
	block  block
	placed []images.Located // of the open shard
	record []byte           // of one key, encoded
	parts  []images.Located // of record, with places in it
}

// block is what has gone into the open block.
type block struct {
	bytes   int64
	records int64
	images  []images.Located // places from the start of the block's data
}

func (p *packer) all(ctx context.Context, x *images.Index) error {
	had := maps.Clone(p.f.known) // asked from another goroutine, while known grows
	want := func(key []byte) bool { return !had[string(key)] }
	for m, err := range x.All(ctx, p.o.From, want) {
		if err != nil {
			return err
		}
		if err := p.take(ctx, &m); err != nil {
			return err
		}
		p.done++
		p.o.Progress(p.done, p.total)
	}
	return p.endShard(ctx)
}

// take adds an image to its record, and the record to the shard when it is whole.
func (p *packer) take(ctx context.Context, m *images.Image) error {
	if m.First {
		p.record, p.parts = p.record[:0], p.parts[:0]
	}
	switch {
	case m.Bad != nil:
		p.sum.Bad++
		if len(p.sum.Left) < maxListed {
			p.sum.Left = append(p.sum.Left, *m.Bad)
		}
	case m.Data == nil:
		p.sum.Before++
	default:
		p.record = binary.AppendVarint(p.record, int64(len(m.Key)))
		p.record = append(p.record, m.Key...)
		p.record = binary.AppendVarint(p.record, int64(len(m.Data)))
		p.parts = append(p.parts, images.Located{Key: string(m.Key), At: int64(len(p.record)), Size: int64(len(m.Data))})
		p.record = append(p.record, m.Data...)
	}
	if !m.Last || len(p.parts) == 0 {
		return nil
	}
	return p.write(ctx)
}

// write writes the images of one record into one block.
func (p *packer) write(ctx context.Context) error {
	if p.file == nil {
		if err := p.openShard(ctx); err != nil {
			return err
		}
	}
	if p.block.bytes > 0 && p.block.bytes+int64(len(p.record)) > blockBytes {
		if err := p.endBlock(); err != nil {
			return err
		}
	}
	start := 0
	for i, l := range p.parts {
		end := int(l.At + l.Size)
		if err := p.w.Append(p.record[start:end]); err != nil {
			return err
		}
		p.parts[i].At += p.block.bytes
		start = end
	}
	p.block.bytes += int64(len(p.record))
	p.block.records += int64(len(p.parts))
	p.block.images = append(p.block.images, p.parts...)
	p.sum.Packed += int64(len(p.parts))
	if p.w.Bytes()+p.block.bytes < p.o.shardBytes {
		return nil
	}
	return p.endShard(ctx)
}

func (p *packer) openShard(ctx context.Context) (err error) {
	p.path = shardPath(p.f.dir, len(p.f.shards))
	if p.file, err = p.f.fs.Create(ctx, p.path); err != nil {
		return err
	}
	p.buffer = bufio.NewWriterSize(p.file, 1<<20)
	// Blocks end where endBlock ends them: between records.
	p.w, err = avro.NewWriter(p.buffer, avro.WriterOptions{Schema: images.Schema, Codec: avro.Null, BlockBytes: 64 << 20,
		Meta: map[string]string{"vista.pack": "1"}})
	return err
}

// endBlock writes the block out. Only now is it known where its data begin.
func (p *packer) endBlock() error {
	if p.block.records == 0 {
		return nil
	}
	head := binary.AppendVarint(binary.AppendVarint(nil, p.block.records), p.block.bytes)
	start := p.w.Bytes() + int64(len(head))
	if err := p.w.Flush(); err != nil {
		return err
	}
	if got, want := p.w.Bytes(), start+p.block.bytes+16; got != want {
		return fmt.Errorf("a block ends at %d and not at %d", got, want)
	}
	for _, l := range p.block.images {
		l.At += start
		p.placed = append(p.placed, l)
	}
	p.block = block{images: p.block.images[:0]}
	return nil
}

// endShard makes the shard visible, then the list of its keys.
func (p *packer) endShard(ctx context.Context) error {
	if p.file == nil {
		return nil
	}
	if err := p.endBlock(); err != nil {
		return err
	}
	if err := errors.Join(p.w.Close(), p.buffer.Flush()); err != nil {
		return err
	}
	size := p.w.Bytes()
	if err := p.file.Commit(ctx); err != nil {
		return err
	}
	p.file = nil
	if err := p.f.writeKeys(ctx, p.path, size, p.placed); err != nil {
		return err
	}
	p.f.add(len(p.f.shards), size, p.placed)
	p.f.shards = append(p.f.shards, dfs.Info{Path: p.path, Size: size})
	p.placed = p.placed[:0]
	p.sum.New++
	return nil
}

func (p *packer) abort() error {
	if p.file == nil {
		return nil
	}
	return p.file.Abort()
}

// headLen is what stands in front of an image's bytes in its record.
func headLen(key string, size int64) int {
	b := binary.AppendVarint(nil, int64(len(key)))
	return len(b) + len(key) + len(binary.AppendVarint(nil, size))
}
