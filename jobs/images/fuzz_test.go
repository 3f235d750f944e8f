package images

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// hostile scans a file of a format and reads what the scan found: no panic, no error without a kind, every image
// once, nothing that takes long.
func hostile(t *testing.T, name string, data []byte) {
	start := time.Now()
	fs := mem.New()
	if err := dfs.WriteFile(t.Context(), fs, dfs.Path("d/"+name), data); err != nil {
		t.Fatal(err)
	}
	h := host{disk{FS: fs, name: "mem"}}
	for _, multiple := range []string{First, Mean} {
		x, err := Scan(t.Context(), h, Spec{URI: "d", Multiple: multiple}, nil)
		if err != nil {
			var se *SourceError
			if !errors.As(err, &se) && errs.KindOf(err) != errs.Invalid {
				t.Fatalf("%v is %v", err, errs.KindOf(err))
			}
			return
		}
		if x.Images > fewImages+int64(len(data))/leastBytes || x.Images != int64(len(x.entries)) {
			t.Fatalf("%d images in %d bytes", x.Images, len(data))
		}
		parts, err := x.Write(t.Context(), fs, "index", 3)
		if err != nil {
			t.Fatal(err)
		}
		var n, open int64
		for i := range parts {
			for m, err := range Read(t.Context(), h, &parts[i], 0, func([]byte) bool { return true }) {
				if err != nil {
					if errs.KindOf(err) == errs.Unknown || errs.KindOf(err) == errs.Internal {
						t.Fatalf("%v is %v", err, errs.KindOf(err))
					}
					return
				}
				n++
				if m.First {
					open++
				}
				if m.Last {
					open--
				}
				if m.Bad == nil && m.Data == nil || m.Aside && (m.First || m.Last || m.Bad == nil) || open < 0 || open > 1 {
					t.Fatalf("image %+v", m)
				}
			}
		}
		if n != x.Images || open != 0 {
			t.Fatalf("%d of %d images, %d records open", n, x.Images, open)
		}
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Fatalf("%v for %d bytes", d, len(data))
	}
}

func seeds(f *testing.F, pattern string) {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
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

// FuzzTar reads hostile archives. Run it for longer with
//
//	go test -fuzz FuzzTar ./jobs/images
func FuzzTar(f *testing.F) {
	seeds(f, "*.tar")
	f.Add(tarFile(f, member{"a.jpg", "1", 0}, member{"a.json", "{}", 0}, member{"b", jpg + "12345678", 0}))
	f.Add(tarFile(f, member{"../x.jpg", "y", 0}, member{"l.png", "z", '2'}, member{string(bytes.Repeat([]byte("d/"), 100)) + "p.jpg", "p", 0}))
	f.Fuzz(func(t *testing.T, data []byte) { hostile(t, "f.tar", data) })
}

// FuzzParquet reads hostile Parquet files.
func FuzzParquet(f *testing.F) {
	seeds(f, "*.parquet")
	f.Fuzz(func(t *testing.T, data []byte) { hostile(t, "f.parquet", data) })
}

// FuzzAvro reads hostile Avro files.
func FuzzAvro(f *testing.F) {
	seeds(f, "*.avro")
	f.Fuzz(func(t *testing.T, data []byte) { hostile(t, "f.avro", data) })
}

// FuzzKeys reads hostile lists of keys beside a shard.
func FuzzKeys(f *testing.F) {
	b, err := EncodeKeys(1000, []Located{{"a", 100, 50}, {"a", 160, 1}, {"b", 900, 100}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := mem.New()
		if err := dfs.WriteFile(t.Context(), fs, "_part-00000.keys", data); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeys(t.Context(), fs, "part-00000.avro", 1000, func(l Located) error {
			if l.At < 0 || l.Size < 0 || l.At+l.Size > 1000 {
				t.Fatalf("%+v", l)
			}
			return nil
		})
		if k := errs.KindOf(err); err != nil && k != errs.Corrupt && k != errs.Invalid {
			t.Fatalf("%v is %v", err, k)
		}
	})
}

// FuzzIndex reads hostile index files.
func FuzzIndex(f *testing.F) {
	h := newDisk(f, map[string][]byte{"r/a.jpg": []byte("x"), "r/b.jpg": []byte("y")})
	x, err := Scan(f.Context(), h, Spec{URI: "r"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := x.Write(f.Context(), h.fs, "index", 2); err != nil {
		f.Fatal(err)
	}
	b, err := dfs.ReadFile(f.Context(), h.fs, "index", 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, name := range []string{"fastavro-snappy.avro", "hf-default.parquet", "string-key-delta.parquet"} { // blocks and pages
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		h := newDisk(f, map[string][]byte{name: data})
		x, err := Scan(f.Context(), h, Spec{URI: name}, nil)
		if err == nil {
			_, err = x.Write(f.Context(), h.fs, "index", 2)
		}
		if err == nil {
			data, err = dfs.ReadFile(f.Context(), h.fs, "index", 1<<20)
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := mem.New()
		if err := dfs.WriteFile(t.Context(), fs, "index", data); err != nil {
			t.Fatal(err)
		}
		split := splitOf("index", int64(len(data)))
		n := 0
		for range Read(t.Context(), host{disk{FS: fs, name: "mem"}}, split, 0, func([]byte) bool { return true }) {
			if n++; n > len(data)+1 {
				t.Fatalf("%d images in %d bytes", n, len(data))
			}
		}
	})
}

// FuzzPattern reads hostile patterns, and finds the files of small folders by them.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"r/{a,b}/*", "r/{000..127}.jpg", "r/?/[ab]*.jpg", "{a,{b,c}}", "r/{0..99999}{0..99}", "[", "r/{1..0}", "\\{a}", "{}{,}{,,}"} {
		f.Add(p)
	}
	files := map[string][]byte{"r/a/1.jpg": []byte("1"), "r/b/1.jpg": []byte("2"), "r/007.jpg": []byte("3"), "r/{odd}/[x].jpg": []byte("4")}
	f.Fuzz(func(t *testing.T, p string) {
		start := time.Now()
		all, err := expand(p)
		n := 0
		for _, a := range all {
			n += len(a)
		}
		if len(all) > maxPatterns || n > maxPatternText+len(p) || err == nil && len(all) == 0 {
			t.Fatalf("%d paths of %d bytes, %v", len(all), n, err)
		}
		if err == nil && !strings.Contains(p, "{") && (len(all) != 1 || all[0] != p) {
			t.Fatalf("%q became %q", p, all)
		}
		h := newDisk(t, files)
		x, err := Scan(t.Context(), h, Spec{URI: p}, nil)
		if err == nil && (x.Images == 0 || x.Images > int64(len(files))) {
			t.Fatalf("%d images", x.Images)
		}
		if k := errs.KindOf(err); err != nil && k != errs.Invalid && k != errs.NotExist && k != errs.Corrupt && k != errs.Unknown {
			t.Fatalf("%v is %v", err, k)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Fatalf("%v for %d bytes", d, len(p))
		}
	})
}
