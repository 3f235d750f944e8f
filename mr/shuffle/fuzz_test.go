package shuffle

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/golang/snappy"

	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/errs"
)

var update = flag.Bool("update", false, "write the seeds of the fuzz targets again")

// drain reads a segment and counts its records.
func drain(data []byte, seg Segment) (n int64, size int, err error) {
	var stage []byte
	r := &run{src: Source{R: bytes.NewReader(data), Seg: seg, Name: "fuzz"}, stage: &stage}
	for {
		ok, err := r.advance()
		if err != nil || !ok {
			return n, size, err
		}
		n++
		size += len(r.key) + len(r.value)
	}
}

// FuzzSegment reads hostile segments whose index is right about them: no panic, and no error
// without a kind.
func FuzzSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, records int64) {
		seg := Segment{Bytes: int64(len(data)), Records: records, CRC: checksum.Sum(data)}
		n, size, err := drain(data, seg)
		if err != nil && !errs.Is(err, errs.Corrupt) {
			t.Fatalf("%v is %v", err, errs.KindOf(err))
		}
		if err == nil && n != records || size > snappyRatio*len(data) {
			t.Fatalf("%d records, %d bytes of %d, want %d records", n, size, len(data), records)
		}
	})
}

// FuzzBlock reads hostile records in a block that is sound otherwise, so that no checksum
// stands before the parser.
func FuzzBlock(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte, records int64) {
		body := snappy.Encode(nil, raw)
		data := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
		data = binary.LittleEndian.AppendUint32(data, uint32(len(raw)))
		data = binary.LittleEndian.AppendUint32(data, checksum.Update(checksum.Sum(data), body))
		data = append(data, body...)
		seg := Segment{Bytes: int64(len(data)), Records: records, CRC: checksum.Sum(data)}
		n, size, err := drain(data, seg)
		if err != nil && !errs.Is(err, errs.Corrupt) {
			t.Fatalf("%v is %v", err, errs.KindOf(err))
		}
		if n > int64(len(raw)/2) || size > len(raw) || err == nil && n != records {
			t.Fatalf("%d records of %d bytes in %d, %v", n, size, len(raw), err)
		}
	})
}

// The seeds, which stand in testdata/fuzz, are today's format.
func TestSeedsAreCurrent(t *testing.T) {
	seed := func(b []byte, n int64) string { return fmt.Sprintf("go test fuzz v1\n[]byte(%q)\nint64(%d)\n", b, n) }
	small, index := mapOutput(t, Options{Partitions: 1}, []record{{key: "b", value: "1"}, {key: "", value: ""}, {key: "b", value: "2"}})
	var zeros []record
	for range 3 { // two blocks that pack well
		zeros = append(zeros, record{value: string(make([]byte, 40_000))})
	}
	two, twoIndex := mapOutput(t, Options{Partitions: 1}, zeros)
	raw := []byte{1, 2, 'k', 'v', 'w', 0, 0, 3, 0, 'x', 'y', 'z'}
	for name, want := range map[string]string{
		"FuzzSegment/small":      seed(small, index[0].Records),
		"FuzzSegment/two-blocks": seed(two, twoIndex[0].Records),
		"FuzzSegment/truncated":  seed(two[:len(two)/2], 2),
		"FuzzSegment/nothing":    seed(nil, 0),
		"FuzzBlock/three":        seed(raw, 3),
		"FuzzBlock/cut":          seed(raw[:len(raw)-2], 3),
		"FuzzBlock/long":         seed(binary.AppendUvarint([]byte{1}, 1<<63), 1),
	} {
		path := filepath.Join("testdata", "fuzz", filepath.FromSlash(name))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil {
			t.Errorf("%v: run this test with -update", err)
		} else if string(got) != want {
			t.Errorf("seed %s is not what the writer writes today: run this test with -update if that is meant", name)
		}
	}
}
