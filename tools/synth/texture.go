package synth

import (
	"math"
	"math/rand/v2"
)

// side of a texture tile; rows are stored twice over, so that a run of up to side samples may begin anywhere.
const side = 512

// tile is band-limited noise that repeats without seams, deviation about 32.
type tile struct{ pix []int8 }

func (t *tile) row(x, y int) []int8 {
	o := (y&(side-1))*2*side + x&(side-1)
	return t.pix[o : o+side]
}

// textures are shared by all pictures of a set; a picture differs by which of them it takes, from where
// and how strongly. Drawn once, they cost nothing per picture.
type textures struct {
	mid  [4]tile // details of 4 to 32 pixels
	fine [4]tile // of 1 to 4 pixels
	soft [2]tile // of 32 to 256 pixels
}

func newTextures(seed uint64) *textures {
	r := random(seed, streamTexture, 0)
	t := &textures{}
	for i := range t.mid {
		t.mid[i] = noise(r, 4, 32)
	}
	for i := range t.fine {
		t.fine[i] = noise(r, 1, 2)
	}
	for i := range t.soft {
		t.soft[i] = noise(r, 32, 128)
	}
	return t
}

// noise adds octaves of smoothly interpolated random grids of cell size lo, 2 lo, ..., hi with equal
// energy each, as natural images have, and scales to deviation 32.
func noise(r *rand.Rand, lo, hi int) tile {
	acc := make([]float64, side*side)
	for cell := lo; cell <= hi; cell *= 2 {
		n := side / cell
		grid := make([]float64, n*n)
		for i := range grid {
			grid[i] = r.NormFloat64()
		}
		ease := make([]float64, cell)
		for i := range ease {
			f := float64(i) / float64(cell)
			ease[i] = f * f * (3 - 2*f)
		}
		for y := range side {
			a, b := grid[y/cell*n:][:n], grid[(y/cell+1)%n*n:][:n]
			fy := ease[y%cell]
			for x := range side {
				i, j, fx := x/cell, (x/cell+1)%n, ease[x%cell]
				top := a[i] + (a[j]-a[i])*fx
				bottom := b[i] + (b[j]-b[i])*fx
				acc[y*side+x] += top + (bottom-top)*fy
			}
		}
	}
	sum := 0.0
	for _, v := range acc {
		sum += v * v
	}
	scale := 32 / math.Sqrt(sum/float64(len(acc)))
	t := tile{make([]int8, 2*side*side)}
	for y := range side {
		row := t.pix[y*2*side:][:2*side]
		for x := range side {
			v := int8(math.Round(min(max(acc[y*side+x]*scale, -127), 127)))
			row[x], row[side+x] = v, v
		}
	}
	return t
}
