package parquet

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// column reads a whole column of a file.
func column(r io.ReaderAt, size int64, name string) ([]string, error) {
	f, err := Open(r, size)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(f.Columns, func(c Column) bool { return c.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("no column %s", name)
	}
	var out []string
	for g := range f.Groups() {
		c, err := f.Chunk(g, &f.Columns[i], size)
		if err != nil {
			return nil, err
		}
		if err := each(r, &c, func(v []byte) {
			if v == nil {
				out = append(out, "null")
			} else {
				out = append(out, "="+string(v))
			}
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// each reads the pages of a chunk, and compares what Spans and Indices say of them.
func each(r io.ReaderAt, c *Chunk, f func(v []byte)) error {
	var dictionary [][]byte
	return c.Walk(r, func(p Page) error {
		body := make([]byte, p.Stored)
		if err := readAt(r, body, p.Offset); err != nil {
			return err
		}
		var values [][]byte
		var err error
		if p.Dictionary {
			dictionary, err = c.ReadDictionary(p, body)
			values = dictionary
		} else {
			values, err = c.Read(p, body, dictionary)
		}
		if err != nil {
			return err
		}
		if len(values) != p.Values {
			return fmt.Errorf("%d values, the header has %d", len(values), p.Values)
		}
		if err := agree(r, c, p, body, values, dictionary); err != nil {
			return err
		}
		if !p.Dictionary {
			for _, v := range values {
				f(v)
			}
		}
		return nil
	})
}

// agree tells whether other ways to a page's values lead to the same.
func agree(r io.ReaderAt, c *Chunk, p Page, body []byte, values, dictionary [][]byte) error {
	if c.Plain(p) {
		err := c.Spans(r, p, func(row int, at, n int64) error {
			if n < 0 != (values[row] == nil) || n >= 0 && int(n) != len(values[row]) {
				return fmt.Errorf("row %d: a span of %d bytes for a value of %d", row, n, len(values[row]))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("disagree: %w", err)
		}
	}
	if !p.Dictionary && c.Indexed(p) {
		at, _, err := c.Indices(p, body)
		if err != nil || len(at) != len(values) {
			return fmt.Errorf("disagree: %d indices of %d, %w", len(at), len(values), err)
		}
		for i, v := range at {
			if v >= 0 && !bytes.Equal(dictionary[v], values[i]) {
				return fmt.Errorf("disagree: value %d", i)
			}
		}
		return nil
	}
	ref := c.Ref(p)
	again, err := ref.Values(body, p.Offset)
	if err != nil || len(again) != len(values) {
		return fmt.Errorf("disagree: %d of %d values, %w", len(again), len(values), err)
	}
	return nil
}

type row struct {
	ID    int32   `parquet:"id,delta"`
	Wide  int64   `parquet:"wide"`
	Name  string  `parquet:"name,delta"`
	Dict  string  `parquet:"dict,dict"`
	Maybe *string `parquet:"maybe,optional,dict"`
	Fixed [5]byte `parquet:"fixed"`
	In    struct {
		Bytes []byte `parquet:"bytes,optional"`
	} `parquet:"in,optional"`
	Many []string `parquet:"many"`
}

func rows(n int) []row {
	out := make([]row, n)
	for i := range out {
		r := row{ID: int32(i*i - 300), Wide: int64(i) * 1e12 * int64(1-i%2*2), Name: fmt.Sprintf("prefix-%d", i/3), Dict: strings.Repeat("d", i%4)}
		copy(r.Fixed[:], fmt.Sprint(i, "     "))
		if i%3 != 0 {
			s := fmt.Sprint("m", i%5)
			r.Maybe = &s
		}
		if i%4 != 1 {
			r.In.Bytes = bytes.Repeat([]byte{byte(i)}, i%300)
		}
		out[i] = r
	}
	return out
}

func write(t testing.TB, all []row, o ...pq.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pq.NewGenericWriter[row](&b, o...)
	for c := range slices.Chunk(all, 100) {
		if _, err := w.Write(c); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestColumnsOfParquetGo reads what parquet-go wrote, in all the ways that it can write it.
func TestColumnsOfParquetGo(t *testing.T) {
	all := rows(730)
	want := map[string][]string{}
	for _, r := range all {
		add := func(name, v string) { want[name] = append(want[name], v) }
		add("id", fmt.Sprint("=", r.ID))
		add("wide", fmt.Sprint("=", r.Wide))
		add("name", "="+r.Name)
		add("dict", "="+r.Dict)
		add("fixed", "="+string(r.Fixed[:]))
		if r.Maybe == nil {
			add("maybe", "null")
		} else {
			add("maybe", "="+*r.Maybe)
		}
		if r.In.Bytes == nil {
			add("in.bytes", "null")
		} else {
			add("in.bytes", "="+string(r.In.Bytes))
		}
	}
	for _, version := range []int{1, 2} {
		for _, size := range []int{200, 1 << 20} {
			for _, codec := range []pq.WriterOption{pq.Compression(&pq.Uncompressed), pq.Compression(&pq.Snappy), pq.Compression(&pq.Gzip), pq.Compression(&pq.Zstd), pq.Compression(&pq.Lz4Raw)} {
				b := write(t, all, codec, pq.DataPageVersion(version), pq.PageBufferSize(size))
				for name := range want {
					got, err := column(bytes.NewReader(b), int64(len(b)), name)
					if err != nil || !slices.Equal(got, want[name]) {
						t.Errorf("version %d, pages of %d, %T: column %s: %d values, %v", version, size, codec, name, len(got), err)
					}
				}
				if _, err := column(bytes.NewReader(b), int64(len(b)), "many"); errs.KindOf(err) != errs.Invalid {
					t.Errorf("a list: %v", err)
				}
			}
		}
	}
}

func TestFlippedBytesAreNoticedOrHarmless(t *testing.T) {
	b := write(t, rows(120), pq.Compression(&pq.Snappy), pq.PageBufferSize(300))
	for at := range b {
		bad := slices.Clone(b)
		bad[at] ^= 1 << (at % 8)
		got, err := column(bytes.NewReader(bad), int64(len(bad)), "name")
		if err == nil && len(got) != 120 {
			t.Fatalf("a flip at %d gives %d values and no error", at, len(got))
		}
	}
	for n := range b {
		if _, err := column(bytes.NewReader(b[:n]), int64(n), "name"); err == nil {
			t.Fatalf("%d of %d bytes are taken for the file", n, len(b))
		}
	}
}

// TestOverlappingChunksAreNotWalkedForEver has a file walked as a footer with the same chunk in many row groups would.
func TestOverlappingChunksAreNotWalkedForEver(t *testing.T) {
	b := write(t, rows(100))
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		c, err := f.Chunk(0, &f.Columns[0], int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if err = c.Walk(bytes.NewReader(b), func(Page) error { return nil }); err != nil {
			if !strings.Contains(err.Error(), "overlap") {
				t.Error(err)
			}
			return
		}
		if n > 100_000 {
			t.Fatal("walked 100,000 times")
		}
	}
}

func TestPacked(t *testing.T) {
	for width := 1; width <= 64; width++ {
		src := make([]byte, 8*width)
		want := make([]uint64, 64)
		for i := range want {
			want[i] = uint64(i)*0x9e3779b97f4a7c15 ^ uint64(width)
			if width < 64 {
				want[i] &= 1<<width - 1
			}
			for k := range width {
				if want[i]>>k&1 == 1 {
					src[(i*width+k)/8] |= 1 << ((i*width + k) % 8)
				}
			}
		}
		for i := range want {
			if got := packed(src, i, width); got != want[i] {
				t.Fatalf("width %d: number %d is %d, want %d", width, i, got, want[i])
			}
		}
	}
}

func TestThriftIsBounded(t *testing.T) {
	deep := bytes.Repeat([]byte{0x1c}, 10_000) // structures in structures
	lists := bytes.Repeat([]byte{0x19}, 10_000)
	for name, b := range map[string][]byte{"structures": deep, "lists": append([]byte{0x19}, lists...), "a list of 2^31": {0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07},
		"a map of 2^31": {0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x88}, "a string of 2^60": {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f}} {
		err := (&thrift{b: b}).fields(func(int, byte) (bool, error) { return false, nil })
		if err == nil {
			t.Errorf("%s are taken", name)
		}
	}
}

// FuzzFile reads every column of hostile files: no panic, no error without a kind, and all ways to a page's values
// agree. Run it for longer with
//
//	go test -fuzz FuzzFile ./jobs/images/parquet
func FuzzFile(f *testing.F) {
	names, err := filepath.Glob("../testdata/*.parquet")
	if err != nil || len(names) == 0 {
		f.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(write(f, rows(20), pq.Compression(&pq.Uncompressed), pq.DataPageVersion(1), pq.PageBufferSize(200)))
	f.Add(write(f, rows(20), pq.Compression(&pq.Gzip), pq.PageBufferSize(200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, size := bytes.NewReader(data), int64(len(data))
		file, err := Open(r, size)
		check := func(err error) {
			if err == nil {
				return
			}
			if k := errs.KindOf(err); k != errs.Corrupt && k != errs.Invalid || strings.Contains(err.Error(), "disagree") {
				t.Fatalf("%v is %v", err, k)
			}
		}
		check(err)
		if err != nil {
			return
		}
		for g := range min(file.Groups(), 10) {
			for i := range min(len(file.Columns), 20) {
				c, err := file.Chunk(g, &file.Columns[i], size)
				if check(err); err != nil || c.Rows > 1<<20 {
					continue
				}
				check(each(r, &c, func([]byte) {}))
			}
		}
	})
}
