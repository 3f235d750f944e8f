// Package weights provides the parameters of a network: read from a safetensors file or a file of
// torch.save, or made up from a seed. Whatever their source, they come as little-endian float32 bytes by
// parameter name.
//
// Invariant: a parameter is returned only with the number of bytes that its dimensions ask for. Reading
// checks every length against the file before it is used, executes nothing (a pickle is read as data, and
// what is not data is refused by name), copies nothing that is row-major float32 already, and lists
// everything that is wrong in one error. Random parameters depend on the seed, the parameter's name
// and its dimensions alone: not on the machine, the order or the number of cores.
//
// Caller: package layers. File contents are handed in; the package opens nothing.
package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
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
	// First marks weights that read what is not rectified: the image itself, or a linear bottleneck.
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

// shown is how many problems a message lists: more say nothing but that it is the wrong file.
const shown = 40

// Error lists the problems, one per line when there are several.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "weights: " + e.Problems[0]
	}
	list := strings.Join(e.Problems[:min(len(e.Problems), shown)], "\n  ")
	if more := len(e.Problems) - shown; more > 0 {
		list += fmt.Sprintf("\n  ... and %d more", more)
	}
	return fmt.Sprintf("weights: %d problems:\n  %s", len(e.Problems), list)
}

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return "E-WEIGHTS" }

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.Do != "" {
		return e.Do
	}
	return "the file must hold the network's parameters under the names of torchvision, timm or Hugging Face; docs/weights.md lists them"
}

func broken(format string, a ...any) error {
	return &Error{Problems: []string{fmt.Sprintf(format, a...)}, Do: "is the file complete? Copy or write it again"}
}

// Tensor is one tensor of a weights file. Data refers to the file's bytes.
type Tensor struct {
	Type    string // F32, F16, BF16, F64, I64, ... as safetensors calls them
	Dims    []int64
	Strides []int64 // in elements, where the tensor is not row-major without gaps
	Data    []byte
}

// File is a weights file that has been read.
type File struct {
	Format  string // safetensors or PyTorch
	Path    string // keys under which a checkpoint keeps the parameters, joined by dots; "" as a rule
	Tensors map[string]Tensor
}

// Read reads a weights file, told apart by content: safetensors, or what torch.save writes.
func Read(data []byte) (*File, error) {
	f := &File{Format: "safetensors"}
	var err error
	switch {
	case isState(data):
		f.Format = "PyTorch"
		f.Tensors, f.Path, err = readState(data)
	case isSafetensors(data):
		f.Tensors, err = readSafetensors(data)
	case bytes.HasPrefix(data, []byte("\x89HDF")):
		err = &Error{Problems: []string{"it is an HDF5 file, as Keras writes them"}, Do: "export the model to ONNX, or save its parameters as safetensors under torchvision's names"}
	case len(data) == 0:
		err = &Error{Problems: []string{"it is empty"}, Do: "fetch or save the file again"}
	case onnx.Stray(data) != "":
		err = &Error{Problems: []string{"it is " + onnx.Stray(data)}, Do: onnx.StrayAdvice}
	default:
		err = &Error{Problems: []string{fmt.Sprintf("it begins with % x, as no file of safetensors or torch.save does", data[:min(len(data), 8)])},
			Do: "give a .safetensors file, or what torch.save(model.state_dict(), ...) writes"}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Known says whether data begins as a file that Read reads.
func Known(data []byte) bool { return isState(data) || isSafetensors(data) }

// float32s returns the tensor as float32 bytes, row-major: the file's own when it holds that. Its shape is
// one that a network wants, so its size is bounded.
func (t Tensor) float32s() ([]byte, error) {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	convert := func(width int, value func(b []byte) float32) []byte {
		out := make([]byte, 0, 4*n)
		index := make([]int64, len(t.Dims))
		at := int64(0)
		for range n {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(value(t.Data[int64(width)*at:])))
			if t.Strides == nil {
				at++
				continue
			}
			for d := len(index) - 1; d >= 0; d-- {
				index[d]++
				at += t.Strides[d]
				if index[d] < t.Dims[d] {
					break
				}
				at -= t.Dims[d] * t.Strides[d]
				index[d] = 0
			}
		}
		return out
	}
	switch t.Type {
	case "F32":
		if t.Strides != nil {
			return convert(4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }), nil
		}
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
