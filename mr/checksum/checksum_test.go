package checksum

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// The polynomial is part of every file format of the engine.
func TestSumIsCRC32C(t *testing.T) {
	for in, want := range map[string]uint32{ // RFC 3720, appendix B.4, and the usual check value
		"":                                     0,
		"123456789":                            0xe3069283,
		string(make([]byte, 32)):               0x8a9136aa,
		string(bytes.Repeat([]byte{0xff}, 32)): 0x62a8ab43,
	} {
		if got := Sum([]byte(in)); got != want {
			t.Errorf("sum of %q is %08x, want %08x", in, got, want)
		}
		if got := Update(Sum([]byte(in[:len(in)/3])), []byte(in[len(in)/3:])); got != want {
			t.Errorf("sum of %q in two pieces is %08x, want %08x", in, got, want)
		}
	}
}

// A Writer counts and sums what was taken, not what was offered.
func TestWriterSumsWhatWasTaken(t *testing.T) {
	var taken bytes.Buffer
	full := errors.New("full")
	w := NewWriter(writerFunc(func(b []byte) (int, error) {
		n := min(len(b), 10-taken.Len())
		taken.Write(b[:n])
		if n < len(b) {
			return n, full
		}
		return n, nil
	}))
	if n, err := w.Write([]byte("1234567")); n != 7 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := w.Write([]byte("89abcde")); n != 3 || !errors.Is(err, full) {
		t.Fatalf("%d, %v; want 3 and the writer's error", n, err)
	}
	if w.N() != 10 || w.Sum() != Sum([]byte("123456789a")) {
		t.Errorf("%d bytes, %08x; want 10, %08x", w.N(), w.Sum(), Sum([]byte("123456789a")))
	}
}

func TestVerify(t *testing.T) {
	data := make([]byte, 700<<10) // more than two buffers
	for i := range data {
		data[i] = byte(i * 31 >> 3)
	}
	size, want := int64(len(data)), Sum(data)
	if err := Verify(bytes.NewReader(data), size, want); err != nil {
		t.Errorf("a sound file: %v", err)
	}
	if err := Verify(bytes.NewReader(nil), 0, 0); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	store := errs.E("get", errs.Transient, "s3://b/k", errors.New("no answer"))
	flipped := bytes.Clone(data)
	flipped[300_000] ^= 4
	for name, c := range map[string]struct {
		r    io.ReaderAt
		size int64
		want errs.Kind
	}{
		"one flipped bit":         {bytes.NewReader(flipped), size, errs.Corrupt},
		"too short":               {bytes.NewReader(data[:500_000]), size, errs.Corrupt},
		"empty":                   {bytes.NewReader(nil), size, errs.Corrupt},
		"a prefix":                {bytes.NewReader(data), size - 1, errs.Corrupt},
		"a length below zero":     {bytes.NewReader(data), -1, errs.Corrupt},
		"a store that fails":      {readerFunc(func([]byte) (int, error) { return 5, store }), size, errs.Transient},
		"a store that reads less": {readerFunc(func([]byte) (int, error) { return 0, nil }), size, errs.Corrupt},
	} {
		if err := Verify(c.r, c.size, want); !errs.Is(err, c.want) {
			t.Errorf("%s: %v (%v), want %v", name, err, errs.KindOf(err), c.want)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) ReadAt(b []byte, _ int64) (int, error) { return f(b) }

func BenchmarkVerify(b *testing.B) {
	data := make([]byte, 16<<20)
	want := Sum(data)
	b.Run("size=16MiB", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if err := Verify(bytes.NewReader(data), int64(len(data)), want); err != nil {
				b.Fatal(err)
			}
		}
	})
}
