package weights

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"runtime"
	"sync"
)

// Random makes up parameters from a seed. Every parameter has its own stream, keyed by seed and name, and
// element i is a function of the key and i, so neither order nor parallelism matters; arithmetic is on
// integers and single float32 roundings, so every machine makes the same bits.
//
// Weights are uniform, scaled by fan-in so that activations keep their size through the layers (He et
// al., "Delving Deep into Rectifiers", section 2.2), and each filter's mean is removed: rectified inputs
// have a positive mean, and without this every image's activations drift towards one common vector, the
// further up the more. Filters that read the image keep their mean: brightness and colour pass through.
// Cost: about a nanosecond per element and core.
func Random(params []Param, seed uint64) map[string][]byte {
	out := make(map[string][]byte, len(params))
	for _, p := range params {
		b := make([]byte, 4*p.Len())
		out[p.Name] = b
		p.fill(b, key(seed, p.Name))
	}
	return out
}

// key derives a stream from seed and name.
func key(seed uint64, name string) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(name))
	return mix(h.Sum64())
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators"): a bijection in which every input bit changes every output bit.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// gamma64 is SplitMix64's increment.
const gamma64 = 0x9e3779b97f4a7c15

func (p Param) fill(b []byte, key uint64) {
	level := p.Level
	if level == 0 {
		level = 1
	}
	switch p.Kind {
	case Weight:
		p.weights(b, key, level)
	case Bias, Beta, Mean:
		uniform(b, key, 0.1*level, 0)
	case Gamma:
		uniform(b, key, 0.2*level, level)
	case Variance:
		uniform(b, key, 0.2*level, level)
	}
}

// uniform fills b with numbers from centre-half to centre+half.
func uniform(b []byte, key uint64, half, centre float32) {
	scale := half / (1 << 31)
	for i := 0; i+4 <= len(b); i += 4 {
		v := float32(int32(mix(key+uint64(i)*gamma64) >> 32))
		// The conversion keeps compilers from fusing product and sum, which would round once only.
		binary.LittleEndian.PutUint32(b[i:], math.Float32bits(float32(v*scale)+centre))
	}
}

// rectified is the variance of a rectified normal variable of variance 1: 1/2 - 1/(2 pi).
const rectified = 0.34084505690810466

func (p Param) weights(b []byte, key uint64, level float32) {
	rows := int(p.Dims[0])
	if rows == 0 || len(b) == 0 {
		return
	}
	fan := len(b) / 4 / rows
	variance := float64(level) * float64(level) / (rectified * float64(fan))
	if p.First {
		variance = float64(level) * float64(level) / float64(fan)
	}
	half := math.Sqrt(3 * variance) // a uniform variable of half-width h has variance h*h/3
	// The square root is exact to the last bit on every machine (IEEE 754), so half is too.
	scale := float32(half / (1 << 31))
	// The part of the mean that goes: all of it between convolutions, half of it where the features of
	// all positions come together, so that these do not become too sensitive to where things are.
	remove := int64(2)
	switch {
	case p.First || fan < 8:
		remove = 0
	case len(p.Dims) == 2:
		remove = 1
	}
	var wg sync.WaitGroup
	workers := min(rows, runtime.GOMAXPROCS(0))
	if len(b) < 1<<20 {
		workers = 1
	}
	for w := range workers {
		wg.Go(func() {
			for r := rows * w / workers; r < rows*(w+1)/workers; r++ {
				row(b[4*r*fan:4*(r+1)*fan], key+uint64(r)*gamma64<<24, scale, remove)
			}
		})
	}
	wg.Wait()
}

// row fills one filter and takes remove halves of its mean away. The mean is an integer mean of the
// integers behind the floats, so that it does not depend on an order of summation; the integers wait in b.
func row(b []byte, key uint64, scale float32, remove int64) {
	n := len(b) / 4
	var sum int64
	for i := 0; i < n; i += 2 {
		z := mix(key + uint64(i)*gamma64)
		binary.LittleEndian.PutUint32(b[4*i:], uint32(z>>32))
		sum += int64(int32(z >> 32))
		if i+1 < n {
			binary.LittleEndian.PutUint32(b[4*i+4:], uint32(z))
			sum += int64(int32(z))
		}
	}
	sum = sum * remove / (2 * int64(n))
	for i := 0; i < len(b); i += 4 {
		v := int64(int32(binary.LittleEndian.Uint32(b[i:]))) - sum
		binary.LittleEndian.PutUint32(b[i:], math.Float32bits(float32(v)*scale))
	}
}
