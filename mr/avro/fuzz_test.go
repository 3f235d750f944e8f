package avro

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/mr/errs"
)

var update = flag.Bool("update", false, "write the seeds of the fuzz targets again")

// FuzzReader reads hostile files: no panic, no error without a kind, and no more records or
// metadata than there are bytes. Run it for longer with
//
//	go test -fuzz FuzzReader ./mr/avro
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{MaxBlock: limit})
		if err != nil {
			if !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Invalid) {
				t.Fatalf("header: %v is %v", err, errs.KindOf(err))
			}
			return
		}
		n := 0
		for k, v := range r.Meta() {
			n += len(k) + len(v)
		}
		if n > len(data) || r.HeaderEnd() > int64(len(data)) {
			t.Fatalf("%d bytes of metadata, header to %d, in %d bytes", n, r.HeaderEnd(), len(data))
		}
		for _, span := range [][2]int64{{0, int64(len(data))}, {int64(len(data) / 2), int64(len(data))}, {-5, 1 << 62}} {
			it := r.Blocks(span[0], span[1])
			last := int64(-1)
			for it.Next() {
				b := it.Block()
				if len(b.Data) > limit || b.Count > int64(len(b.Data)) || b.Offset <= last || b.Offset < r.HeaderEnd() {
					t.Fatalf("block of %d records in %d bytes at %d behind %d", b.Count, len(b.Data), b.Offset, last)
				}
				last = b.Offset
			}
			if err := it.Err(); err != nil && !errs.Is(err, errs.Corrupt) {
				t.Fatalf("blocks: %v is %v", err, errs.KindOf(err))
			}
		}
	})
}

// FuzzRecords decodes hostile blocks: no panic, and what is accepted encodes to as many
// records again.
func FuzzRecords(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, count int64) {
		var again []byte
		n := int64(0)
		err := EachKV(Block{Count: count, Data: data}, func(k, v []byte) bool {
			n++
			again = AppendKV(again, k, v)
			return true
		})
		if err == nil && count >= 0 {
			back := int64(0)
			if err := EachKV(Block{Count: count, Data: again}, func(_, _ []byte) bool { back++; return true }); err != nil || n != count || back != n || len(again) > len(data) {
				t.Fatalf("%d records, %d when encoded again, want %d: %v", n, back, count, err)
			}
		}
		var row Feature
		for rest, ok := row.DecodeFeature(data); ok; rest, ok = row.DecodeFeature(rest) {
			if 4*len(row.Values)+len(row.ID)+len(row.Label)+len(row.Split) > len(data) {
				t.Fatalf("a row of %d values in %d bytes", len(row.Values), len(data))
			}
		}
	})
}

// seeds are files and blocks from which fuzzing starts; they stand in testdata/fuzz.
func seeds(t *testing.T) map[string]string {
	bytesSeed := func(b []byte) string { return fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", b) }
	recordSeed := func(b []byte, n int) string {
		return fmt.Sprintf("go test fuzz v1\n[]byte(%q)\nint64(%d)\n", b, n)
	}
	rows := []featureRow{{"a", "yes", "train", []float32{1, -2}}, {"b", "no", "test", nil}}
	var deflated bytes.Buffer
	w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &deflated, Schema: `"long"`, CompressionName: "deflate"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]any{int64(1), int64(-70000)}); err != nil {
		t.Fatal(err)
	}
	row := AppendFeature(nil, "a", "yes", "train", []float32{1, -2})
	sized := append([]byte{2, 'a', 0, 0, 3, 16}, AppendFloat32s(nil, []float32{1, 2})...) // count -2, 8 bytes
	meta := "Obj\x01" + "\x01\x32\x16avro.schema\x0c\"long\"" + "\x02\x02k\x02v" + "\x00" + "0123456789abcdef" + "\x02\x02\x08" + "0123456789abcdef"
	// The marker's bytes would be the sum of the header; a fixed one keeps the seeds short.
	return map[string]string{
		"FuzzReader/kv-null":        bytesSeed(kvFile(t, 9, Null)),
		"FuzzReader/kv-snappy":      bytesSeed(kvFile(t, 30, Snappy)),
		"FuzzReader/feature-snappy": bytesSeed(writeFeatures(t, rows, Snappy, 1)),
		"FuzzReader/long-deflate":   bytesSeed(deflated.Bytes()),
		"FuzzReader/meta-blocks":    bytesSeed([]byte(meta)),
		"FuzzReader/empty":          bytesSeed(writeFeatures(t, nil, Null, 0)),
		"FuzzReader/magic":          bytesSeed([]byte("Obj\x01")),
		"FuzzReader/truncated":      bytesSeed(kvFile(t, 9, Null)[:300]),
		"FuzzRecords/kv":            recordSeed(AppendKV(AppendKV(nil, []byte("key"), []byte("value")), nil, nil), 2),
		"FuzzRecords/feature":       recordSeed(append(row, row...), 2),
		"FuzzRecords/sized":         recordSeed(append(sized, 0), 1),
		"FuzzRecords/nothing":       recordSeed(nil, 0),
	}
}

// The seeds must stay what they are meant to be: deflated files of a random marker are
// written once, the others are compared.
func TestSeedsAreCurrent(t *testing.T) {
	for name, want := range seeds(t) {
		path := filepath.Join("testdata", "fuzz", filepath.FromSlash(name))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: run this test with -update", err)
		} else if name != "FuzzReader/long-deflate" && string(got) != want {
			t.Errorf("seed %s is not what the writer writes today: run this test with -update if that is meant", name)
		}
	}
}
