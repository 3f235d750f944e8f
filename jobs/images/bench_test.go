package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	pq "github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
)

// BenchmarkRead plans and reads the same 2,000 images of 40 KB from each source, in splits of 64, on this machine's
// file system. What is planned and read is in the page cache.
func BenchmarkRead(b *testing.B) {
	const n, size = 2000, 40_000
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([][]byte, n)
	for i := range data {
		data[i] = make([]byte, size)
		for k := range data[i] {
			data[i][k] = byte(rnd.Uint32())
		}
	}
	dir := b.TempDir()
	for _, s := range []struct {
		name string
		make func(b *testing.B, dir string, data [][]byte)
	}{
		{"folder", benchFolder}, {"tar", benchTar}, {"avro-null", benchAvro(avro.Null)}, {"avro-snappy", benchAvro(avro.Snappy)},
		{"parquet-none", benchParquet(pq.Compression(&pq.Uncompressed))}, {"parquet-snappy", benchParquet(pq.Compression(&pq.Snappy))}, {"parquet-zstd", benchParquet(pq.Compression(&pq.Zstd))},
	} {
		b.Run("source="+s.name, func(b *testing.B) {
			from := filepath.Join(dir, s.name)
			if _, err := os.Stat(from); err != nil {
				if err := os.MkdirAll(from, 0o777); err != nil {
					b.Fatal(err)
				}
				s.make(b, from, data)
			}
			mux := dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open})
			store := local.New(filepath.Join(dir, "store"), false)
			cache := newUnpacked()
			b.SetBytes(n * size)
			b.ReportAllocs()
			for b.Loop() {
				x, err := Scan(b.Context(), mux, Spec{URI: from}, nil)
				if err != nil {
					b.Fatal(err)
				}
				parts, err := x.Write(b.Context(), store, "index", n/64)
				if err != nil {
					b.Fatal(err)
				}
				got := 0
				for i := range parts {
					p, err := readSplit(b.Context(), store, &parts[i])
					if err != nil {
						b.Fatal(err)
					}
					for m, err := range read(b.Context(), mux, cache, p, 0, func([]byte) bool { return true }) {
						if err != nil || m.Bad != nil || len(m.Data) != size {
							b.Fatal(m.Bad, err)
						}
						got++
					}
				}
				if got != n {
					b.Fatalf("%d images", got)
				}
			}
		})
	}
}

func benchFolder(b *testing.B, dir string, data [][]byte) {
	for i, d := range data {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.jpg", i)), d, 0o666); err != nil {
			b.Fatal(err)
		}
	}
}

func benchTar(b *testing.B, dir string, data [][]byte) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, d := range data {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%06d.jpg", i), Size: int64(len(d)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(d); err != nil {
			b.Fatal(err)
		}
	}
	benchSave(b, filepath.Join(dir, "a.tar"), &out, w.Close())
}

func benchSave(b *testing.B, name string, out *bytes.Buffer, err error) {
	if err == nil {
		err = os.WriteFile(name, out.Bytes(), 0o666)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func benchAvro(codec avro.Codec) func(*testing.B, string, [][]byte) {
	return func(b *testing.B, dir string, data [][]byte) {
		var out bytes.Buffer
		w, err := avro.NewWriter(&out, avro.WriterOptions{Schema: Schema, Codec: codec})
		if err != nil {
			b.Fatal(err)
		}
		for i, d := range data {
			if err := w.AppendFunc(func(dst []byte) []byte { return avro.AppendKV(dst, fmt.Appendf(nil, "%06d", i), d) }); err != nil {
				b.Fatal(err)
			}
		}
		benchSave(b, filepath.Join(dir, "a.avro"), &out, w.Close())
	}
}

type benchRow struct {
	ID    string `parquet:"id"`
	Image []byte `parquet:"image"`
}

func benchParquet(codec pq.WriterOption) func(*testing.B, string, [][]byte) {
	return func(b *testing.B, dir string, data [][]byte) {
		var out bytes.Buffer
		w := pq.NewGenericWriter[benchRow](&out, codec)
		for i, d := range data {
			if _, err := w.Write([]benchRow{{fmt.Sprintf("%06d", i), d}}); err != nil {
				b.Fatal(err)
			}
		}
		benchSave(b, filepath.Join(dir, "a.parquet"), &out, w.Close())
	}
}
