package layers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// Run runs a program on n images, N,H,W,3 bytes, and returns its outputs in order.
type Run func(ctx context.Context, p *Program, pixels []byte, n int) ([][]float32, error)

// Images that a probe puts into one batch, and that pass through the network in all if it finds nothing.
const (
	ProbeBatch  = 3
	ProbeImages = 2*ProbeBatch + 1 // together, alone, and the first once more
	BriefBatch  = 2
	BriefImages = BriefBatch + 1 // together, and the last alone
)

// Tolerances of a probe, in parts of an output's largest value. A batch may be computed in another order
// than an image alone; in float16 and int8 that can change the last place of a number, and what follows
// from it. Features that depend on the batch differ by far more between images that have nothing in common.
const (
	probeFloat = 1e-3
	probeShort = 5e-2
)

// Probe runs a program on images of noise, alone and in a batch, and refuses a network whose features of an
// image depend on what else is in the batch, or on chance: by the node where it begins. p must begin with
// the image. A brief probe is for large networks: it runs fewer images and cannot tell chance from the batch.
func (c *CNN) Probe(ctx context.Context, p *Program, brief bool, run Run) error {
	t, err := c.try(ctx, p, brief, run)
	if err != nil {
		return err
	}
	for i, o := range p.Outputs {
		if !brief && t.differ(t.again[i], t.alone[0][i]) {
			return &Error{ID: "E-BATCH", Msg: fmt.Sprintf("layer %s of %s gives other numbers when the same image is run again", o.Layer, c.Name), Do: "export the network in evaluation mode, without random operators"}
		}
	}
	for i, o := range p.Outputs {
		if t.mixed(i, o.Len) {
			return c.blame(ctx, o.Layer, brief, run)
		}
	}
	return nil
}

// trial is what a program gives for images alone and together.
type trial struct {
	together  [][]float32   // by output
	first     int           // image that is tried alone
	alone     [][][]float32 // by image, from the first one on, and output
	again     [][]float32   // of the first image, alone once more; not of a brief trial
	tolerance float64
}

func (c *CNN) try(ctx context.Context, p *Program, brief bool, run Run) (*trial, error) {
	size := p.Input.Len
	pixels := noise(c.Input.H, c.Input.W)
	t := &trial{tolerance: probeFloat}
	if c.short() {
		t.tolerance = probeShort
	}
	var err error
	together := ProbeBatch
	if brief {
		together, t.first = BriefBatch, BriefBatch-1
	}
	if t.together, err = run(ctx, p, pixels[:together*size], together); err != nil {
		return nil, err
	}
	for i := t.first; i < together; i++ {
		out, err := run(ctx, p, pixels[i*size:(i+1)*size], 1)
		if err != nil {
			return nil, err
		}
		t.alone = append(t.alone, out)
	}
	if !brief {
		t.again, err = run(ctx, p, pixels[:size], 1)
	}
	return t, err
}

// mixed says whether rows of an output depend on the batch.
func (t *trial) mixed(output, length int) bool {
	for i, alone := range t.alone {
		row := (t.first + i) * length
		if t.differ(t.together[output][row:row+length], alone[output]) {
			return true
		}
	}
	return false
}

// differ compares two rows. What is not a number in both is equal: such images are bad records later.
func (t *trial) differ(a, b []float32) bool {
	var largest, worst float64
	for i, x := range a {
		v, w := float64(x), float64(b[i])
		if math.IsNaN(v) != math.IsNaN(w) || math.IsInf(v, 0) != math.IsInf(w, 0) {
			return true
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		largest = max(largest, math.Abs(v), math.Abs(w))
		worst = max(worst, math.Abs(v-w))
	}
	return worst > t.tolerance*largest
}

// short says whether the network computes with less than float32 somewhere.
func (c *CNN) short() bool {
	for _, n := range c.Model.Graph.Nodes {
		if n.OpType == "QuantizeLinear" || strings.HasPrefix(n.OpType, "QLinear") || strings.HasSuffix(n.OpType, "Integer") {
			return true
		}
	}
	for _, t := range c.Model.Graph.Initializers {
		if t.Type == onnx.Float16 || t.Type == onnx.BFloat16 {
			return true
		}
	}
	return false
}

// blame finds the node where rows begin to depend on the batch: first between which cuts, then behind which
// of the nodes there.
func (c *CNN) blame(ctx context.Context, layer string, brief bool, run Run) error {
	refuse := func(node string) error {
		return &Error{ID: "E-BATCH", Msg: fmt.Sprintf("%s: node %s: features of an image depend on what else is in the batch, from this node on", c.Name, node),
			Do: "export the network so that it treats the images of a batch one by one: in evaluation mode, without means or shapes over the batch"}
	}
	top := slices.IndexFunc(c.cuts, func(l Layer) bool { return l.Name == layer })
	low, high := -1, top // rows are right at cut low, wrong at cut high
	for low+1 < high {
		mid := (low + high) / 2
		wrong, err := c.wrongAt(ctx, []string{c.cuts[mid].access.Tensor}, brief, run)
		if err != nil {
			return err
		}
		if len(wrong) > 0 {
			high = mid
		} else {
			low = mid
		}
	}
	nodes, err := c.between(low, high)
	if err != nil {
		return err
	}
	var tensors []string
	for _, n := range nodes {
		for _, o := range n.Outputs {
			if s, ok := c.shapes[o]; ok && (s.Elem == onnx.Float32 || s.Elem == onnx.Float16) {
				tensors = append(tensors, o)
			}
		}
	}
	wrong, err := c.wrongAt(ctx, tensors, brief, run)
	if err != nil {
		return err
	}
	counts := map[string]bool{} // tensors made of shapes
	for _, n := range nodes {
		o := n.Outputs[0]
		if n.OpType == "Shape" || n.OpType == "Size" || slices.ContainsFunc(n.Inputs, func(i string) bool { return counts[i] }) && c.shapes[o].Elem == onnx.Undefined {
			counts[o] = true
			continue
		}
		// A node whose result does not grow with the batch, before the first wrong one, is where it comes from.
		if c.shapes[o].Elem == onnx.Undefined || slices.ContainsFunc(n.Outputs, func(o string) bool { return wrong[o] }) {
			return refuse(describe(n))
		}
	}
	return refuse(describe(nodes[len(nodes)-1]))
}

// between returns the nodes behind cut low (-1: the image) that cut high depends on, itself included.
func (c *CNN) between(low, high int) ([]*onnx.Node, error) {
	from := c.Input.Tensor
	if low >= 0 {
		from = c.cuts[low].access.Tensor
	}
	m, err := c.Model.Extract([]*onnx.ValueInfo{onnx.NewValue(from, onnx.Float32)}, []*onnx.ValueInfo{onnx.NewValue(c.cuts[high].access.Tensor, onnx.Float32)})
	if err != nil {
		return nil, err
	}
	moving := map[string]bool{from: true}
	var out []*onnx.Node
	for _, n := range m.Graph.Nodes {
		if slices.ContainsFunc(n.Inputs, func(i string) bool { return moving[i] }) && len(n.Outputs) > 0 {
			for _, o := range n.Outputs {
				moving[o] = o != ""
			}
			out = append(out, n)
		}
	}
	return out, nil
}

func describe(n *onnx.Node) string {
	if n.Name == "" {
		return n.OpType + " -> " + n.Outputs[0]
	}
	return n.Name + " (" + n.OpType + ")"
}

// wrongAt returns those of some tensors whose rows depend on the batch.
func (c *CNN) wrongAt(ctx context.Context, tensors []string, brief bool, run Run) (map[string]bool, error) {
	p, err := c.tap(tensors)
	if err != nil {
		return nil, err
	}
	t, err := c.try(ctx, p, brief, run)
	if err != nil {
		return nil, err
	}
	wrong := map[string]bool{}
	for i, o := range p.Outputs {
		if t.mixed(i, o.Len) {
			wrong[o.Layer] = true
		}
	}
	return wrong, nil
}

// tap builds a program from the image to any tensors; its ports carry the tensors' names as layers.
func (c *CNN) tap(tensors []string) (*Program, error) {
	n := &Normalize{Mean: []float32{127.5}, Std: []float32{64}}
	if c.Input.Elem == onnx.Uint8 {
		n = nil
	}
	list := make([]Layer, len(tensors))
	for i, t := range tensors {
		s := c.shapes[t]
		list[i] = Layer{Name: t, Tensor: t, Shape: s.Dims, access: onnx.Access{Tensor: t, Elem: s.Elem}}
		if k := slices.IndexFunc(c.cuts, func(l Layer) bool { return l.access.Tensor == t }); k >= 0 {
			list[i].access, list[i].Shape = c.cuts[k].access, c.cuts[k].Shape
		}
	}
	return c.assemble(nil, list, nil, ProgramSpec{Normalize: n})
}

// noise makes images that have nothing in common: blocks of random colours, of another size and brightness
// in each.
func noise(h, w int) []byte {
	b := make([]byte, ProbeBatch*h*w*3)
	for i := range ProbeBatch {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		block := 4 << i
		cols := w/block + 1
		colours := make([]byte, (h/block+1)*cols*3)
		for k := range colours {
			colours[k] = byte(r.UintN(uint(256>>i))) + byte(60*i)
		}
		for y := range h {
			for x := range w {
				from := (y/block*cols + x/block) * 3
				copy(b[((i*h+y)*w+x)*3:], colours[from:from+3])
			}
		}
	}
	return b
}
