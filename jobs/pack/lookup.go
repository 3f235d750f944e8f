package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const (
	bucketBytes = 4096
	entryBytes  = 32
	perBucket   = 127
	usualFill   = 64 // entries of a bucket on average: far enough from full that hardly any overflows
	bucketMagic = "VML1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where the records of a key lie.
type place struct {
	key      string
	shard    int
	at, size int64
}

func hash(key []byte) (sum [16]byte, bucket uint64) {
	full := sha256.Sum256(key)
	copy(sum[:], full[:])
	return sum, binary.BigEndian.Uint64(full[:8])
}

// encodeLookup makes the content of a lookup file.
func encodeLookup(all []place) []byte {
	for n := max(1, (len(all)+usualFill-1)/usualFill); ; n *= 2 {
		buckets := make([][][]byte, n)
		full := false
		for _, p := range all {
			sum, b := hash([]byte(p.key))
			e := append(make([]byte, 0, entryBytes), sum[:]...)
			e = binary.LittleEndian.AppendUint32(e, uint32(p.shard))
			e = binary.LittleEndian.AppendUint32(e, uint32(p.size))
			e = binary.LittleEndian.AppendUint64(e, uint64(p.at))
			i := b % uint64(n)
			buckets[i] = append(buckets[i], e)
			full = full || len(buckets[i]) > perBucket
		}
		if full {
			continue
		}
		out := make([]byte, 0, n*bucketBytes)
		for _, b := range buckets {
			slices.SortFunc(b, bytes.Compare)
			start := len(out)
			out = append(out, bucketMagic...)
			out = binary.LittleEndian.AppendUint16(out, uint16(len(b)))
			out = binary.LittleEndian.AppendUint16(out, 0)
			for _, e := range b {
				out = append(out, e...)
			}
			out = append(out, make([]byte, bucketBytes-4-(len(out)-start))...)
			out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(out[start:], castagnoli))
		}
		return out
	}
}

// writeLookup writes the lookup file of all shards if there is none, then removes those of fewer.
func (f *folder) writeLookup(ctx context.Context) error {
	n := len(f.shards)
	if n == 0 {
		return nil
	}
	if !slices.Contains(f.lookups, n) {
		if err := dfs.WriteFile(ctx, f.fs, lookupPath(f.dir, n), encodeLookup(f.places)); err != nil {
			return err
		}
	}
	for _, old := range f.lookups {
		if old != n {
			if err := f.fs.Remove(ctx, lookupPath(f.dir, old)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lookup finds the images of single keys in a packed folder. It may be used by several goroutines.
type Lookup struct {
	fs     dfs.FS
	dir    dfs.Path
	index  dfs.File
	shards int
}

// OpenLookup opens the lookup file of a packed folder.
func OpenLookup(ctx context.Context, fs dfs.FS, dir dfs.Path) (*Lookup, error) {
	l := &Lookup{fs: fs, dir: dir}
	for info, err := range fs.List(ctx, dir) {
		if err != nil {
			return nil, err
		}
		if m := lookupName.FindStringSubmatch(info.Path.Base()); m != nil && info.Path.Dir() == dir {
			n, _ := strconv.Atoi(m[1]) // digits, and not too many
			l.shards = max(l.shards, n)
		}
	}
	if l.shards == 0 {
		return nil, &OutputError{Path: string(dir), Cause: "has no lookup file", Fix: "run vista-mr pack again"}
	}
	var err error
	if l.index, err = fs.Open(ctx, lookupPath(dir, l.shards)); err != nil {
		return nil, err
	}
	if n := l.index.Size(); n == 0 || n%bucketBytes != 0 {
		return nil, errors.Join(damaged("a lookup file of %d bytes", n), l.index.Close())
	}
	return l, nil
}

func damaged(format string, args ...any) error {
	return errs.E("lookup", errs.Corrupt, "", fmt.Errorf(format, args...))
}

// Close closes the lookup file.
func (l *Lookup) Close() error { return l.index.Close() }

// Get returns the images of a key, none if it is not there. It makes two reads.
func (l *Lookup) Get(ctx context.Context, key string) ([][]byte, error) {
	sum, h := hash([]byte(key))
	var b [bucketBytes]byte
	at := int64(h%uint64(l.index.Size()/bucketBytes)) * bucketBytes
	if n, err := l.index.ReadAt(b[:], at); n < len(b) {
		return nil, errs.E("lookup", errs.Unknown, string(l.dir), err)
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if string(b[:4]) != bucketMagic || n > perBucket || crc32.Checksum(b[:bucketBytes-4], castagnoli) != binary.LittleEndian.Uint32(b[bucketBytes-4:]) {
		return nil, damaged("the bucket at %d", at)
	}
	for i := range n {
		e := b[8+i*entryBytes:][:entryBytes]
		if !bytes.Equal(e[:16], sum[:]) {
			continue
		}
		return l.records(ctx, key, int(binary.LittleEndian.Uint32(e[16:])), binary.LittleEndian.Uint32(e[20:]), binary.LittleEndian.Uint64(e[24:]))
	}
	return nil, nil
}

// records reads the records of a key.
func (l *Lookup) records(ctx context.Context, key string, shard int, size uint32, at uint64) ([][]byte, error) {
	f, err := l.fs.Open(ctx, shardPath(l.dir, shard))
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	if at > uint64(f.Size()) || uint64(size) > uint64(f.Size())-at {
		return nil, damaged("the images of %q lie outside shard %d", key, shard)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, int64(at)); n < len(b) {
		return nil, errs.E("lookup", errs.Unknown, string(l.dir), err)
	}
	var out [][]byte
	for len(b) > 0 {
		id, rest, ok := cut(b)
		image, rest, ok2 := cut(rest)
		if !ok || !ok2 {
			return nil, damaged("the records of %q in shard %d", key, shard)
		}
		if string(id) != key {
			return nil, damaged("shard %d has %q where %q is expected", shard, id, key)
		}
		out, b = append(out, image), rest
	}
	return out, nil
}

func cut(b []byte) (value, rest []byte, ok bool) {
	n, k := binary.Varint(b)
	if k <= 0 || n < 0 || n > int64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}
