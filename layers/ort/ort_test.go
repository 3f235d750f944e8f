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
	"time"

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
	g := &onnx.Graph{Name: "small",
		Inputs:       []*onnx.ValueInfo{onnx.NewValue("image", onnx.Uint8, onnx.BatchOf(3, 16, 16)...)},
		Outputs:      []*onnx.ValueInfo{onnx.NewValue("mean", onnx.Float32, onnx.BatchOf(int64(c), 1, 1)...)},
		Initializers: []*onnx.Tensor{{Name: "w", Type: onnx.Float32, Dims: []int64{int64(c), 3, 3, 3}, Raw: w}},
		Nodes: []*onnx.Node{
			onnx.NewNode("Cast", "cast", []string{"image"}, []string{"x"}, onnx.IntAttr("to", int64(onnx.Float32))),
			onnx.NewNode("Conv", "conv", []string{"x", "w"}, []string{"y"}, onnx.IntsAttr("pads", 1, 1, 1, 1)),
			onnx.NewNode("Relu", "relu", []string{"y"}, []string{"z"}),
			onnx.NewNode("GlobalAveragePool", "mean", []string{"z"}, []string{"mean"}),
		}}
	return write(t, g), Port{Name: "image", U8: true, Shape: []int64{3, 16, 16}}, []Port{{Name: "mean", Shape: []int64{int64(c), 1, 1}}}
}

// endless writes a program that counts for longer than anybody waits.
func endless(t testing.TB) (path string, in Port, out []Port) {
	t.Helper()
	one := onnx.FloatBytes(1)
	trips := binary.LittleEndian.AppendUint64(nil, 1<<60)
	body := &onnx.Graph{Name: "body",
		Inputs: []*onnx.ValueInfo{onnx.NewValue("i", onnx.Int64), onnx.NewValue("more", onnx.Bool), onnx.NewValue("v", onnx.Float32, onnx.BatchOf(1)...)},
		Outputs: []*onnx.ValueInfo{onnx.NewValue("still", onnx.Bool),
			onnx.NewValue("next", onnx.Float32, onnx.BatchOf(1)...)},
		Initializers: []*onnx.Tensor{{Name: "one", Type: onnx.Float32, Dims: []int64{1}, Raw: one}},
		Nodes: []*onnx.Node{
			onnx.NewNode("Identity", "again", []string{"more"}, []string{"still"}),
			onnx.NewNode("Add", "add", []string{"v", "one"}, []string{"next"}),
		}}
	g := &onnx.Graph{Name: "endless",
		Inputs:  []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(1)...)},
		Outputs: []*onnx.ValueInfo{onnx.NewValue("y", onnx.Float32, onnx.BatchOf(1)...)},
		Initializers: []*onnx.Tensor{{Name: "trips", Type: onnx.Int64, Raw: trips},
			{Name: "go", Type: onnx.Bool, Raw: []byte{1}}},
		Nodes: []*onnx.Node{onnx.NewNode("Loop", "loop", []string{"trips", "go", "x"}, []string{"y"},
			&onnx.Attr{Name: "body", Type: onnx.AttrGraph, G: body})}}
	return write(t, g), Port{Name: "x", Shape: []int64{1}}, []Port{{Name: "y", Shape: []int64{1}}}
}

func write(t testing.TB, g *onnx.Graph) string {
	t.Helper()
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
	path := filepath.Join(t.TempDir(), g.Name+".onnx")
	if err := os.WriteFile(path, m.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, rt *Runtime, path, digest string, in Port, out []Port) *Session {
	t.Helper()
	s, err := rt.Open(context.Background(), path, digest, in, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func runner(t testing.TB, s *Session, n int) *Runner {
	t.Helper()
	r, err := s.NewRunner(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func fill(b []byte, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
}

// answer is what a session gives for a batch of n made from a seed.
func answer(t testing.TB, s *Session, n int, seed uint64) []float32 {
	t.Helper()
	r, err := s.NewRunner(n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fill(r.Input(), seed)
	if err := r.Run(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(r.Output(0))
}

func TestBatchesGiveTheSameBitsPerRecord(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 8)
	s := open(t, rt, path, "", in, out)
	whole := answer(t, s, 8, 7)
	r := runner(t, s, 8)
	for n := range 8 {
		fill(r.Input(), 7)
		copy(r.Input(), r.Input()[n*768:])
		if err := r.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if want := whole[n*8 : n*8+8]; !slices.Equal(r.Output(0), want) {
			t.Errorf("record %d alone gives %v, in a batch %v", n, r.Output(0), want)
		}
	}
	fill(r.Input(), 7)
	if err := r.Run(t.Context(), 5); err != nil || !slices.Equal(r.Output(0), whole[:5*8]) {
		t.Errorf("five records in buffers for eight differ from the first five of eight (%v)", err)
	}
}

func TestGoroutinesGiveTheSameBits(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 32)
	s := open(t, rt, path, "", in, out)
	const seeds, rounds = 6, 25
	var want [seeds][]float32
	for i := range want {
		want[i] = answer(t, s, i+3, uint64(i))
	}
	if slices.Equal(want[0][:32], want[1][:32]) {
		t.Fatal("two inputs give one answer: this test shows nothing")
	}
	var wg sync.WaitGroup
	for g := range 8 {
		r := runner(t, s, 8)
		wg.Go(func() {
			for i := range rounds {
				k := (g + i) % seeds
				fill(r.Input()[:(k+3)*768], uint64(k))
				if err := r.Run(t.Context(), k+3); err != nil {
					t.Error(err)
				} else if !slices.Equal(r.Output(0), want[k]) {
					t.Errorf("goroutine %d, round %d: other bits than alone", g, i)
				}
			}
		})
	}
	wg.Wait()
}

func TestMemoryLimitIsAnErrorAndNotTheEnd(t *testing.T) {
	path, in, out := network(t, 256)
	var want []float32
	t.Run("no limit", func(t *testing.T) {
		want = answer(t, open(t, start(t, Options{}), path, "", in, out), 64, 1)
	})
	rt := start(t, Options{ArenaLimit: 6 << 20})
	s := open(t, rt, path, "", in, out)
	r := runner(t, s, 64) // 64 x 256 x 16 x 16 x 4 bytes = 16 MiB
	for range 3 {
		fill(r.Input(), 1)
		n := 64
		var err error
		for ; n > 0; n /= 2 {
			if err = r.Run(t.Context(), n); err == nil {
				break
			}
			var full *Error
			if !errors.As(err, &full) || !full.OutOfMemory() || full.ErrorID() != "E-ORT-MEMORY" || full.Hint() == "" {
				t.Fatalf("a batch of %d beyond the limit: %v, want out of memory", n, err)
			}
		}
		if err != nil || n == 64 {
			t.Fatalf("batch of %d, %v: want a smaller one to run", n, err)
		}
		if !slices.Equal(r.Output(0), want[:n*256]) {
			t.Errorf("a batch of %d after one that did not fit gives other bits", n)
		}
	}
}

func TestMemoryOfAClosedSessionIsForTheNext(t *testing.T) {
	rt := start(t, Options{ArenaLimit: 24 << 20})
	for _, c := range []int{256, 272, 288} { // 16, 17 and 18 MiB in one piece: none has room in what another has left
		path, in, out := network(t, c)
		s := open(t, rt, path, "", in, out)
		r := runner(t, s, 64)
		fill(r.Input(), 1)
		if err := r.Run(t.Context(), 64); err != nil {
			t.Fatalf("%d channels: %v", c, err)
		}
		if err := errors.Join(r.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCancelEndsARunningInference(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := endless(t)
	r := runner(t, open(t, rt, path, "", in, out), 1)
	for range 3 { // the session stays usable
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := r.Run(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	if _, err := rt.Open(ctx, path, "", in, out); !errors.Is(err, context.Canceled) {
		t.Errorf("open: got %v, want canceled", err)
	}
}

func TestCancelledRunnerRunsAgain(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 4)
	s := open(t, rt, path, "", in, out)
	want := answer(t, s, 2, 9)
	r := runner(t, s, 2)
	fill(r.Input(), 9)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := r.Run(ctx, 2); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		<-ctx.Done()
		if err := r.Run(t.Context(), 2); err != nil || !slices.Equal(r.Output(0), want) {
			t.Fatalf("after a cancelled run: %v, or other bits", err)
		}
	}
}

func TestOneSessionForEachProgram(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 4)
	var wg sync.WaitGroup
	var ss [4]*Session
	for i := range ss {
		wg.Go(func() {
			var err error
			if ss[i], err = rt.Open(t.Context(), path, "d", in, out); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if ss[0].c != ss[1].c || ss[1].c != ss[2].c || ss[2].c != ss[3].c {
		t.Error("one program, several sessions")
	}
	other := open(t, rt, path, "e", in, out)
	if other.c == ss[0].c {
		t.Error("two programs, one session")
	}
	r, err := ss[0].NewRunner(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range ss {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
	if err := r.Run(t.Context(), 1); err != nil {
		t.Errorf("a runner after its session was closed: %v", err)
	}
	if err := rt.Close(); err == nil {
		t.Error("the runtime closes under a runner")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ss[0].NewRunner(1); err == nil {
		t.Error("a closed session gives a runner")
	}
	if err := r.Run(t.Context(), 1); err == nil {
		t.Error("a closed runner runs")
	}
}

func TestOneEnvironment(t *testing.T) {
	a := start(t, Options{})
	b, err := Init(Options{})
	if err != nil || b != a {
		t.Fatalf("equal options: %v, %v; want the same runtime", b, err)
	}
	if _, err := Init(Options{ArenaLimit: 1}); err == nil {
		t.Error("other options are accepted while the runtime is open")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	path, in, out := network(t, 4)
	answer(t, open(t, a, path, "", in, out), 1, 1) // one Close of two does not end it
}

func TestProgramsThatCannotRun(t *testing.T) {
	rt := start(t, Options{CacheDir: t.TempDir()})
	path, in, out := network(t, 4)
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	shape := func(p Port, d ...int64) Port { p.Shape = d; return p }
	for name, c := range map[string]struct {
		path string
		in   Port
		out  []Port
	}{
		"no file":          {path + "x", in, out},
		"no model":         {bad, in, out},
		"no outputs":       {path, in, nil},
		"a size below one": {path, shape(in, 3, -1, 16), out},
		"a huge shape":     {path, shape(in, 1<<40, 1<<40), out},
	} {
		var e *Error
		if _, err := rt.Open(t.Context(), c.path, "d", c.in, c.out); !errors.As(err, &e) || e.OutOfMemory() || e.ErrorID() != "E-ORT-MODEL" {
			t.Errorf("%s: %v, want E-ORT-MODEL", name, err)
		}
	}
	for name, c := range map[string]struct {
		in  Port
		out []Port
	}{
		"input of another name":   {Port{Name: "x", U8: true, Shape: in.Shape}, out},
		"input of another type":   {Port{Name: "image", Shape: in.Shape}, out},
		"output of another name":  {in, []Port{{Name: "x", Shape: out[0].Shape}}},
		"output of another shape": {in, []Port{shape(out[0], 5, 1, 1)}},
	} {
		r := runner(t, open(t, rt, path, "", c.in, c.out), 2)
		var e *Error
		if err := r.Run(t.Context(), 2); !errors.As(err, &e) || e.OutOfMemory() || e.ErrorID() != "E-ORT" {
			t.Errorf("%s: %v, want E-ORT", name, err)
		}
	}
	s := open(t, rt, path, "", in, out)
	r := runner(t, s, 2)
	for _, n := range []int{-1, 0, 3} {
		if err := r.Run(t.Context(), n); err == nil {
			t.Errorf("a batch of %d runs in buffers for 2", n)
		}
	}
	if _, err := s.NewRunner(0); err == nil {
		t.Error("buffers for no record")
	}
}

// A program may read the pixels that are in another's buffers, and leaves those alone when it is done.
func TestRunnersShareTheirInput(t *testing.T) {
	rt := start(t, Options{})
	path, in, out := network(t, 8)
	s := open(t, rt, path, "", in, out)
	want := answer(t, s, 4, 7)
	first := runner(t, s, 4)
	for range 2 { // the second time with the buffers of the one before
		second, err := s.NewRunnerOn(4, first.Input())
		if err != nil {
			t.Fatal(err)
		}
		fill(first.Input(), 7)
		if err := second.Run(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(second.Output(0), want) {
			t.Error("another result from shared pixels")
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if again := answer(t, s, 4, 7); !slices.Equal(again, want) { // with an input of its own
			t.Error("another result after shared pixels")
		}
		if err := first.Run(t.Context(), 4); err != nil || !slices.Equal(first.Output(0), want) {
			t.Errorf("whose pixels they are: %v", err)
		}
	}
	if _, err := s.NewRunnerOn(5, first.Input()); err == nil {
		t.Error("pixels of four records for five")
	}
}
