package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func vectors(rnd *rand.Rand, count, n int) [][]float32 {
	out := make([][]float32, count)
	for i := range out {
		out[i] = make([]float32, n)
		for j := range out[i] {
			out[i][j] = float32(rnd.NormFloat64()) * float32(math.Pow(10, float64(rnd.IntN(9)-4)))
		}
	}
	return out
}

// TestVectorAndPortableCodeGiveTheSameBits is what "the same bits on every machine" rests on.
func TestVectorAndPortableCodeGiveTheSameBits(t *testing.T) {
	if !vector {
		t.Log("this machine has no vector code: the portable code is compared with itself")
	}
	have := vector
	defer func() { vector = have }()
	for n := range 70 {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		v := vectors(rnd, 6, n)
		r := [4]float32{0.5, -1.25, 3e-4, 7}
		g := [2][]float32{append([]float32(nil), v[5]...), append([]float32(nil), v[5]...)}
		var dot [2][4]float32
		for i, on := range []bool{have, false} {
			vector = on
			dot[i] = Dot4(v[0], v[1], v[2], v[3], v[4])
			Axpy4(g[i], v[0], v[1], v[2], v[3], r)
		}
		if dot[0] != dot[1] {
			t.Errorf("n=%d: dot %v and %v", n, dot[0], dot[1])
		}
		for j := range n {
			if math.Float32bits(g[0][j]) != math.Float32bits(g[1][j]) {
				t.Fatalf("n=%d: axpy differs at %d: %v and %v", n, j, g[0][j], g[1][j])
			}
			want := float64(v[5][j])
			for k := range 4 {
				want += float64(r[k]) * float64(v[k][j])
			}
			if d := math.Abs(float64(g[0][j]) - want); d > 1e-5*(math.Abs(want)+1e5) {
				t.Fatalf("n=%d: axpy at %d is %v, want %v", n, j, g[0][j], want)
			}
		}
		for k := range 4 {
			want, size := 0.0, 0.0
			for j := range n {
				want += float64(v[k][j]) * float64(v[4][j])
				size += math.Abs(float64(v[k][j]) * float64(v[4][j]))
			}
			if d := math.Abs(float64(dot[0][k]) - want); d > 1e-5*size {
				t.Errorf("n=%d: dot %d is %v, want %v", n, k, dot[0][k], want)
			}
		}
	}
}

// TestColumnStatistics compares extents and moments with plain loops, in vector and in portable
// code, also over what is no number.
func TestColumnStatistics(t *testing.T) {
	have := vector
	defer func() { vector = have }()
	for n := range 70 {
		rnd := rand.New(rand.NewPCG(uint64(n), 2))
		x := vectors(rnd, 4, n)
		shift := vectors(rnd, 1, n)[0]
		if n > 9 {
			x[1][9], x[2][1], x[0][3] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Copysign(0, -1))
		}
		var low, high [2][]float32
		var sum, square [2][]float64
		for i, on := range []bool{have, false} {
			vector = on
			low[i], high[i] = make([]float32, n), make([]float32, n)
			sum[i], square[i] = make([]float64, n), make([]float64, n)
			for j := range n {
				low[i][j], high[i][j] = float32(math.Inf(1)), float32(math.Inf(-1))
				sum[i][j], square[i][j] = 1, 2
			}
			Extent4(low[i], high[i], x[0], x[1], x[2], x[3])
			Moments4(sum[i], square[i], shift, x[0], x[1], x[2], x[3])
			Moments1(sum[i], square[i], shift, x[0])
		}
		for j := range n {
			wantLow, wantHigh, s, q := math.Inf(1), math.Inf(-1), 1.0, 2.0
			for _, row := range [][]float32{x[0], x[1], x[2], x[3], x[0]} {
				d := float64(row[j] - shift[j])
				s, q = s+d, q+float64(d*d)
				if v := float64(row[j]); !math.IsNaN(v) {
					wantLow, wantHigh = min(wantLow, v), max(wantHigh, v)
				}
			}
			for i := range 2 {
				if float64(low[i][j]) != wantLow || float64(high[i][j]) != wantHigh {
					t.Fatalf("n=%d column %d: from %v to %v, want %v to %v (code %d)", n, j, low[i][j], high[i][j], wantLow, wantHigh, i)
				}
				if !same(sum[i][j], s) || !same(square[i][j], q) {
					t.Fatalf("n=%d column %d: sums %v and %v, want %v and %v (code %d)", n, j, sum[i][j], square[i][j], s, q, i)
				}
			}
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func BenchmarkKernel(b *testing.B) {
	const n = 8192
	v := vectors(rand.New(rand.NewPCG(1, 1)), 6, n)
	defer func(on bool) { vector = on }(vector)
	for _, on := range []bool{true, false} {
		if on && !vector {
			continue
		}
		vector = on
		b.Run(fmt.Sprintf("op=dot/vector=%v", on), func(b *testing.B) {
			b.SetBytes(4 * 4 * n)
			for b.Loop() {
				Dot4(v[0], v[1], v[2], v[3], v[4])
			}
		})
		b.Run(fmt.Sprintf("op=axpy/vector=%v", on), func(b *testing.B) {
			b.SetBytes(4 * 4 * n)
			for b.Loop() {
				Axpy4(v[5], v[0], v[1], v[2], v[3], [4]float32{1, 2, 3, 4})
			}
		})
	}
}
