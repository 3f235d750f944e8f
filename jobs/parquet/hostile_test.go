package parquet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Whatever byte is wrong, it is noticed or harmless; and no error is without a kind.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 3))
	for range 6 {
		data, _ := file(t, rnd, columns(), 15, codecs[rnd.IntN(len(codecs))], 1+rnd.IntN(2))
		for range 100 {
			bad := slices.Clone(data)
			if rnd.IntN(3) == 0 {
				bad = bad[:rnd.IntN(len(bad))]
			} else {
				bad[rnd.IntN(len(bad))] ^= 1 << rnd.IntN(8)
			}
			if err := readAll(bad); err != nil && !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Invalid) {
				t.Fatalf("seed %d: %v is %v", seed, err, errs.KindOf(err))
			}
		}
	}
}

// readAll reads every usable column.
func readAll(data []byte) error {
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	var all []int
	for i, c := range f.Columns {
		if c.Type.Usable() {
			all = append(all, i)
		}
	}
	r, err := f.Read(all)
	if err != nil {
		return err
	}
	for i := range min(len(f.Columns), 20) {
		if err := sameByPages(f, &f.Columns[i]); err != nil && !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Invalid) {
			return err
		}
	}
	for r.Next() {
		for i, k := range all {
			if v := r.Value(i); !v.Null {
				f.Columns[k].Type.AppendText(nil, v)
				f.Columns[k].Type.Number(v)
			}
		}
	}
	return r.Err()
}

func TestFlippedBytesAreNoticedOrHarmless(t *testing.T) {
	cols := slices.DeleteFunc(columns(), func(c column) bool { return !strings.HasPrefix(c.name, "text") })
	b, _ := file(t, rand.New(rand.NewPCG(5, 5)), cols, 60, &pq.Snappy, 1)
	count := func(data []byte) (rows, values int, err error) {
		f, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return 0, 0, err
		}
		rows, err = countRows(f)
		if err != nil {
			return 0, 0, err
		}
		v, err := byPages(f, &f.Columns[0])
		return rows, len(v), err
	}
	if rows, values, err := count(b); err != nil || rows != 60 || values != 60 {
		t.Fatalf("%d rows, %d values, %v", rows, values, err)
	}
	for at := range b {
		bad := slices.Clone(b)
		bad[at] ^= 1 << (at % 8)
		if rows, values, err := count(bad); err == nil && (rows != 60 || values != 60) {
			t.Fatalf("a flip at %d gives %d rows, %d values and no error", at, rows, values)
		}
	}
	for n := range b {
		if _, _, err := count(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken for the file", n, len(b))
		}
	}
}

func countRows(f *File) (n int, err error) {
	var all []int
	for i := range f.Columns {
		all = append(all, i)
	}
	r, err := f.Read(all)
	if err != nil {
		return 0, err
	}
	for r.Next() {
		n++
	}
	return n, r.Err()
}

// A footer may have the same chunk in many row groups.
func TestOverlappingChunksAreNotWalkedForEver(t *testing.T) {
	cols := slices.DeleteFunc(columns(), func(c column) bool { return c.name != "bytes_PLAIN" })
	b, _ := file(t, rand.New(rand.NewPCG(6, 6)), cols, 100, &pq.Uncompressed, 1)
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f.groups = slices.Repeat(f.groups, 100_000)
	_, err = countRows(f)
	if err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("by rows: %v", err)
	}
	last := error(nil)
	for _, last = range f.Pages(&f.Columns[0]) {
	}
	if last == nil || !strings.Contains(last.Error(), "overlap") {
		t.Errorf("by pages: %v", last)
	}
}

func TestStructuresAreBounded(t *testing.T) {
	deep := bytes.Repeat([]byte{0x1c}, 10_000) // structures in structures
	lists := bytes.Repeat([]byte{0x19}, 10_000)
	for name, b := range map[string][]byte{"structures": deep, "lists": lists, "a list of 2^31": {0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07},
		"a map of 2^31": {0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x88}, "a string of 2^60": {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"100 empty structures": append([]byte{0x19, 0xfc, 100}, make([]byte, 101)...)} {
		if n, err := measure(b, 99); err == nil {
			t.Errorf("%s are taken for %d bytes", name, n)
		}
	}
}

// A run of one value costs a few bytes, whatever its length, and so does a text that is the one before it.
func TestValuesOfMoreThanAFileHolds(t *testing.T) {
	data, _ := file(t, rand.New(rand.NewPCG(1, 1)), columns(), 20, &pq.Snappy, 1)
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	texts := slices.IndexFunc(f.Columns, func(c Column) bool { return c.Bytes() && c.Type.Usable() })
	r, err := f.Read([]int{texts})
	if err != nil {
		t.Fatal(err)
	}
	r.maxText = 3
	for r.Next() {
	}
	if !errs.Is(r.Err(), errs.Invalid) || !strings.Contains(r.Err().Error(), "texts take more than 3 bytes") {
		t.Errorf("got %v", r.Err())
	}
	f.Rows = freeValues/2 + maxRatio*f.size/2
	if _, err := f.Read([]int{0, 1}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := f.Read([]int{0, 1, 2}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "may have") {
		t.Errorf("beyond it: %v", err)
	}
}

// Nothing is allocated for what a page merely claims.
func TestPagesThatClaimTooMuch(t *testing.T) {
	for name, p := range map[string]Page{
		"unpacked": {Values: 1, Raw: 100 << 20, Codec: format.Zstd},
		"values":   {Values: maxValues + 1},
		"negative": {Values: 1, Raw: -1},
		"levels":   {Values: 1, Raw: 9, Levels: 9, Def: 9, MaxDef: 1, Kind: format.DataPageV2},
		"zstd":     {Values: 1, Raw: 4, Codec: format.Zstd},
	} {
		if v, err := p.Strings([]byte("12345678"), 0); !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s: %d values, %v", name, len(v), err)
		}
	}
}

func TestLoadBits(t *testing.T) {
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
			if got := loadBits(src, uint64(i*width), width); got != want[i] {
				t.Fatalf("width %d: number %d is %d, want %d", width, i, got, want[i])
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	good, _ := file(t, rand.New(rand.NewPCG(1, 1)), columns()[:3], 5, &pq.Snappy, 1)
	broken := &failing{err: errors.New("the disk is gone")}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "0 bytes are no Parquet file", nil},
		{"cut", "truncated, or not one", good[:len(good)-3]},
		{"encrypted", "encrypted", []byte("PARE....\x00\x00\x00\x00PARE")},
		{"footer", "footer of 2147483647 bytes", []byte("PAR1....\xff\xff\xff\x7fPAR1")},
		// A list of 2^31 row groups in seven bytes.
		{"bomb", "footer:", append([]byte("PAR1\x49\xfc\xff\xff\xff\xff\x07"), 7, 0, 0, 0, 'P', 'A', 'R', '1')},
	} {
		_, err := Open(bytes.NewReader(c.data), int64(len(c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Open(broken, 100); !errors.Is(err, broken.err) || errs.Is(err, errs.Corrupt) {
		t.Errorf("a store that fails: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// FuzzRead reads hostile files by rows and by pages: no panic, no error without a kind, and all ways to a value
// agree. Run it for longer with
//
//	go test -fuzz FuzzRead ./jobs/parquet
func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"../images/testdata/*.parquet", "../table/testdata/foreign/*.parquet"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	cols := columns()
	for i, c := range cols {
		data, _ := file(f, rnd, []column{c}, 20, codecs[i%len(codecs)], 1+i%2)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := readAll(data); err != nil && !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Invalid) {
			t.Fatalf("%v is %v", err, errs.KindOf(err))
		}
	})
}
