package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Located is one image of a packed shard: an uncompressed container file of Schema.
type Located struct {
	Key      string
	At, Size int64 // of the image's bytes in the file
}

// keysVersion and the shard's size stand in the metadata of a file of keys.
const keysVersion = "1"

// PackMarker is a file that says that a folder was made by package pack.
const PackMarker = "_pack.json"

// LookupName is the file of a packed folder that covers its first shards. It is written last.
func LookupName(shards int) string { return fmt.Sprintf("_index-%05d.lookup", shards) }

// KeysPath is the file beside a shard that lists its keys. Its name begins with "_": it is no data.
func KeysPath(shard dfs.Path) dfs.Path {
	base := strings.TrimSuffix(shard.Base(), path.Ext(shard.Base()))
	return shard.Dir().Join("_" + base + ".keys")
}

// EncodeKeys is the content of a file of keys: the shard's size, and for each image in order its key and place.
func EncodeKeys(size int64, all []Located) ([]byte, error) {
	var b bytes.Buffer
	w, err := avro.NewWriter(&b, avro.WriterOptions{Schema: avro.KVSchema, Codec: avro.Snappy,
		Meta: map[string]string{"vista.keys": keysVersion, "vista.shard.bytes": strconv.FormatInt(size, 10)}})
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		v := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(l.At)), uint64(l.Size))
		if err := w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, []byte(l.Key), v) }); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ReadKeys reads the file of keys beside a shard of the given size. ok is false if there is none, or if it speaks
// of another shard.
func ReadKeys(ctx context.Context, fs dfs.FS, shard dfs.Path, size int64, f func(Located) error) (ok bool, err error) {
	p := KeysPath(shard)
	in, err := fs.Open(ctx, p)
	if errs.Is(err, errs.NotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer in.Close() // reading only
	r, err := avro.NewReader(in, in.Size(), avro.ReaderOptions{})
	if err != nil {
		return false, errs.E("keys", errs.KindOf(err), string(p), err)
	}
	if m := r.Meta(); m["vista.keys"] != keysVersion || m["vista.shard.bytes"] != strconv.FormatInt(size, 10) {
		return false, nil
	}
	it := r.Blocks(0, in.Size())
	for it.Next() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		var bad error
		err := avro.EachKV(it.Block(), func(key, value []byte) bool {
			at, k := binary.Uvarint(value)
			n, m := binary.Uvarint(value[max(k, 0):])
			if k <= 0 || m <= 0 || at > uint64(size) || n > uint64(size)-at {
				bad = corrupt("the image of %q lies outside the shard", clip(string(key)))
				return false
			}
			bad = f(Located{Key: string(key), At: int64(at), Size: int64(n)})
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return false, errs.E("keys", errs.KindOf(err), string(p), err)
		}
	}
	if err := it.Err(); err != nil {
		return false, errs.E("keys", errs.KindOf(err), string(p), err)
	}
	return true, nil
}

// scanKeys adds the images of a packed shard from the list of keys beside it.
func (s *Source) scanKeys(ctx context.Context, info dfs.Info, b *builder) (done bool, err error) {
	uri := s.uri(info.Path)
	c := &container{uri: uri, b: b, window: window{size: info.Size}}
	u := b.unit(unit{Kind: byteRange, Name: uri, Size: info.Size})
	row := 0
	done, err = ReadKeys(ctx, s.FS, info.Path, info.Size, func(l Located) error {
		row++
		return c.add(entry{key: l.Key, unit: u, at: l.At, size: l.Size}, row-1)
	})
	if err != nil {
		return false, &SourceError{Path: uri, Cause: "its list of keys is damaged", Fix: fmt.Sprintf("remove %s and run vista-mr pack again", KeysPath(info.Path)), Err: err}
	}
	if !done {
		b.units, b.entries, b.bytes, b.text = nil, nil, 0, 0
	}
	return done, nil
}

// Shard lists the images of a packed shard by walking it.
func Shard(ctx context.Context, fs dfs.FS, shard dfs.Path, f func(Located) error) error {
	in, err := fs.Open(ctx, shard)
	if err != nil {
		return err
	}
	defer in.Close() // reading only
	b := &builder{size: in.Size()}
	c := &container{f: in, uri: string(shard), b: b, window: window{r: in, size: in.Size(), chunk: windowFor(fs)}}
	if err := c.avro(ctx); err != nil {
		return errs.E("walk", errs.KindOf(err), string(shard), err)
	}
	for _, e := range b.entries {
		if err := f(Located{Key: e.key, At: e.at, Size: e.size}); err != nil {
			return err
		}
	}
	return nil
}
