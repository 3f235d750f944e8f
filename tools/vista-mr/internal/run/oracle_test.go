package run

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// expected is what the oracle says.
type expected struct {
	records map[string]truth
	count   map[string]int64
	labels  map[string]string // of good rows
	aside   map[string]bool   // keys of bad rows: of those that are not in labels, images are accounted for by the row
}

type truth struct {
	label, split string
	features     map[string][]float64
}

// rows reads the table for an oracle.
func (w *world) rows(t *testing.T) *expected {
	t.Helper()
	e := &expected{records: map[string]truth{}, count: map[string]int64{}, labels: map[string]string{}, aside: map[string]bool{}}
	f, err := os.Open(w.table)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.FieldsPerRecord = -1
	lines, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	labels := e.labels
	for _, l := range lines[1:] {
		e.count["rows"]++
		good := len(l) == w.columns
		if good {
			for _, i := range []int{1, 2, 4} {
				_, err := strconv.ParseFloat(l[i], 32)
				good = good && err == nil
			}
		}
		if _, dup := labels[l[0]]; dup || !good {
			e.count["bad"]++
			e.aside[l[0]] = true
			if good {
				e.count["bad.duplicate-key"]++
			}
			continue
		}
		labels[l[0]] = l[3]
	}
	return e
}

// truth is what a record of a good row has.
func (e *expected) truth(key string, v map[string][]float64) {
	sum := sha256.Sum256([]byte("7:" + key))
	split := "train"
	if float64(binary.BigEndian.Uint64(sum[:8]))/math.Pow(2, 64) < 0.3 {
		split = "test"
	}
	e.records[key] = truth{e.labels[key], split, v}
	e.count["matched"]++
}

// withoutImages counts the rows whose images were not seen.
func (e *expected) withoutImages(seen map[string]bool, required bool) {
	for key := range e.labels {
		switch {
		case seen[key]:
		case required:
			e.count["bad"]++
			e.count["bad.no-image"]++
		default:
			e.count["left-out.row"]++
		}
	}
}

// oracle does the whole work in one loop, on plain files and with the whole network, sharing nothing with
// the engine, the joins or the pooling in the graph.
func (w *world) oracle(t *testing.T, rt *ort.Runtime, n networks, required bool) *expected {
	t.Helper()
	e := w.rows(t)
	labels := e.labels
	files, err := os.ReadDir(w.images)
	if err != nil {
		t.Fatal(err)
	}
	run := w.whole(t, rt, n)
	seen := map[string]bool{}
	for _, file := range files {
		e.count["images"]++
		key := file.Name()[:strings.LastIndexByte(file.Name(), '.')]
		if seen[key] {
			e.count["bad"]++
			e.count["bad.duplicate-key"]++
			continue
		}
		seen[key] = true
		e.count["tried"]++
		data, err := os.ReadFile(filepath.Join(w.images, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		v := run(data)
		if v != nil {
			e.count["decodable"]++
		}
		_, ok := labels[key]
		switch {
		case !ok && e.aside[key]:
			e.count["left-out.aside"]++
			continue
		case !ok && required:
			e.count["bad"]++
			e.count["bad.no-row"]++
			continue
		case !ok:
			e.count["left-out.image"]++
			continue
		case v == nil:
			e.count["bad"]++
			e.count["bad.truncated"]++
			continue
		}
		e.truth(key, v)
	}
	e.count["tried.joined"] = e.count["matched"] + e.count["bad.truncated"]
	e.withoutImages(seen, required)
	return e
}

// whole runs one image through the whole networks and pools by the contract's words. An image that one of them cannot
// take is none.
func (w *world) whole(t *testing.T, rt *ort.Runtime, ns networks) func(data []byte) map[string][]float64 {
	t.Helper()
	var all []func(data []byte) map[string][]float64
	for _, n := range ns {
		all = append(all, w.wholeOf(t, rt, n))
	}
	return func(data []byte) map[string][]float64 {
		out := map[string][]float64{}
		for _, run := range all {
			v := run(data)
			if v == nil {
				return nil
			}
			maps.Copy(out, v)
		}
		return out
	}
}

func (w *world) wholeOf(t *testing.T, rt *ort.Runtime, n *network) func(data []byte) map[string][]float64 {
	t.Helper()
	prog, err := n.cnn.Program(layers.ProgramSpec{Raw: n.cnn.Roster, Normalize: n.normalize})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, n.name+"whole.onnx")
	if err := os.WriteFile(path, prog.Model.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := host.Open(t.Context(), rt, path, toModel(prog, n.name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewRunner(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); s.Close() })
	p, err := image.NewPipeline(n.image, image.Go)
	if err != nil {
		t.Fatal(err)
	}
	return func(data []byte) map[string][]float64 {
		if _, err := p.Process(r.Input(), data); err != nil {
			return nil
		}
		if err := r.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		out := map[string][]float64{}
		for i, o := range prog.Outputs {
			out[n.full(o.Layer)] = poolByHand(r.Output(i), o.Shape)
		}
		return out
	}
}

func poolByHand(v []float32, shape []int64) []float64 {
	var out []float64
	if len(shape) != 3 {
		for _, x := range v {
			out = append(out, float64(x))
		}
		return out
	}
	c, h, w := int(shape[0]), int(shape[1]), int(shape[2])
	for k := range c {
		for i := range 2 {
			for j := range 2 {
				best := math.Inf(-1)
				for y := i * h / 2; y < (i*h+h+1)/2; y++ {
					for x := j * w / 2; x < (j*w+w+1)/2; x++ {
						best = max(best, float64(v[(k*h+y)*w+x]))
					}
				}
				out = append(out, best)
			}
		}
	}
	return out
}
