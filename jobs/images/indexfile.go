package images

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/parquet"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// An index file is a container file of key-value pairs (package avro). Each split has blocks of its own:
//
//	"u", unit as JSON      what the entries behind it lie in
//	"i" + key, entry       flags, elem, at, size as variable-length integers; then, if the image cannot be
//	                       used, a flaw as JSON
//
// A split is a range of the file's bytes; its URI is a path in the job's store.
const (
	unitMark  = 'u'
	entryMark = 'i'
)

// IndexVersion stands in the file's metadata.
const indexVersion = "3"

// Splits is how the images are cut into n splits of neighbours, as even as can be: the bounds of each in the
// order of the index. It depends on the source alone, so that every run of a job has the same partitions.
func (x *Index) splits(n int) [][2]int {
	records := int(x.Records)
	n = max(min(n, records), 1)
	out := make([][2]int, 0, n)
	start, at := 0, 0 // at: records so far
	for i := range x.entries {
		if x.entries[i].flags&isFirst == 0 {
			continue
		}
		if s := min(at*n/max(records, 1), n-1); s >= len(out)+1 {
			out = append(out, [2]int{start, i})
			start = i
		}
		at++
	}
	return append(out, [2]int{start, len(x.entries)})
}

// Write writes the index into a store and returns n splits of it, or fewer if there are not so many records.
// A file of that name is replaced: nobody may rely on it yet.
func (x *Index) Write(ctx context.Context, fs dfs.FS, path dfs.Path, n int) (out []mr.Split, err error) {
	if err := fs.Remove(ctx, path); err != nil {
		return nil, err
	}
	f, err := fs.Create(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Abort())
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w, err := avro.NewWriter(buffered, avro.WriterOptions{Schema: avro.KVSchema, Codec: avro.Snappy, Meta: map[string]string{"vista.images": indexVersion}})
	if err != nil {
		return nil, err
	}
	for _, s := range x.splits(n) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := w.Bytes()
		split := mr.Split{Records: int64(s[1] - s[0])}
		last := int32(-1)
		for i := s[0]; i < s[1]; i++ {
			e := &x.entries[i]
			split.Bytes += e.size
			if e.unit != last {
				last = e.unit
				if err := x.writeUnit(w, e.unit); err != nil {
					return nil, err
				}
			}
			if err := writeEntry(w, e); err != nil {
				return nil, err
			}
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		split.Files = []mr.FileRange{{URI: string(path), Offset: start, Length: w.Bytes() - start}}
		out = append(out, split)
	}
	if err := errors.Join(w.Close(), buffered.Flush()); err != nil {
		return nil, err
	}
	return out, f.Commit(ctx)
}

func (x *Index) writeUnit(w *avro.Writer, i int32) error {
	b, err := json.Marshal(&x.units[i])
	if err != nil {
		return err
	}
	return w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, []byte{unitMark}, b) })
}

func writeEntry(w *avro.Writer, e *entry) error {
	v := binary.AppendUvarint(nil, uint64(e.flags))
	v = binary.AppendUvarint(v, uint64(e.elem))
	v = binary.AppendUvarint(v, uint64(e.at))
	v = binary.AppendUvarint(v, uint64(e.size))
	if e.bad != nil {
		b, err := json.Marshal(e.bad)
		if err != nil {
			return err
		}
		v = append(v, b...)
	}
	return w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, append([]byte{entryMark}, e.key...), v) })
}

// readSplit reads a split's part of an index.
func readSplit(ctx context.Context, fs dfs.FS, split *mr.Split) (*part, error) {
	p := &part{}
	for _, r := range split.Files {
		f, err := fs.Open(ctx, dfs.Path(r.URI))
		if err != nil {
			return nil, err
		}
		err = p.read(f, r)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, errs.E("index", errs.KindOf(err), r.URI, err)
		}
	}
	return p, nil
}

// part is some entries in order, with their units.
type part struct {
	units   []unit
	entries []entry
}

func (p *part) read(f dfs.File, r mr.FileRange) error {
	in, err := avro.NewReader(f, f.Size(), avro.ReaderOptions{})
	if err != nil {
		return err
	}
	if v := in.Meta()["vista.images"]; v != indexVersion {
		return corrupt("an index of version %q, this program reads %s", v, indexVersion)
	}
	it := in.Blocks(r.Offset, r.Offset+r.Length)
	for it.Next() {
		var bad error
		err := avro.EachKV(it.Block(), func(key, value []byte) bool {
			bad = p.take(key, value)
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
	}
	return it.Err()
}

func (p *part) take(key, value []byte) error {
	switch {
	case len(key) == 1 && key[0] == unitMark:
		var u unit
		if err := json.Unmarshal(value, &u); err != nil {
			return corrupt("a unit: %w", err)
		}
		if u.Size < 0 || u.isPacked() && !u.Packed.sane(u.Kind) {
			return corrupt("a unit of kind %q that cannot be", u.Kind)
		}
		p.units = append(p.units, u)
		return nil
	case len(key) > 1 && key[0] == entryMark && len(p.units) > 0:
		e := entry{key: string(key[1:]), unit: int32(len(p.units) - 1)}
		var v [4]uint64
		for i := range v {
			n, k := binary.Uvarint(value)
			if k <= 0 {
				return corrupt("the entry of %q is not whole", e.key)
			}
			v[i], value = n, value[k:]
		}
		if v[0] > isFirst|isLast|isAside || v[1] > 1<<31-1 || v[2] > 1<<62 || v[3] > 1<<62 {
			return corrupt("the entry of %q has a place that cannot be", e.key)
		}
		e.flags, e.elem, e.at, e.size = uint8(v[0]), int32(v[1]), int64(v[2]), int64(v[3])
		if len(value) > 0 {
			e.bad = &flaw{}
			if err := json.Unmarshal(value, e.bad); err != nil {
				return corrupt("the flaw of %q: %w", e.key, err)
			}
		}
		p.entries = append(p.entries, e)
		return nil
	}
	return corrupt("an entry %s of no kind", fmt.Sprintf("%.20q", key))
}

func (p *packing) sane(k kind) bool {
	return p != nil && p.At >= 0 && p.Stored >= 0 && p.Stored <= parquet.MaxPage && (k != page || p.Page != nil)
}

// all is the whole index as one part.
func (x *Index) all() *part { return &part{units: x.units, entries: x.entries} }
