// Package weights provides the parameters of a network: read from a safetensors file, or made up from a
// seed. Whatever their source, they come as little-endian float32 bytes by parameter name.
//
// Invariant: a parameter is returned only with the number of bytes that its dimensions ask for. Reading
// checks every length against the file before it is used, copies nothing that is float32 already, and
// lists everything that is wrong in one error. Random parameters depend on the seed, the parameter's name
// and its dimensions alone: not on the machine, the order or the number of cores.
//
// Caller: package layers. File contents are handed in; the package opens nothing.
package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Kind says what a parameter is for; random values follow from it.
type Kind int

// The kinds of parameters.
const (
	Weight   Kind = iota // convolution O,I,kh,kw or matrix O,I
	Bias                 // added to the O outputs of a Weight
	Gamma                // BatchNorm scale
	Beta                 // BatchNorm shift
	Mean                 // BatchNorm running mean
	Variance             // BatchNorm running variance
)

// Param describes one parameter that a network wants.
type Param struct {
	Name string
	Dims []int64
	Kind Kind
	// Level scales random values. For a Weight: the deviation of its outputs when its inputs are the
	// rectified outputs of deviation 1. For Gamma and Variance: their value. 0 means 1.
	Level float32
	// First marks weights that read the image itself, which is not rectified.
	First bool
}

// Len returns the number of elements.
func (p Param) Len() int64 {
	n := int64(1)
	for _, d := range p.Dims {
		n *= d
	}
	return n
}

// Error lists what is wrong with a weights file. Users meet it under the id E-WEIGHTS.
type Error struct {
	Problems []string
	Do       string
}

// Error lists all problems, one per line when there are several.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "weights: " + e.Problems[0]
	}
	return fmt.Sprintf("weights: %d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return "E-WEIGHTS" }

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.Do != "" {
		return e.Do
	}
	return "the file must hold the network's parameters under torchvision's names, as save_file(model.state_dict(), ...) writes them"
}

func broken(format string, a ...any) error {
	return &Error{Problems: []string{fmt.Sprintf(format, a...)}, Do: "is this a complete safetensors file? Copy or write it again"}
}

// Tensor is one tensor of a weights file. Data refers to the file's bytes.
type Tensor struct {
	Type string // F32, F16, BF16, F64, I64, ... as safetensors calls them
	Dims []int64
	Data []byte
}

// Match picks the parameters that a network wants out of a file's tensors, converted to float32. Missing,
// superfluous and misshapen ones are one error that lists all of them; num_batches_tracked, which
// PyTorch counts beside BatchNorm, is ignored.
func Match(file map[string]Tensor, params []Param) (map[string][]byte, error) {
	var problems []string
	out := make(map[string][]byte, len(params))
	wanted := map[string]bool{}
	for _, p := range params {
		wanted[p.Name] = true
		t, ok := file[p.Name]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s is missing", p.Name))
		case !slices.Equal(t.Dims, p.Dims):
			problems = append(problems, fmt.Sprintf("%s has the shape %v, the network wants %v", p.Name, t.Dims, p.Dims))
		default:
			b, err := t.float32s()
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", p.Name, err))
			}
			out[p.Name] = b
		}
	}
	var extra []string
	for name := range file {
		if !wanted[name] && !strings.HasSuffix(name, "num_batches_tracked") {
			extra = append(extra, fmt.Sprintf("%s does not belong to the network", name))
		}
	}
	slices.Sort(extra)
	if problems = append(problems, extra...); len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	return out, nil
}

// float32s returns the tensor as float32 bytes: the file's own when it holds F32.
func (t Tensor) float32s() ([]byte, error) {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	convert := func(width int, value func(b []byte) float32) []byte {
		out := make([]byte, 4*n)
		for i := range int(n) {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(value(t.Data[width*i:])))
		}
		return out
	}
	switch t.Type {
	case "F32":
		return t.Data, nil
	case "F16":
		return convert(2, func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) }), nil
	case "BF16":
		return convert(2, func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) }), nil
	case "F64":
		return convert(8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }), nil
	}
	return nil, fmt.Errorf("element type %s is no floating-point type", t.Type)
}

// half converts an IEEE 754 binary16 number.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exp {
	case 31:
		return math.Float32frombits(sign | 255<<23 | frac<<13)
	case 0:
		v := float32(frac) / (1 << 24)
		if sign != 0 {
			v = -v
		}
		return v
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
