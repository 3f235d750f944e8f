// Package layers is the catalogue of CNNs and the maker of the programs that a job runs. It knows four
// networks by name (AlexNet, VGG16, ResNet50, as torchvision defines them, and EfficientNet-Lite0) and reads
// any other from an ONNX file; it finds by analysis where a network can be cut, resolves the names under which users know
// layers, and builds the ONNX graph for any inference plan: from the image or from a stored layer, to
// full volumes, pooled vectors or both.
//
// Invariant: all programs of one CNN compute the same function. Whatever a Program outputs for a layer
// equals, up to the rounding of float32, what the whole network computes there; nothing behind the last
// wanted layer is part of it.
//
// Callers: vistaopt (layers, sizes, costs), jobs (programs for the phases), the command line (roster,
// inspection). Running programs is package ort's part, decoding images package image's. The package reads
// no files itself: bytes come through Source.Read.
package layers

import (
	"context"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// Pool says how a volume C,H,W becomes a vector.
type Pool string

// The kinds of pooling. Vectors (layers without height and width) stay as they are.
const (
	PoolNone Pool = "none"    // all of it, channel first
	PoolAvg  Pool = "avg-1x1" // global mean of each channel
	PoolMax  Pool = "max-2x2" // maximum of each cell of a 2x2 grid; cell i of a side n spans floor(i*n/2) to ceil((i+1)*n/2), a side of 1 stays 1
)

// Normalize maps the bytes of an image to the numbers that a network expects:
// x = (byte*Scale - Mean[c]) / Std[c], with c counted in the order of Channels.
type Normalize struct {
	Mean     []float32 // one per channel, or one for all; empty: 0
	Std      []float32 // one per channel, or one for all; empty: 1
	Scale    float32   // 0 means 1
	Channels string    // "RGB" (default) or "BGR": the order that the network wants
}

// InputSpec is what a network reads: one image of H x W with C channels, 3 or 1, in the tensor named.
type InputSpec struct {
	H, W, C int
	Tensor  string
	Layout  string    // "NCHW" or "NHWC": how the network's own input tensor is laid out
	Elem    onnx.Elem // element type of that tensor: Float32 as a rule, Float16, Float64, or Uint8 for bytes as they are
	Open    bool      // the file leaves height or width open: they are Source.Size
}

// String describes the input: size, channels, layout, type.
func (in InputSpec) String() string {
	s := fmt.Sprintf("images %dx%dx%d %s %s", in.C, in.H, in.W, in.Layout, in.Elem)
	if in.Open {
		s += " (the model leaves the size open)"
	}
	if in.C == 1 {
		s += ", grey: colours become their luma"
	}
	if in.Elem == onnx.Uint8 {
		s += ", bytes: the network normalises by itself"
	}
	return s
}

// Layer is a place where a network can be cut: one tensor that everything behind it depends on.
type Layer struct {
	Index   int      // position among CNN.Layers, from the bottom; -1 for a cut that is no candidate
	Name    string   // the name used in results: from the catalogue, else the tensor's
	Tensor  string   // exact ONNX tensor name
	Aliases []string // other names that resolve to it: nodes, module paths, tensors behind Identity or Dropout
	Shape   []int64  // without the batch; C,H,W for a volume
	Dim     int      // elements per image, unpooled
	MACs    int64    // multiply-accumulates per image up to here
	Params  int64    // parameters up to here
	Bytes   int64    // bytes of weights up to here
	Share   float64  // MACs as a share of the whole network's
	Peak    int64    // most bytes of activations alive at once per image up to here, at 4 bytes an element
	module  string   // path of the module that the producer belongs to, one of Aliases
	access  onnx.Access
}

// Volume says whether the layer has channels, height and width.
func (l Layer) Volume() bool { return len(l.Shape) == 3 }

// PooledDim is the length of the layer's vector under p.
func (l Layer) PooledDim(p Pool) int {
	if !l.Volume() {
		return l.Dim
	}
	switch p {
	case PoolAvg:
		return int(l.Shape[0])
	case PoolMax:
		return int(l.Shape[0] * min(l.Shape[1], 2) * min(l.Shape[2], 2))
	}
	return l.Dim
}

// CNN is a network that can be cut, with its weights. It is safe for concurrent reading.
type CNN struct {
	Name       string // as in Source.Model
	Model      *onnx.Model
	Digest     string // SHA-256 over graph and weights, hexadecimal (see onnx.Digester)
	Input      InputSpec
	Preprocess string   // name of the preset it was trained with: "imagenet", or "" when not known
	Notes      []string // what the user should know about its weights, in full sentences
	Layers     []Layer  // candidate cuts, bottom to top
	Roster     []string // names of its feature layers, bottom to top
	Unknown    []string // nodes of an ONNX model behind which no layers can be had, because shapes are not known
	cuts       []Layer  // all single-tensor cuts, bottom to top
	shapes     map[string]onnx.Shape
	digests    *onnx.Digester
}

// Forget lets go of the weights, of which nothing that stays refers to any: neither the graph nor the digests that are
// remembered by where the bytes lie. Layers and sizes stay; programs can be made no more.
func (c *CNN) Forget() { c.Model, c.digests = nil, nil }

// Source says where a CNN comes from.
type Source struct {
	Model   string // name in the catalogue, or URI of an ONNX file
	Weights string // "random", or URI of a .safetensors, .pth or .onnx file; not used for an ONNX model
	Seed    uint64 // of random weights
	// Read returns the whole content of a URI. External data of an ONNX model is asked for by the model's
	// URI with the last element replaced by a plain file name.
	Read func(ctx context.Context, uri string) ([]byte, error)
	// Fits is asked, before a network's weights are made up or converted, whether to go on. It gets the network
	// as it will be, but for the weights' values and with them the digest. nil: nobody is asked. A model that is a
	// file brings its weights with it and is not asked about.
	Fits func(*CNN) error
	// Size is the height and width to take for an ONNX model that leaves them open; 0: that is an error.
	Size int
	// Measure finds out shapes by running a model: for operators of an ONNX model whose effect on shapes
	// is not known here. nil: layers behind such operators cannot be had.
	Measure Measure
}

// Measure runs a model once on any image of its input's shape, batch times over, and returns the types and
// dimensions of the tensors named, batch included.
type Measure func(ctx context.Context, m *onnx.Model, batch int, tensors []string) (map[string]onnx.Info, error)

// Kind is what a port of a program carries.
type Kind string

// The kinds of ports.
const (
	KindImage  Kind = "image"  // uint8 N,H,W,3
	KindRaw    Kind = "raw"    // a layer's full volume, float32
	KindPooled Kind = "pooled" // a layer's vector, float32 N,Len
)

// Port is an input or output of a program. The batch is the first dimension and symbolic.
type Port struct {
	Name  string    // tensor name in the program's graph
	Layer string    // Layer.Name; "" for the image
	Kind  Kind      //
	Elem  onnx.Elem // Uint8 or Float32
	Shape []int64   // without the batch
	Len   int       // elements per image
}

// PieceBytes is a good ProgramSpec.Piece: the runtime holds a second copy of one node's weights while it packs them, which
// for VGG16's first fully connected layer would be 392 MiB. docs/runtime.md has the figures.
const PieceBytes = 24 << 20

// ProgramSpec asks for a program. The same function serves all plans: fused is from the image to all
// layers pooled; lazy from the image to one layer pooled; eager from the image to all layers raw, then
// from each layer to itself pooled; staged from a layer to the next, raw and pooled.
type ProgramSpec struct {
	From      string     // "" for the image, else a layer whose full volume is the input
	Raw       []string   // layers whose full volumes are outputs
	Pooled    []string   // layers whose pooled vectors are outputs
	Pool      Pool       //
	Normalize *Normalize // with From "": how bytes become numbers; nil: bytes as floats 0..255
	Piece     int        // fully connected layers with more bytes of weights run in pieces (onnx.Graph.SplitProducts); 0: none
}

// Program is a graph ready to run. Outputs are in the order of the spec: raw ones, then pooled ones.
type Program struct {
	Model   *onnx.Model
	Input   Port
	Outputs []Port
	Digest  string // SHA-256 over graph and weights, hexadecimal
}

// Output returns the port of a layer, or nil.
func (p *Program) Output(layer string, kind Kind) *Port {
	i := slices.IndexFunc(p.Outputs, func(o Port) bool { return o.Layer == layer && o.Kind == kind })
	if i < 0 {
		return nil
	}
	return &p.Outputs[i]
}
