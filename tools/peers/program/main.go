// Command program writes the ONNX file of a fused plan: from the image to every feature layer, pooled in the
// graph. The programs under tools/peers run it with other systems, so that all do the same computation.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/vista-mr/vista-mr/layers"
)

func main() {
	model := flag.String("model", "resnet50", "network of the roster")
	seed := flag.Uint64("seed", 2019, "seed of its random weights")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if err := write(*model, *seed, *out); err != nil {
		fmt.Fprintln(os.Stderr, "program:", err)
		os.Exit(1)
	}
}

func write(model string, seed uint64, name string) error {
	c, err := layers.Open(context.Background(), layers.Source{Model: model, Weights: "random", Seed: seed})
	if err != nil {
		return err
	}
	n, err := layers.Preset("imagenet")
	if err != nil {
		return err
	}
	p, err := c.Program(layers.ProgramSpec{Pooled: c.Roster, Pool: layers.PoolMax, Normalize: n})
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = p.Model.WriteTo(w)
	return errors.Join(err, w.Flush(), f.Close())
}
