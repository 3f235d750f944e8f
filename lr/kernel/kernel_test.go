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
