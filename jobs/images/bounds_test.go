package images

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/avro"
)

// snappyFile is a container file of Schema, a twentieth of what it holds at best.
func snappyFile(t *testing.T, n int, image []byte, key func(i int) string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := avro.NewWriter(&b, avro.WriterOptions{Schema: Schema, Codec: avro.Snappy, BlockBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, []byte(key(i)), image) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Keys that a small file holds packed would fill the memory; those that are equal, the index of each.
func TestKeysOfMoreThanAFileHolds(t *testing.T) {
	long := strings.Repeat("k", maxKey-8)
	equal := func(int) string { return long + "--------" }
	other := func(i int) string { return long + fmt.Sprintf("%08d", i) }
	for _, c := range []struct {
		n     int
		key   func(int) string
		files int
		want  string
	}{
		{15_000, other, 1, ""}, // below freeText
		{26_000, other, 1, "i/0.avro: is damaged"},
		{26_000, equal, 1, "i/0.avro: is damaged"},
		{15_000, equal, 3, "i: cannot be used"},
	} {
		files := map[string][]byte{}
		b := snappyFile(t, c.n, []byte("x"), c.key)
		for i := range c.files {
			files[fmt.Sprintf("i/%d.avro", i)] = b
		}
		_, err := Scan(t.Context(), newDisk(t, files), Spec{URI: "i", Multiple: Keep}, nil)
		var se *SourceError
		if (c.want != "") != errors.As(err, &se) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d in each of %d files of %d bytes: %v, want %q", c.n, c.files, len(b), err, c.want)
		}
	}
}

// Blocks of nothing may unpack to a thousand times their bytes, which takes time for each.
func TestBlocksThatUnpackToTooMuch(t *testing.T) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(avro.AppendKV(nil, []byte("a"), make([]byte, 40<<20))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := append([]byte("Obj\x01"), avro.AppendKV([]byte{4}, []byte("avro.schema"), []byte(Schema))...)
	b = append(append(avro.AppendKV(b, []byte("avro.codec"), []byte("deflate")), 0), make([]byte, 16)...)
	for blocks := 1; blocks < 3; blocks++ {
		b = append(binary.AppendVarint(binary.AppendVarint(b, 1), int64(packed.Len())), packed.Bytes()...)
		b = append(b, make([]byte, 16)...)
		_, err := Scan(t.Context(), newDisk(t, map[string][]byte{"a.avro": b}), Spec{URI: "a.avro"}, nil)
		if refused := err != nil && strings.Contains(err.Error(), "a.avro: is damaged: images: its blocks unpack to more than"); refused != (blocks > 1) || !refused && err != nil {
			t.Errorf("%d blocks in %d bytes: %v", blocks, len(b), err)
		}
	}
}

// A table's dictionary may have one long path for a million rows.
func TestPathsOfMoreThanATableHolds(t *testing.T) {
	for path, rows := range map[string]int{strings.Repeat("p/", 2000) + "x": 18_000, "images/" + strings.Repeat("p", 80) + ".jpg": 20_000} {
		for _, root := range []string{"", "../"} { // the second leads out
			_, err := ScanColumn(t.Context(), newDisk(t, nil), Spec{URI: "d"}, 0, func(yield func(k, v string) error) error {
				for i := range rows {
					if err := yield(fmt.Sprintf("%08d", i), root+path); err != nil {
						return err
					}
				}
				return nil
			})
			var se *SourceError
			if refused := errors.As(err, &se) && se.Key == "images.column"; refused != (rows < 20_000 && root == "") || !refused && err != nil {
				t.Errorf("%d rows of %d bytes, %q: %v", rows, len(path), root, err)
			}
		}
	}
}

// Keys are parts of longer strings, which must not be held for them.
func TestKeysAreTrimmed(t *testing.T) {
	h := newDisk(t, map[string][]byte{"a.avro": snappyFile(t, 3, []byte("x"), func(i int) string {
		return []string{"  a ", strings.Repeat(" ", 100), strings.Repeat("b", 2*maxKey)}[i]
	})})
	want := "[(a=x) row 1~no-key " + strings.Repeat("b", 200) + "~no-key]"
	if got := fmt.Sprint(found(t, h, scan(t, h, Spec{URI: "a.avro"}), 1)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A million paths of a table are held while the job is planned: each file's folder once.
func TestFoldersAreHeldOnce(t *testing.T) {
	const rows, each = 1 << 16, 200 // bytes for a path of 200, with its key and its place
	folder := strings.Repeat("f", 180)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	x, err := ScanColumn(t.Context(), newDisk(t, nil), Spec{URI: "d"}, rows, func(yield func(k, v string) error) error {
		for i := range rows {
			if err := yield(fmt.Sprintf("%08d", i), fmt.Sprintf("%s%d/%08d.jpg", folder, i%10, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := (heap() - before) / rows; got > each {
		t.Errorf("%d bytes for each path, want at most %d", got, each)
	}
	if u := &x.units[17]; u.uri() != "/d/"+folder+"7/00000017.jpg" || x.Records != rows {
		t.Errorf("%d records, the 18th in %s", x.Records, u.uri())
	}
}

// Folders beyond those that are remembered cost nothing but their names.
func TestManyFolders(t *testing.T) {
	b := &builder{}
	for i := range maxFolders + 2 {
		uri := fmt.Sprintf("d/%d/a.jpg", i)
		if u := &b.units[b.file(uri)]; u.uri() != uri || (u.Folder == "") != (i >= maxFolders) {
			t.Fatalf("%s became %+v", uri, u)
		}
	}
}
