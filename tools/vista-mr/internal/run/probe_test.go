package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/ort"
)

// TestProbeWork: what is not tried to the end is told of a large network, and a small one is refused for it.
func TestProbeWork(t *testing.T) {
	if _, err := ort.FindLibrary(); err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	const enough, none = time.Minute, time.Nanosecond
	for name, c := range map[string]struct {
		channels, nodes int64
		left            time.Duration
		note, err       string
	}{
		"small":               {8, 1, enough, "", ""},
		"small, no time":      {8, 1, none, "", "took more than"},
		"large, no time":      {64, 3, none, "too large to be tried beforehand (an image takes about 6 G", ""},
		"beyond any":          {128, 20, enough, "too large to be tried", ""},
		"beyond, by one node": {512, 1, enough, "too large to be tried", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "net.onnx")
			if err := os.WriteFile(path, convolutions(c.nodes, c.channels), 0o666); err != nil {
				t.Fatal(err)
			}
			j := job(t, filepath.Join(dir, "out"), "cnn.model="+path, "cnn.weights=", "cnn.layers=1")
			p := newProber(j, dir)
			n, err := openNetwork(t.Context(), j, 0, p, func(*network) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			p.left = c.left
			err = p.probe(t.Context(), n)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			var id interface{ ErrorID() string }
			if err != nil && (!errors.As(err, &id) || id.ErrorID() != "E-MODEL") {
				t.Errorf("%v has no id", err)
			}
			if notes := strings.Join(n.notes, " "); c.note == "" && notes != "" || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

// convolutions is a network of convolutions and a first one, over as many channels, of 224 by 224.
func convolutions(nodes, channels int64) []byte {
	g := &onnx.Graph{Name: "chain", Inputs: []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, 224, 224)...)},
		Initializers: []*onnx.Tensor{onnx.Floats("first", []int64{channels, 3, 1, 1}, make([]float32, 3*channels)...),
			onnx.Floats("w", []int64{channels, channels, 3, 3}, make([]float32, 9*channels*channels)...)}}
	in := "stem"
	g.Nodes = append(g.Nodes, onnx.NewNode("Conv", "", []string{"x", "first"}, []string{in}))
	for i := range nodes {
		out := fmt.Sprintf("c%d", i)
		g.Nodes = append(g.Nodes, onnx.NewNode("Conv", "", []string{in, "w"}, []string{out}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
		in = out
	}
	g.Outputs = []*onnx.ValueInfo{onnx.NewValue(in, onnx.Float32)}
	return (&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}).Marshal()
}
