package row

import (
	"slices"
	"testing"
)

func TestRowsComeBack(t *testing.T) {
	for _, want := range []Row{
		{Label: "yes", X: []float32{1, -2.5}, U: 1 << 63},
		{Test: true, Label: "", X: nil, U: 7},
	} {
		var got Row
		if err := got.Decode(want.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if got.Test != want.Test || got.Label != want.Label || got.U != want.U || !slices.Equal(got.X, want.X) {
			t.Errorf("%+v came back as %+v", want, got)
		}
	}
}

func TestDamagedRowsAreErrors(t *testing.T) {
	r := Row{Label: "label", X: []float32{1, 2, 3}}
	whole := r.Append(nil)
	for n := range len(whole) {
		var got Row
		if err := got.Decode(whole[:n]); err == nil && len(got.X) == 3 {
			t.Errorf("%d bytes of %d are taken for a row", n, len(whole))
		}
	}
}

// The contract's formula, computed with another program:
// python3 -c 'import hashlib; d=hashlib.sha256(b"2019:r0000001").digest(); print(int.from_bytes(d[:8],"big")/2**64, int.from_bytes(d[8:16],"big"))'
func TestSplitIsTheContractsFormula(t *testing.T) {
	for _, c := range []struct {
		key  string
		at   float64
		fold uint64
	}{
		{"r0000001", 0.7056239026319906, 16062519229320884304},
		{"x", 0.43009434774389144, 1702722004839369302},
	} {
		below, u := NewSplitter(2019, c.at+1e-9).Split([]byte(c.key))
		above, _ := NewSplitter(2019, c.at-1e-9).Split([]byte(c.key))
		if !below || above || u != c.fold {
			t.Errorf("%s: held out %v below and %v above %v, u' %d; want true, false and %d", c.key, below, above, c.at, u, c.fold)
		}
	}
}

func TestFoldsAreEvenAndInRange(t *testing.T) {
	counts := make([]int, 5)
	s := NewSplitter(1, 0)
	for i := range 5000 {
		_, u := s.Split([]byte{byte(i), byte(i >> 8)})
		r := Row{U: u}
		counts[r.Fold(5)]++
	}
	for f, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("fold %d has %d of 5000 rows", f, n)
		}
	}
	if last := (&Row{U: ^uint64(0)}).Fold(5); last != 4 {
		t.Errorf("the largest u' is in fold %d, want 4", last)
	}
}
