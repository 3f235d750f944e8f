package reference

import (
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// spatial is a two-dimensional window.
type spatial struct {
	k, s, d, before, after [2]int
	out                    [2]int
}

// window works out a window over the last two axes of x by the formulas of the operator's definition.
func window(n *onnx.Node, x Tensor, kernel []int64) (w spatial, err error) {
	if len(x.Dims) != 4 {
		return w, fmt.Errorf("over %d axes", len(x.Dims))
	}
	if k := n.Ints("kernel_shape"); k != nil {
		kernel = k
	}
	pads, strides, dil := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations")
	for i := range 2 {
		w.k[i], w.s[i], w.d[i] = int(kernel[i]), 1, 1
		if strides != nil {
			w.s[i] = int(strides[i])
		}
		if dil != nil {
			w.d[i] = int(dil[i])
		}
		size := int(x.Dims[2+i])
		span := (w.k[i]-1)*w.d[i] + 1
		switch auto := n.Text("auto_pad", "NOTSET"); auto {
		case "NOTSET":
			if pads != nil {
				w.before[i], w.after[i] = int(pads[i]), int(pads[2+i])
			}
			free := size + w.before[i] + w.after[i] - span
			w.out[i] = int(math.Floor(float64(free)/float64(w.s[i]))) + 1
			if n.Int("ceil_mode", 0) == 1 {
				w.out[i] = int(math.Ceil(float64(free)/float64(w.s[i]))) + 1
				if (w.out[i]-1)*w.s[i] >= size+w.before[i] {
					w.out[i]--
				}
			}
		case "SAME_UPPER", "SAME_LOWER":
			w.out[i] = int(math.Ceil(float64(size) / float64(w.s[i])))
			total := max((w.out[i]-1)*w.s[i]+span-size, 0)
			w.before[i] = total / 2
			if auto == "SAME_LOWER" {
				w.before[i] = total - total/2
			}
			w.after[i] = total - w.before[i]
		case "VALID":
			w.out[i] = int(math.Ceil(float64(size-span+1) / float64(w.s[i])))
		default:
			return w, fmt.Errorf("auto_pad %s", auto)
		}
	}
	return w, nil
}

// each calls fn for every element of the input that the window at (oy, ox) covers.
func (w spatial) each(x Tensor, oy, ox int, fn func(ky, kx, y, xx int)) {
	for ky := range w.k[0] {
		for kx := range w.k[1] {
			y, xx := oy*w.s[0]-w.before[0]+ky*w.d[0], ox*w.s[1]-w.before[1]+kx*w.d[1]
			if y >= 0 && y < int(x.Dims[2]) && xx >= 0 && xx < int(x.Dims[3]) {
				fn(ky, kx, y, xx)
			}
		}
	}
}

func conv(n *onnx.Node, in []Tensor) (Tensor, error) {
	x, k := in[0], in[1]
	w, err := window(n, x, k.Dims[2:])
	if err != nil {
		return Tensor{}, err
	}
	groups := int(n.Int("group", 1))
	outC, inC := int(k.Dims[0]), int(k.Dims[1])
	if inC*groups != int(x.Dims[1]) || outC%groups != 0 {
		return Tensor{}, fmt.Errorf("%v by %v in %d groups", x.Dims, k.Dims, groups)
	}
	out := Tensor{Dims: []int64{x.Dims[0], k.Dims[0], int64(w.out[0]), int64(w.out[1])}}
	for b := range int(x.Dims[0]) {
		for o := range outC {
			from := o / (outC / groups) * inC
			for oy := range w.out[0] {
				for ox := range w.out[1] {
					var sum float64
					if len(in) > 2 && in[2].Floats != nil {
						sum = float64(in[2].Floats[o])
					}
					w.each(x, oy, ox, func(ky, kx, y, xx int) {
						for c := range inC {
							v := x.Floats[((b*int(x.Dims[1])+from+c)*int(x.Dims[2])+y)*int(x.Dims[3])+xx]
							sum += float64(v) * float64(k.Floats[((o*inC+c)*w.k[0]+ky)*w.k[1]+kx])
						}
					})
					out.Floats = append(out.Floats, float32(sum))
				}
			}
		}
	}
	return out, nil
}

func pool(largest bool) operator {
	return func(n *onnx.Node, in []Tensor) (Tensor, error) {
		x := in[0]
		w, err := window(n, x, nil)
		if err != nil {
			return Tensor{}, err
		}
		out := Tensor{Dims: []int64{x.Dims[0], x.Dims[1], int64(w.out[0]), int64(w.out[1])}}
		for p := range int(x.Dims[0] * x.Dims[1]) {
			plane := x.Floats[p*int(x.Dims[2]*x.Dims[3]):]
			for oy := range w.out[0] {
				for ox := range w.out[1] {
					best, sum, count := math.Inf(-1), 0.0, 0
					w.each(x, oy, ox, func(_, _, y, xx int) {
						v := float64(plane[y*int(x.Dims[3])+xx])
						best, sum, count = max(best, v), sum+v, count+1
					})
					if n.Int("count_include_pad", 0) == 1 {
						count = w.k[0] * w.k[1]
					}
					if largest {
						out.Floats = append(out.Floats, float32(best))
					} else {
						out.Floats = append(out.Floats, float32(sum/float64(count)))
					}
				}
			}
		}
		return out, nil
	}
}

func globalPool(largest bool) operator {
	return func(_ *onnx.Node, in []Tensor) (Tensor, error) {
		x := in[0]
		out := Tensor{Dims: []int64{x.Dims[0], x.Dims[1], 1, 1}}
		size := x.len() / int(x.Dims[0]*x.Dims[1])
		for p := range int(x.Dims[0] * x.Dims[1]) {
			best, sum := math.Inf(-1), 0.0
			for _, v := range x.Floats[p*size : (p+1)*size] {
				best, sum = max(best, float64(v)), sum+float64(v)
			}
			if largest {
				out.Floats = append(out.Floats, float32(best))
			} else {
				out.Floats = append(out.Floats, float32(sum/float64(size)))
			}
		}
		return out, nil
	}
}

func batchNorm(n *onnx.Node, in []Tensor) (Tensor, error) {
	x := in[0]
	out := Tensor{Dims: x.Dims, Floats: make([]float32, len(x.Floats))}
	c := int(x.Dims[1])
	size := x.len() / int(x.Dims[0]) / c
	eps := float64(n.Float("epsilon", 1e-5))
	for i, v := range x.Floats {
		k := i / size % c
		norm := (float64(v) - float64(in[3].Floats[k])) / math.Sqrt(float64(in[4].Floats[k])+eps)
		out.Floats[i] = float32(norm*float64(in[1].Floats[k]) + float64(in[2].Floats[k]))
	}
	return out, nil
}

func lrn(n *onnx.Node, in []Tensor) (Tensor, error) {
	x := in[0]
	size := int(n.Int("size", 0))
	alpha, beta, bias := float64(n.Float("alpha", 1e-4)), float64(n.Float("beta", 0.75)), float64(n.Float("bias", 1))
	out := Tensor{Dims: x.Dims, Floats: make([]float32, len(x.Floats))}
	c := int(x.Dims[1])
	plane := x.len() / int(x.Dims[0]) / c
	for i, v := range x.Floats {
		k := i / plane % c
		sum := 0.0
		for j := max(0, k-(size-1)/2); j <= min(c-1, k+size/2); j++ {
			u := float64(x.Floats[i+(j-k)*plane])
			sum += u * u
		}
		out.Floats[i] = float32(float64(v) / math.Pow(bias+alpha/float64(size)*sum, beta))
	}
	return out, nil
}

func gemm(n *onnx.Node, in []Tensor) (Tensor, error) {
	a, b := in[0], in[1]
	ta, tb := n.Int("transA", 0) != 0, n.Int("transB", 0) != 0
	m, k, cols := int(a.Dims[0]), int(a.Dims[1]), int(b.Dims[1])
	if ta {
		m, k = k, m
	}
	if tb {
		cols = int(b.Dims[0])
	}
	alpha, beta := float64(n.Float("alpha", 1)), float64(n.Float("beta", 1))
	out := Tensor{Dims: []int64{int64(m), int64(cols)}}
	for i := range m {
		for j := range cols {
			sum := 0.0
			for l := range k {
				ia, ib := i*k+l, l*cols+j
				if ta {
					ia = l*m + i
				}
				if tb {
					ib = j*k + l
				}
				x, y := a.Floats[ia], b.Floats[ib]
				sum += float64(x) * float64(y)
			}
			sum *= alpha
			if len(in) > 2 && in[2].Floats != nil {
				c := in[2]
				at := 0
				switch {
				case len(c.Floats) == 1:
				case len(c.Floats) == cols:
					at = j
				case len(c.Floats) == m*cols:
					at = i*cols + j
				default:
					return out, fmt.Errorf("bias %v", c.Dims)
				}
				sum += beta * float64(c.Floats[at])
			}
			out.Floats = append(out.Floats, float32(sum))
		}
	}
	return out, nil
}

func matmul(n *onnx.Node, in []Tensor) (Tensor, error) {
	if len(in[0].Dims) != 2 || len(in[1].Dims) != 2 {
		return Tensor{}, fmt.Errorf("%v by %v", in[0].Dims, in[1].Dims)
	}
	return gemm(&onnx.Node{}, in[:2])
}

func reduceMean(n *onnx.Node, in []Tensor) (Tensor, error) {
	x := in[0]
	axes := n.Ints("axes")
	if axes == nil && len(in) > 1 {
		axes = in[1].Ints
	}
	drop := make([]bool, len(x.Dims))
	for _, a := range axes {
		drop[(int(a)+len(drop))%len(drop)] = true
	}
	if len(axes) == 0 {
		return Tensor{}, fmt.Errorf("over no axes of %v", x.Dims)
	}
	var out Tensor
	total := 1
	for i, d := range x.Dims {
		switch {
		case !drop[i]:
			out.Dims = append(out.Dims, d)
		case n.Int("keepdims", 1) != 0:
			out.Dims = append(out.Dims, 1)
		}
		if !drop[i] {
			total *= int(d)
		}
	}
	sums := make([]float64, total)
	for i, v := range x.Floats {
		at, rest, step := 0, i, 1
		for k := len(x.Dims) - 1; k >= 0; k-- {
			d := int(x.Dims[k])
			if !drop[k] {
				at += rest % d * step
				step *= d
			}
			rest /= d
		}
		sums[at] += float64(v)
	}
	for _, s := range sums {
		out.Floats = append(out.Floats, float32(s*float64(total)/float64(len(x.Floats))))
	}
	return out, nil
}

func clip(n *onnx.Node, in []Tensor) (Tensor, error) {
	low, high := float64(n.Float("min", -math.MaxFloat32)), float64(n.Float("max", math.MaxFloat32))
	if len(in) > 1 && in[1].Floats != nil {
		low = float64(in[1].Floats[0])
	}
	if len(in) > 2 && in[2].Floats != nil {
		high = float64(in[2].Floats[0])
	}
	return unary(func(x float64) float64 { return min(max(x, low), high) })(n, in)
}

// softmax is along one axis, as operator sets from 13 on define it; for two dimensions all have the same.
func softmax(n *onnx.Node, in []Tensor) (Tensor, error) {
	x := in[0]
	axis := int(n.Int("axis", -1))
	if axis < 0 {
		axis += len(x.Dims)
	}
	out := Tensor{Dims: x.Dims, Floats: make([]float32, len(x.Floats))}
	step := 1
	for _, d := range x.Dims[axis+1:] {
		step *= int(d)
	}
	w := int(x.Dims[axis])
	for first := range x.Floats {
		if first/step%w != 0 {
			continue // not the first of its row
		}
		top, sum := math.Inf(-1), 0.0
		for i := range w {
			top = max(top, float64(x.Floats[first+i*step]))
		}
		for i := range w {
			sum += math.Exp(float64(x.Floats[first+i*step]) - top)
		}
		for i := range w {
			out.Floats[first+i*step] = float32(math.Exp(float64(x.Floats[first+i*step])-top) / sum)
		}
	}
	return out, nil
}
