package ort

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// start gives a test the runtime, or skips it where there is no library and none is required.
func start(t testing.TB, o Options) *Runtime {
	t.Helper()
	if _, err := FindLibrary(); err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	r, err := Init(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if current != r {
			return // the test has closed it
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// network writes a small convolutional network: 3x16x16 bytes, one convolution to c channels, Relu, mean.
func network(t testing.TB, c int) (path string, in Port, out []Port) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 1))
	w := make([]byte, 0, 4*c*27)
	for range c * 27 {
		w = binary.LittleEndian.AppendUint32(w, math.Float32bits(rnd.Float32()-0.5))
	}
	batch := onnx.Dim{Size: -1, Symbol: "N"}
	g := &onnx.Graph{Name: "small",
		Inputs:       []*onnx.ValueInfo{onnx.NewValue("image", onnx.Uint8, batch, onnx.Dim{Size: 3}, onnx.Dim{Size: 16}, onnx.Dim{Size: 16})},
		Outputs:      []*onnx.ValueInfo{onnx.NewValue("mean", onnx.Float32, batch, onnx.Dim{Size: int64(c)}, onnx.Dim{Size: 1}, onnx.Dim{Size: 1})},
		Initializers: []*onnx.Tensor{{Name: "w", Type: onnx.Float32, Dims: []int64{int64(c), 3, 3, 3}, Raw: w}},
		Nodes: []*onnx.Node{
			onnx.NewNode("Cast", "cast", []string{"image"}, []string{"x"}, onnx.IntAttr("to", int64(onnx.Float32))),
			onnx.NewNode("Conv", "conv", []string{"x", "w"}, []string{"y"}, onnx.IntsAttr("pads", 1, 1, 1, 1)),
			onnx.NewNode("Relu", "relu", []string{"y"}, []string{"z"}),
			onnx.NewNode("GlobalAveragePool", "mean", []string{"z"}, []string{"mean"}),
		}}
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
	path = filepath.Join(t.TempDir(), "small.onnx")
	if err := os.WriteFile(path, m.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path, Port{Name: "image", U8: true, Shape: []int64{3, 16, 16}}, []Port{{Name: "mean", Shape: []int64{int64(c), 1, 1}}}
}

func fill(r *Runner, n int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range r.Input()[:n*768] {
		r.Input()[i] = byte(rnd.Uint32())
	}
}

func TestBatchesAndGoroutinesGiveTheSameBits(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 8)
	s, err := rt.Open(t.Context(), path, "", in, out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	run := func(n int, seed uint64) []float32 {
		r, err := s.NewRunner(8)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer r.Close()
		fill(r, n, seed)
		if err := r.Run(t.Context(), n); err != nil {
			t.Error(err)
			return nil
		}
		return slices.Clone(r.Output(0))
	}
	whole := run(8, 7)
	if one := run(1, 7); !slices.Equal(one, whole[:8]) {
		t.Errorf("the first record alone gives %v, in a batch %v", one, whole[:8])
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if got := run(8, 7); !slices.Equal(got, whole) {
					t.Error("a concurrent run gives other bits")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestPreparedModelGivesTheSameBits(t *testing.T) {
	dir := t.TempDir()
	path, in, out := network(t, 64)
	var want []float32
	for i, o := range []Options{{}, {CacheDir: dir}, {CacheDir: dir}} {
		func() {
			rt := start(t, o)
			defer rt.Close()
			s, err := rt.Open(t.Context(), path, "digest", in, out)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r, err := s.NewRunner(4)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fill(r, 4, 3)
			if err := r.Run(t.Context(), 4); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = slices.Clone(r.Output(0))
			}
			if !slices.Equal(r.Output(0), want) {
				t.Errorf("start %d gives other bits", i)
			}
		}()
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %d entries, %v; want one", len(entries), err)
	}
}

func TestMemoryLimitIsAnErrorAndNotTheEnd(t *testing.T) {
	rt := start(t, Options{ArenaLimit: 6 << 20})
	path, in, out := network(t, 256)
	s, err := rt.Open(t.Context(), path, "", in, out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.NewRunner(64) // 64 x 256 x 16 x 16 x 4 bytes = 16 MiB
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fill(r, 64, 1)
	var full *Error
	if err := r.Run(t.Context(), 64); !errors.As(err, &full) || !full.OutOfMemory() {
		t.Fatalf("a batch beyond the limit: %v, want out of memory", err)
	}
	if err := r.Run(t.Context(), 4); err != nil {
		t.Errorf("a smaller batch afterwards: %v", err)
	}
}

func TestCancelledRun(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 4)
	s, err := rt.Open(t.Context(), path, "", in, out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.NewRunner(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	if err := r.Run(t.Context(), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestWrongModelsAndMissingLibrary(t *testing.T) {
	rt := start(t, Options{})
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := rt.Open(t.Context(), bad, "", Port{Name: "x"}, nil); !errors.As(err, &e) || e.OutOfMemory() {
		t.Errorf("a file that is no model: %v", err)
	}
	t.Setenv("VISTA_MR_ORT_LIB", filepath.Join(t.TempDir(), "none.so"))
	if _, err := FindLibrary(); !errors.As(err, &e) || e.ErrorID() != "E-ORT-LIB" || e.Hint() == "" {
		t.Errorf("a library that is not there: %v", err)
	}
}
