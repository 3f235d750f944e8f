package ort

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
)

// BenchmarkRun is inference alone: inputs in memory, all feature layers pooled in the graph. One operation is one
// image. tools/bench/ort compares libraries and measures memory.
func BenchmarkRun(b *testing.B) {
	for _, name := range []string{"alexnet", "resnet50"} {
		path, digest, in, out := catalogued(b, name)
		for _, slots := range []int{1, 2} {
			for _, batch := range []int{1, 8} {
				b.Run(fmt.Sprintf("model=%s/slots=%d/batch=%d", name, slots, batch), func(b *testing.B) {
					s := open(b, start(b, Options{}), path, digest, in, out)
					runners := make([]*Runner, slots)
					for i := range runners {
						runners[i] = runner(b, s, batch)
						fill(runners[i].Input(), uint64(i))
						if err := runners[i].Run(context.Background(), batch); err != nil {
							b.Fatal(err)
						}
					}
					b.SetBytes(int64(in.Len()))
					b.ReportAllocs()
					b.ResetTimer()
					var wg sync.WaitGroup
					for i, r := range runners {
						share := b.N / slots
						if i == 0 {
							share += b.N % slots
						}
						wg.Go(func() {
							for share > 0 {
								n := min(share, batch)
								if err := r.Run(context.Background(), n); err != nil {
									b.Error(err)
									return
								}
								share -= n
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
				})
			}
		}
	}
}

// catalogued writes the program of a network of the catalogue, with random weights.
func catalogued(b *testing.B, name string) (path, digest string, in Port, out []Port) {
	b.Helper()
	cnn, err := layers.Open(b.Context(), layers.Source{Model: name, Weights: "random", Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	norm, err := layers.Preset("imagenet")
	if err != nil {
		b.Fatal(err)
	}
	p, err := cnn.Program(layers.ProgramSpec{Pooled: cnn.Roster, Pool: layers.PoolMax, Normalize: norm})
	if err != nil {
		b.Fatal(err)
	}
	path = filepath.Join(b.TempDir(), name+".onnx")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := p.Model.WriteTo(f); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	for _, o := range p.Outputs {
		out = append(out, Port{Name: o.Name, Shape: o.Shape})
	}
	return path, p.Digest, Port{Name: p.Input.Name, U8: p.Input.Elem == onnx.Uint8, Shape: p.Input.Shape}, out
}
