package pack

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// FuzzLookup looks keys up in hostile folders. With mend, what only a careful hand gets right is put right: the
// buckets' marks and checksums, and the key's own hash. Run it for longer with
//
//	go test -fuzz FuzzLookup ./jobs/pack
func FuzzLookup(f *testing.F) {
	shard := []byte("\x02a\x0aimage\x02a\x02x\x02b\x00")
	good := encodeLookup([]place{{"a", 0, 0, 11}, {"b", 0, 11, 3}})
	f.Add(good, shard, "a", false)
	f.Add(good, shard, "b", true)
	f.Add(good[:4096-1], shard, "a", false)
	f.Add(encodeLookup([]place{{"a", 7, 1 << 40, 1 << 31}}), shard, "a", true)
	f.Add(encodeLookup([]place{{"a", 0, 0, 11}})[:40], []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "a", true)
	f.Fuzz(func(t *testing.T, index, shard []byte, key string, mend bool) {
		if mend {
			index = mended(index, key)
		}
		fs := mem.New()
		for name, data := range map[dfs.Path][]byte{lookupPath("d", 1): index, shardPath("d", 0): shard} {
			if err := dfs.WriteFile(t.Context(), fs, name, data); err != nil {
				t.Fatal(err)
			}
		}
		sound := func(err error) bool {
			return errs.Is(err, errs.Corrupt) || errs.Is(err, errs.NotExist) // the shard may be missing
		}
		l, err := OpenLookup(t.Context(), fs, "d")
		if err != nil {
			if !sound(err) {
				t.Fatalf("%v is %v", err, errs.KindOf(err))
			}
			return
		}
		got, err := l.Get(t.Context(), key)
		if err != nil && !sound(err) {
			t.Fatalf("%v is %v", err, errs.KindOf(err))
		}
		n := 0
		for _, image := range got {
			n += len(image) + len(key)
		}
		if n > len(shard) {
			t.Fatalf("%d bytes of images and keys out of %d", n, len(shard))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// mended makes whole buckets of an index that has the key at the beginning of each.
func mended(index []byte, key string) []byte {
	index = append([]byte(nil), index[:min(len(index), 4*bucketBytes)]...)
	index = append(index, make([]byte, (bucketBytes-len(index)%bucketBytes)%bucketBytes)...)
	sum, _ := hash([]byte(key))
	for at := 0; at < len(index); at += bucketBytes {
		b := index[at : at+bucketBytes]
		copy(b, bucketMagic)
		binary.LittleEndian.PutUint16(b[4:], binary.LittleEndian.Uint16(b[4:])%(perBucket+1))
		copy(b[8:], sum[:])
		binary.LittleEndian.PutUint32(b[bucketBytes-4:], crc32.Checksum(b[:bucketBytes-4], castagnoli))
	}
	return index
}
