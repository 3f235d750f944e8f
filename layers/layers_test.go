package layers

import (
	"context"
	"os"
	"testing"
)

func TestDump(t *testing.T) {
	dir := os.Getenv("DUMP")
	if dir == "" {
		t.Skip()
	}
	for _, n := range names() {
		c, err := Open(context.Background(), Source{Model: n, Weights: "random", Seed: 2019})
		if err != nil {
			t.Fatal(err)
		}
		norm, _ := Preset("imagenet")
		var all []string
		for _, l := range c.Layers {
			all = append(all, l.Name)
		}
		p, err := c.Program(ProgramSpec{Pooled: all, Raw: all, Pool: PoolMax, Normalize: norm})
		if err != nil {
			t.Fatal(err)
		}
		f, _ := os.Create(dir + "/" + n + ".onnx")
		if _, err := p.Model.WriteTo(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}
