// Command ort measures ONNX Runtime as layers/ort uses it: images a second, per core, start of sessions and memory, for
// the catalogue's networks with all their feature layers pooled in the graph. Several libraries can be compared:
//
//	go run ./tools/bench/ort -libs a/libonnxruntime.so,b/libonnxruntime.so
//
// Every measurement is a process of its own, so that memory is that of one thing only; libraries take turns within a
// round, so that what else the machine does meets all of them. "Images per CPU second" counts the processor time that
// the process was given and holds still, within some per cent, where the clock on a shared machine does not.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/ort"
)

type options struct {
	libs, models []string
	modes        []string
	batch, slots int
	rounds       int
	seconds      float64
	arena        int64
	external     bool
	dir          string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ort:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "measure" {
		return child(ctx, args[1])
	}
	if len(args) == 2 && args[0] == "prepare" {
		return prepare(ctx, args[1])
	}
	o := options{}
	fs := flag.NewFlagSet("ort", flag.ContinueOnError)
	libs := fs.String("libs", "", "libraries to compare, by commas; none: the one that vista-mr would use")
	models := fs.String("models", "alexnet,resnet50,vgg16", "networks of the catalogue")
	modes := fs.String("modes", "plain,first,cached", "plain: without a cache; first: with an empty cache; cached: from the cache")
	fs.IntVar(&o.batch, "batch", 8, "images in a call")
	fs.IntVar(&o.slots, "slots", 2, "goroutines")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds; the table shows medians")
	fs.Float64Var(&o.seconds, "seconds", 3, "of inference in each measurement")
	fs.Int64Var(&o.arena, "arena", 0, "memory limit in MiB; 0: none")
	fs.BoolVar(&o.external, "external", false, "keep the weights in a file beside the graph's")
	fs.StringVar(&o.dir, "dir", "", "folder for models and caches; none: a temporary one")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o.models, o.modes = strings.Split(*models, ","), strings.Split(*modes, ",")
	if *libs == "" {
		lib, err := ort.FindLibrary()
		if err != nil {
			return err
		}
		*libs = lib
	}
	o.libs = strings.Split(*libs, ",")
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "vista-mr-bench-ort-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	if err := os.MkdirAll(o.dir, 0o777); err != nil {
		return err
	}
	return compare(ctx, &o)
}

// program is a model on disk and what a session must know of it.
type program struct {
	Path   string
	Digest string
	In     ort.Port
	Out    []ort.Port
}

// prepare writes a network's program, with random weights, and its description beside it.
func prepare(ctx context.Context, spec string) error {
	dir, name, _ := strings.Cut(spec, "|")
	name, how, _ := strings.Cut(name, "|")
	cnn, err := layers.Open(ctx, layers.Source{Model: name, Weights: "random", Seed: 1})
	if err != nil {
		return err
	}
	norm, err := layers.Preset("imagenet")
	if err != nil {
		return err
	}
	p, err := cnn.Program(layers.ProgramSpec{Pooled: cnn.Roster, Pool: layers.PoolMax, Normalize: norm, Piece: layers.PieceBytes})
	if err != nil {
		return err
	}
	d := program{Path: filepath.Join(dir, name+".onnx"), Digest: p.Digest,
		In: ort.Port{Name: p.Input.Name, U8: p.Input.Elem == onnx.Uint8, Shape: p.Input.Shape}}
	for _, out := range p.Outputs {
		d.Out = append(d.Out, ort.Port{Name: out.Name, Shape: out.Shape})
	}
	if err := writeModel(d.Path, p.Model, how == "external"); err != nil {
		return err
	}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return os.WriteFile(d.Path+".json", b, 0o666)
}

func writeModel(path string, m *onnx.Model, external bool) (err error) {
	graph, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, graph.Close()) }()
	w := bufio.NewWriter(graph)
	if !external {
		_, err = m.WriteTo(w)
		return errors.Join(err, w.Flush())
	}
	weights, err := os.Create(path + ".bin")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, weights.Close()) }()
	d := bufio.NewWriter(weights)
	return errors.Join(m.WriteExternal(w, d, filepath.Base(path)+".bin", 1024), w.Flush(), d.Flush())
}

// again runs this program in another process.
func again(ctx context.Context, lib string, args ...string) ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stderr = os.Stderr
	if lib != "" {
		cmd.Env = append(os.Environ(), "VISTA_MR_ORT_LIB="+lib)
	}
	return cmd.Output()
}

func compare(ctx context.Context, o *options) error {
	how := "inline"
	if o.external {
		how = "external"
	}
	for _, m := range o.models {
		if _, err := again(ctx, "", "prepare", o.dir+"|"+m+"|"+how); err != nil {
			return fmt.Errorf("prepare %s: %w", m, err)
		}
	}
	type cell struct{ lib, model, mode string }
	got := map[cell][]result{}
	for round := range o.rounds {
		for _, model := range o.models {
			for _, mode := range o.modes {
				libs := slices.Clone(o.libs)
				if round%2 == 1 {
					slices.Reverse(libs) // who is first has the colder or the warmer machine
				}
				for _, lib := range libs {
					r, err := measure(ctx, o, lib, model, mode)
					if err != nil {
						return fmt.Errorf("%s, %s, %s: %w", lib, model, mode, err)
					}
					c := cell{lib, model, mode}
					got[c] = append(got[c], *r)
				}
			}
		}
	}
	fmt.Printf("| network | start | library | ready, s | img/CPU-s | to the first library | img/s | peak MiB | at the end MiB | of it anonymous |\n")
	fmt.Printf("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, model := range o.models {
		for _, mode := range o.modes {
			first := got[cell{o.libs[0], model, mode}]
			for _, lib := range o.libs {
				rs := got[cell{lib, model, mode}]
				fmt.Printf("| %s | %s | %s | %.2f | %.1f | %.2f | %.1f | %.0f | %.0f | %.0f |\n", model, mode, rs[0].Version,
					median(rs, func(r result) float64 { return r.Ready }), median(rs, perCPU), ratio(rs, first),
					median(rs, func(r result) float64 { return r.Images / r.Seconds }),
					median(rs, func(r result) float64 { return r.Peak }), median(rs, func(r result) float64 { return r.RSS }),
					median(rs, func(r result) float64 { return r.Anon }))
			}
		}
	}
	return nil
}

func perCPU(r result) float64 { return r.Images / r.CPU }

// ratio is the median over rounds: both sides of each quotient were measured one after the other.
func ratio(a, b []result) float64 {
	q := make([]float64, len(a))
	for i := range a {
		q[i] = perCPU(a[i]) / perCPU(b[i])
	}
	return middle(q)
}

func median(rs []result, f func(result) float64) float64 {
	v := make([]float64, len(rs))
	for i, r := range rs {
		v[i] = f(r)
	}
	return middle(v)
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
