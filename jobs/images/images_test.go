package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// disk is a store in memory that says of itself what a test wants.
type disk struct {
	dfs.FS
	name  string
	reads *atomic.Int64
}

func (d disk) Caps() dfs.Caps { return dfs.Caps{Name: d.name} }

func (d disk) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	f, err := d.FS.Open(ctx, p)
	if d.reads != nil && err == nil {
		f = counting{f, d.reads}
	}
	return f, err
}

type counting struct {
	dfs.File
	reads *atomic.Int64
}

func (c counting) ReadAt(b []byte, at int64) (int, error) {
	c.reads.Add(1)
	return c.File.ReadAt(b, at)
}

// host is a task as far as reading needs one.
type host struct{ fs dfs.FS }

func (h host) Resolve(_ context.Context, uri string) (dfs.FS, dfs.Path, error) {
	return h.fs, dfs.Path(strings.Trim(uri, "/")), nil
}
func (h host) Store() dfs.FS { return h.fs }
func (h host) Shared(ctx context.Context, _ string, open func(context.Context) (io.Closer, error)) (io.Closer, error) {
	return open(ctx)
}

func newDisk(t testing.TB, files map[string][]byte) host {
	t.Helper()
	fs := mem.New()
	for name, data := range files {
		if err := dfs.WriteFile(t.Context(), fs, dfs.Path(name), data); err != nil {
			t.Fatal(err)
		}
	}
	return host{disk{FS: fs, name: "mem"}}
}

// found is what reading a source gave, in order: "key=image", "key!cause", "key~cause" for what is set aside,
// with ( and ) around records.
func found(t testing.TB, h host, x *Index, splits int) []string {
	t.Helper()
	parts, err := x.Write(t.Context(), h.fs, "index", splits)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range parts {
		for m, err := range Read(t.Context(), h, &parts[i], 0, func([]byte) bool { return true }) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, describe(&m))
		}
	}
	return out
}

func describe(m *Image) string {
	s := string(m.Key) + "=" + string(m.Data)
	switch {
	case m.Aside:
		return string(m.Key) + "~" + m.Bad.Cause
	case m.Bad != nil:
		s = string(m.Key) + "!" + m.Bad.Cause
	}
	if m.First {
		s = "(" + s
	}
	if m.Last {
		s += ")"
	}
	return s
}

func scan(t testing.TB, h host, spec Spec) *Index {
	t.Helper()
	x, err := Scan(t.Context(), h, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// image is what the script that made testdata has as image i.
func image(i int) string { return fmt.Sprintf("image-%d-%s", i, strings.Repeat("x", i%7*10)) }

// TestFilesOfOtherLibraries reads what pyarrow and fastavro wrote, through windows of both sizes.
func TestFilesOfOtherLibraries(t *testing.T) {
	for _, c := range []struct {
		file string
		key  string // of image i
		null bool   // image 5 is
		spec Spec
	}{
		{file: "hf-default.parquet", key: "k%d"},
		{file: "hf-null-zstd.parquet", key: "k%d", null: true},
		{file: "hf-none-dictionary.parquet", key: "k%d", null: true},
		{file: "int-key-v2-delta.parquet", key: "int", null: true},
		{file: "string-key-delta.parquet", key: "k%d"},
		{file: "plain-v2-none.parquet", key: "k%d", null: true},
		{file: "lz4.parquet", key: "k%d"},
		{file: "spark.parquet", key: "k%d"},
		{file: "spark.parquet", key: "file:/data/k%d.jpg", spec: Spec{KeyField: "path", ImageField: "content"}},
		{file: "hf-default.parquet", key: "label", spec: Spec{KeyField: "label", ImageField: "image.bytes"}},
		{file: "fastavro-null.avro", key: "k%d", null: true},
		{file: "fastavro-deflate.avro", key: "k%d", null: true},
		{file: "fastavro-snappy.avro", key: "k%d", null: true, spec: Spec{KeyField: "id", ImageField: "image"}},
	} {
		for _, store := range []string{"local", "far"} {
			t.Run(c.file+"/"+store, func(t *testing.T) {
				data, err := os.ReadFile(filepath.Join("testdata", c.file))
				if err != nil {
					t.Fatal(err)
				}
				h := newDisk(t, map[string][]byte{"f": data})
				h.fs = disk{FS: h.fs, name: store}
				c.spec.URI = "f"
				var want []string
				for i := range 40 {
					key := fmt.Sprintf(c.key, i)
					switch c.key {
					case "int":
						key = fmt.Sprint(7*i - 90)
					case "label":
						key = fmt.Sprint(i)
					}
					if c.null && i == 5 {
						want = append(want, "("+key+"!no-image)")
					} else {
						want = append(want, "("+key+"="+image(i)+")")
					}
				}
				x := scan(t, h, c.spec)
				for _, n := range []int{1, 7, 100} {
					if got := found(t, h, x, n); !slices.Equal(got, want) {
						t.Fatalf("%d splits: got %q\nwant %q", n, got, want)
					}
				}
				if x.Images != 40 || x.Records != 40 || x.Several != 0 || x.PerRecord != 1 {
					t.Errorf("counts %+v", x)
				}
			})
		}
	}
}

func TestWhatCannotBeReadIsRefusedByName(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	gz := append([]byte("\x1f\x8b\x08"), make([]byte, 600)...)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		spec  Spec
		want  string
	}{
		{"list", map[string][]byte{"f": read("list.parquet")}, Spec{URI: "f", ImageField: "image.list.element"}, "lies in a list"},
		{"codec", map[string][]byte{"f": lz4Framed(read("brotli.parquet"))}, Spec{URI: "f"}, `cannot be used: parquet: column "image": codec LZ4 is not supported`},
		{"no column", map[string][]byte{"f": read("spark.parquet")}, Spec{URI: "f", ImageField: "photo"}, "no column photo; there are path, length, content"},
		{"no key", map[string][]byte{"f": read("fastavro-null.avro")}, Spec{URI: "f", KeyField: "name"}, "no column name; there are tags"},
		{"image is no bytes", map[string][]byte{"f": read("fastavro-null.avro")}, Spec{URI: "f", ImageField: "id"}, `"id" holds no bytes`},
		{"key is a map", map[string][]byte{"f": read("fastavro-null.avro")}, Spec{URI: "f", KeyField: "tags"}, "it is no key"},
		{"two formats", map[string][]byte{"d/a.tar": nil, "d/b.avro": nil}, Spec{URI: "d"}, "several formats: tar, avro"},
		{"images beside", map[string][]byte{"d/a.tar": nil, "d/b.jpg": nil}, Spec{URI: "d"}, "1 image files and 1 .tar files"},
		{"absent", nil, Spec{URI: "d"}, "does not exist"},
		{"hidden only", map[string][]byte{"d/.x": nil, "d/_y": nil}, Spec{URI: "d"}, "holds no file"},
		{"one image", map[string][]byte{"f": []byte("\x89PNG\r\n\x1a\n0000000000")}, Spec{URI: "f"}, "single image"},
		{"compressed", map[string][]byte{"a.tar.gz": gz}, Spec{URI: "a.tar.gz"}, "compressed as a whole"},
		{"something", map[string][]byte{"f": []byte("what is this")}, Spec{URI: "f"}, "neither a folder nor"},
		{"empty", map[string][]byte{"f": nil}, Spec{URI: "f"}, "neither a folder nor"},
		{"brace", map[string][]byte{"d/0.tar": nil}, Spec{URI: "d/{0..1}.tar"}, "/d/1.tar: does not exist"},
		{"open brace", map[string][]byte{"d/0.tar": nil}, Spec{URI: "d/{0..1.tar"}, "not closed"},
		{"many", nil, Spec{URI: "d/{0..9999}{0..9999}.tar"}, "more than"},
		{"not a tar", map[string][]byte{"d/a.tar": bytes.Repeat([]byte("x"), 2000)}, Spec{URI: "d"}, "no header where one is expected"},
		{"cut parquet", map[string][]byte{"d/a.parquet": read("spark.parquet")[:500]}, Spec{URI: "d"}, "truncated, or not one"},
		{"no images", map[string][]byte{"a.tar": tarFile(t, member{"a.txt", "hello you there", 0})}, Spec{URI: "a.tar"}, "holds no image"},
		{"unfinished pack", map[string][]byte{"d/_pack.json": nil, "d/part-00000.avro": nil, "d/_index-00002.lookup": nil}, Spec{URI: "d"}, "is not finished"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Scan(t.Context(), newDisk(t, c.files), c.spec, nil)
			var se *SourceError
			if !errors.As(err, &se) || !strings.Contains(err.Error(), c.want) || se.Hint() == "" || se.ErrorID() != "E-IMAGES" {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// lz4Framed has the footer of a file call its codec, Brotli, the first years' LZ4.
func lz4Framed(b []byte) []byte {
	return bytes.ReplaceAll(b, []byte{0x15, 4 << 1}, []byte{0x15, 5 << 1})
}

func TestFolders(t *testing.T) {
	files := map[string][]byte{"r/a/1.jpg": []byte("1"), "r/a/2.x.jpg": []byte("2"), "r/b/1.png": []byte("3"), "r/top": []byte("4"), "r/_SUCCESS": nil, "r/b/.DS_Store": nil}
	for _, c := range []struct {
		spec Spec
		want []string
	}{
		{Spec{URI: "r"}, []string{"(1=1)", "(2.x=2)", "1~duplicate-key", "(top=4)"}},
		{Spec{URI: "r", Key: Path}, []string{"(a/1=1)", "(a/2.x=2)", "(b/1=3)", "(top=4)"}},
		{Spec{URI: "r", Key: Folder, Multiple: Mean}, []string{"(a=1", "a=2)", "(b=3)", "(r=4)"}},
		{Spec{URI: "r", Multiple: Max}, []string{"(1=1", "1=3)", "(2.x=2)", "(top=4)"}},
		{Spec{URI: "r/{b,a}/*", Key: Path}, []string{"(b/1=3)", "(a/1=1)", "(a/2.x=2)"}},
		{Spec{URI: "r/?/1.*", Key: Folder}, []string{"(a=1)", "(b=3)"}},
	} {
		h := newDisk(t, files)
		if got := found(t, h, scan(t, h, c.spec), 2); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q\nwant %q", c.spec, got, c.want)
		}
	}
	h := newDisk(t, map[string][]byte{"odd{1,2}/a.jpg": []byte("x")}) // a folder whose name looks like a pattern
	if got := found(t, h, scan(t, h, Spec{URI: "odd{1,2}"}), 1); !slices.Equal(got, []string{"(a=x)"}) {
		t.Errorf("got %q", got)
	}
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]string{
		"a": "a", "a{1..3}": "a1 a2 a3", "{08..11}.tar": "08.tar 09.tar 10.tar 11.tar", "{000..002}": "000 001 002",
		"{a,b{1..2},}x": "ax b1x b2x x", "{a,{b,c}}": "a b c", "{a..b}": "a..b", "x{}": "x",
	} {
		got, err := expand(pattern)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v; want %q", pattern, got, err, want)
		}
	}
	for _, bad := range []string{"{1", "{2..1}", "{0..999999999}", "{0..99999}{0..99}", strings.Repeat("{", 2000) + strings.Repeat("}", 2000), strings.Repeat("p", maxPattern+1),
		"{00000..99999}" + strings.Repeat("/p", 1000)} {
		if got, err := expand(bad); err == nil {
			t.Errorf("%.40s: %d paths", bad, len(got))
		}
	}
}

// TestImagesOfARecordStayTogether cuts an index in every way: records are whole, in order, and nothing is lost.
func TestImagesOfARecordStayTogether(t *testing.T) {
	files := map[string][]byte{}
	for i := range 90 {
		files[fmt.Sprintf("r/%02d/%d.jpg", i%9, i*7%13)] = fmt.Append(nil, i)
	}
	h := newDisk(t, files)
	x := scan(t, h, Spec{URI: "r", Multiple: Mean})
	if x.Images != int64(len(files)) || x.Records != 13 || x.Several == 0 {
		t.Fatalf("%+v", x)
	}
	whole := found(t, h, x, 1)
	for n := 1; n < 20; n++ {
		parts, err := x.Write(t.Context(), h.fs, "index", n)
		if err != nil || len(parts) != min(n, 13) {
			t.Fatalf("%d splits: %d, %v", n, len(parts), err)
		}
		if got := found(t, h, x, n); !slices.Equal(got, whole) {
			t.Fatalf("%d splits: got %q\nwant %q", n, got, whole)
		}
		for _, p := range parts {
			if p.Records == 0 || p.Records > int64(90/len(parts)+14) {
				t.Errorf("%d splits: one has %d images", n, p.Records)
			}
		}
	}
}

func TestTooManyImagesOfARecord(t *testing.T) {
	files := map[string][]byte{}
	for i := range MaxPerRecord + 3 {
		files[fmt.Sprintf("r/k/%03d.jpg", i)] = []byte("x")
	}
	h := newDisk(t, files)
	x := scan(t, h, Spec{URI: "r", Key: Folder, Multiple: Mean})
	got := found(t, h, x, 1)
	if len(got) != MaxPerRecord+3 || got[0] != "(k=x" || got[MaxPerRecord-1] != "k=x)" || got[MaxPerRecord] != "k~too-many-images" || x.PerRecord != MaxPerRecord {
		t.Errorf("%d images of %d: %q", x.PerRecord, len(got), got)
	}
	if x = scan(t, h, Spec{URI: "r", Key: Folder, Multiple: Keep}); x.PerRecord != MaxPerRecord+3 {
		t.Errorf("packing keeps %d", x.PerRecord)
	}
}

func TestTooLargeImages(t *testing.T) {
	big := make([]byte, MaxImage+1)
	files := map[string][]byte{"r/k/1.jpg": big, "r/k/2.jpg": big[:MaxImage-10], "r/k/3.jpg": big[:11], "r/k/4.jpg": big[:10]}
	h := newDisk(t, files)
	x := scan(t, h, Spec{URI: "r", Key: Folder, Multiple: Mean})
	var got []string
	for m, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
		cause := ""
		if m.Bad != nil {
			cause = m.Bad.Cause
		}
		got = append(got, fmt.Sprint(len(m.Data), cause))
	}
	if want := []string{"0too-large", fmt.Sprint(MaxImage - 10), "0too-large", "10"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A limit below that of all images is the memory's, and is called so; the list knows how many it concerns.
func TestTooLargeForTheMemory(t *testing.T) {
	h := newDisk(t, map[string][]byte{"r/a.jpg": make([]byte, 10), "r/b.jpg": make([]byte, 11), "r/c.jpg": make([]byte, 15)})
	x := scan(t, h, Spec{URI: "r"})
	parts, err := x.Write(t.Context(), h.fs, "index", 1)
	if err != nil {
		t.Fatal(err)
	}
	for m, err := range Read(t.Context(), h, &parts[0], 10, func([]byte) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
		if large := string(m.Key) != "a"; large != (m.Bad != nil) || large && (m.Bad.Cause != TooLarge || !strings.Contains(m.Bad.Error, "the memory limit leaves 10 for a file")) {
			t.Errorf("%s: %+v", m.Key, m.Bad)
		}
	}
	for than, want := range map[int64][2]int64{9: {3, 15}, 10: {2, 15}, 11: {1, 15}, 15: {}} {
		if n, largest := x.Larger(than, MaxImage); [2]int64{n, largest} != want {
			t.Errorf("larger than %d: %d, the largest of %d", than, n, largest)
		}
	}
	if n, largest := x.Larger(9, 11); n != 2 || largest != 11 {
		t.Errorf("up to 11: %d, the largest of %d", n, largest)
	}
}

func TestColumn(t *testing.T) {
	h := newDisk(t, map[string][]byte{"base/a/1.jpg": []byte("1"), "elsewhere/2.jpg": []byte("2")})
	cells := [][2]string{{"k1", "a/1.jpg"}, {"k2", "/elsewhere/2.jpg"}, {"k3", ""}, {"k4", "gone.jpg"}, {"k5", "../elsewhere/2.jpg"},
		{"k1", "gone.jpg"}, {"k6", "a/../a/./1.jpg"}, {"k7", "a/../../elsewhere/2.jpg"}, {"k8", "file:///elsewhere/2.jpg"}}
	x, err := ScanColumn(t.Context(), host{h.fs}, Spec{URI: "base"}, 4, func(yield func(k, v string) error) error {
		for _, c := range cells {
			if err := yield(c[0], c[1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"(k1=1)", "(k2=2)", "(k4!missing)", "(k5!outside)", "(k6=1)", "(k7!outside)", "(k8=2)"}
	if got := found(t, schemes{h}.host(), x, 2); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// schemes takes file:// off URIs, as a real resolver does.
type schemes struct{ h host }

func (s schemes) host() host { return host{stripping{s.h.fs}} }

type stripping struct{ dfs.FS }

func (s stripping) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	return s.FS.Open(ctx, dfs.Path(strings.TrimPrefix(string(p), "file:///")))
}

// TestPagesAreUnpackedOnce reads the same page in many splits of one process.
func TestPagesAreUnpackedOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/hf-default.parquet")
	if err != nil {
		t.Fatal(err)
	}
	h := newDisk(t, map[string][]byte{"f": data})
	x := scan(t, h, Spec{URI: "f"})
	var reads atomic.Int64
	h.fs = disk{h.fs, "mem", &reads}
	cache := newUnpacked()
	for i := range x.entries {
		p := &part{units: x.units, entries: x.entries[i : i+1]}
		for m, err := range read(t.Context(), h, cache, p, 0, func([]byte) bool { return true }) {
			if err != nil || string(m.Data) != image(i) {
				t.Fatalf("image %d: %q, %v", i, m.Data, err)
			}
		}
	}
	if reads.Load() != 1 {
		t.Errorf("%d reads of one page", reads.Load())
	}
}

func TestUnpackedForgetsWhatIsOld(t *testing.T) {
	c := newUnpacked()
	opened := 0
	get := func(at int64) {
		if _, err := c.get(t.Context(), &unit{Name: "u", Packed: &packing{At: at, Stored: unpackedBytes / 6}}, func() ([][]byte, error) {
			opened++
			return [][]byte{{1}}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int64{1, 2, 3, 1, 4, 1, 3, 2} { // room for three
		get(at)
	}
	if opened != 5 {
		t.Errorf("opened %d times, want 5: 1 2 3 4 and 2 again", opened)
	}
	fails := errors.New("no")
	if _, err := c.get(t.Context(), &unit{Name: "f", Packed: &packing{}}, func() ([][]byte, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
	if v, err := c.get(t.Context(), &unit{Name: "f", Packed: &packing{}}, func() ([][]byte, error) { return [][]byte{{2}}, nil }); err != nil || len(v) != 1 {
		t.Errorf("a failure is remembered: %v, %v", v, err)
	}
}

// TestIndexIsTheSameBytes writes an index twice.
func TestIndexIsTheSameBytes(t *testing.T) {
	files := map[string][]byte{}
	for i := range 300 {
		files[fmt.Sprintf("r/%d/%d.jpg", i%17, i%50)] = fmt.Append(nil, i)
	}
	h := newDisk(t, files)
	write := func() []byte {
		if _, err := scan(t, h, Spec{URI: "r", Multiple: Max}).Write(t.Context(), h.fs, "index", 5); err != nil {
			t.Fatal(err)
		}
		b, err := dfs.ReadFile(t.Context(), h.fs, "index", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(write(), write()) {
		t.Error("two indices of the same source differ")
	}
}

func TestKeysOfShards(t *testing.T) {
	var b bytes.Buffer
	w, err := avro.NewWriter(&b, avro.WriterOptions{Schema: Schema, BlockBytes: 40})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 9 {
		key, data := fmt.Sprintf("k%d", i/2), fmt.Sprintf("image %d", i)
		if err := w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, []byte(key), []byte(data)) }); err != nil {
			t.Fatal(err)
		}
		want = append(want, key+"="+data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h := newDisk(t, map[string][]byte{"d/part-00000.avro": b.Bytes()})
	var all []Located
	if err := Shard(t.Context(), h.fs, "d/part-00000.avro", func(l Located) error {
		all = append(all, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	keys, err := EncodeKeys(int64(b.Len()), all)
	if err != nil {
		t.Fatal(err)
	}
	if err := dfs.WriteFile(t.Context(), h.fs, "d/_part-00000.keys", keys); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64
	h.fs = disk{h.fs, "mem", &reads}
	for _, name := range []string{"with keys", "without"} {
		x := scan(t, h, Spec{URI: "d", Multiple: Keep})
		var got []string
		for _, s := range found(t, h, x, 2) {
			got = append(got, strings.Trim(s, "()"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if err := h.fs.Remove(t.Context(), "d/_part-00000.keys"); err != nil {
			t.Fatal(err)
		}
	}
}

func splitOf(name string, n int64) *mr.Split {
	return &mr.Split{Files: []mr.FileRange{{URI: name, Length: n}}}
}

// Keys are the same with blanks around them; what is known of an image is told before it is read.
func TestListed(t *testing.T) {
	h := newDisk(t, map[string][]byte{"i/a .jpg": []byte("1"), "i/b/ a.jpg": []byte("2"), "i/c.jpg": []byte("3"), "i/ .jpg": []byte("4")})
	var got []string
	for l := range scan(t, h, Spec{URI: "i"}).Listed() {
		got = append(got, fmt.Sprintf("%q %v %v %s", l.Key, l.Record, l.Last, l.Cause))
	}
	want := []string{`" .jpg" false false no-key`, `"a" true true `, `"a" false false duplicate-key`, `"c" true true `}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = nil
	for l := range scan(t, h, Spec{URI: "i", Multiple: Mean}).Listed() {
		got = append(got, fmt.Sprintf("%q %v", l.Key, l.Last))
	}
	if want := []string{`" .jpg" false`, `"a" false`, `"a" true`, `"c" true`}; !slices.Equal(got, want) {
		t.Errorf("several images: %q, want %q", got, want)
	}
}
