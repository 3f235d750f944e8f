package task

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// env is a process with the given kinds on a store.
func env(t *testing.T, fs dfs.FS, kinds ...mr.Kind) *Env {
	t.Helper()
	r, err := mr.NewRegistry(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &Env{Store: fs, Mux: dfs.NewMux(nil), Registry: r, Shared: NewShared(), Cache: cache.New(1<<20, dir), Scratch: dir, Slots: 1, SortMemory: 1 << 20}
}

func spec(kind string, typ mr.PhaseType) *mr.TaskSpec {
	return &mr.TaskSpec{Job: "j", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Type: typ, Kind: kind, Out: dfs.Path("out/" + kind)}
}

func mapper(name string, f func(context.Context, mr.Task) error) mr.Kind {
	return mr.Kind{Name: name, Map: func(json.RawMessage) (mr.Mapper, error) { return mr.MapperFunc(f), nil }}
}

// written writes a file of three records and returns it.
func written(t *testing.T, e *Env, raw bool) mr.PartFile {
	t.Helper()
	s := spec("write", mr.MapPhase)
	s.Params, _ = json.Marshal(raw)
	m, err := e.Run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.Files[0]
}

// value is a megabyte that cannot be packed.
var value = sync.OnceValue(func() []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
})

var writeKind = mr.Kind{Name: "write", Map: func(p json.RawMessage) (mr.Mapper, error) {
	var raw bool
	err := json.Unmarshal(p, &raw)
	return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
		out, err := t.Part(ctx, "x", mr.PartOptions{Raw: raw})
		if err != nil {
			return err
		}
		for range 3 { // a block for each
			if err := out.Append([]byte("key"), value()); err != nil {
				return err
			}
		}
		return nil
	}), err
}}

func reading(s *mr.TaskSpec, f mr.PartFile) *mr.TaskSpec {
	s.Inputs = []mr.TaskInput{{Input: mr.Input{Name: "in", Mode: mr.Same}, Files: []mr.PartFile{f}}}
	return s
}

// TestNoDamagePasses flips one bit on the way of every read: whatever the codec, the attempt
// fails as damaged, also when its own code stumbled over the damage first.
func TestNoDamagePasses(t *testing.T) {
	want := value()
	careless := mapper("careless", func(ctx context.Context, t mr.Task) error {
		for _, err := range t.Records(ctx, "in") {
			if err != nil {
				return err
			}
		}
		return nil
	})
	strict := mapper("strict", func(ctx context.Context, t mr.Task) error {
		for r, err := range t.Records(ctx, "in") {
			if err != nil {
				return err
			}
			if string(r.Key) != "key" || !bytes.Equal(r.Value, want) {
				return errors.New("this value makes no sense")
			}
		}
		return nil
	})
	for _, raw := range []bool{true, false} {
		for _, kind := range []mr.Kind{careless, strict} {
			for nth := 1; ; nth++ {
				store := mem.New()
				f := written(t, env(t, store, writeKind), raw)
				bad := fault.New(store, fault.Options{Rules: []fault.Rule{{Do: fault.Flip, Op: fault.Read, Path: "*", Nth: nth}}})
				_, err := env(t, bad, kind).Run(t.Context(), reading(spec(kind.Name, mr.MapPhase), f), nil)
				if len(bad.Hits()) == 0 {
					if err != nil {
						t.Errorf("raw=%v %s: without damage: %v", raw, kind.Name, err)
					}
					if nth < 4 {
						t.Errorf("raw=%v %s: only %d reads", raw, kind.Name, nth-1)
					}
					break
				}
				// A strict task that read damaged bytes finds the stored ones sound: what
				// happened on the way is gone, and its own error is all there is.
				if err == nil || !errs.Is(err, errs.Corrupt) && !(kind.Name == "strict" && raw && strings.Contains(err.Error(), "makes no sense")) {
					t.Errorf("raw=%v %s: read %d was damaged: %v", raw, kind.Name, nth, err)
				}
			}
		}
	}
}

// TestStoredDamageIsTheError keeps the bit flipped: then the damage can be found again, and is
// what the attempt failed of.
func TestStoredDamageIsTheError(t *testing.T) {
	want := value()
	strict := mapper("strict", func(ctx context.Context, t mr.Task) error {
		for r := range t.Records(ctx, "in") {
			if len(r.Value) > 0 && !bytes.Equal(r.Value, want) {
				return errors.New("this value makes no sense")
			}
		}
		return nil
	})
	store := mem.New()
	e := env(t, store, writeKind, strict)
	f := written(t, e, true)
	old, err := dfs.ReadFile(t.Context(), store, f.Path, f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	old[1<<20] ^= 1 // somewhere in the first value
	if err := store.Remove(t.Context(), f.Path); err != nil {
		t.Fatal(err)
	}
	if err := dfs.WriteFile(t.Context(), store, f.Path, old); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), reading(spec("strict", mr.MapPhase), f), nil); !errs.Is(err, errs.Corrupt) {
		t.Errorf("the error is %v, want errs.Corrupt", err)
	}
}

func TestPanicsAreErrors(t *testing.T) {
	combine := mapper("combine", func(ctx context.Context, t mr.Task) error { return t.Emit(ctx, []byte("k"), []byte("v")) })
	combine.Combine = func(json.RawMessage) (mr.Combine, error) {
		return func([]byte, iter.Seq[[]byte], func(key, value []byte) error) error { panic("combine") }, nil
	}
	mapping := mapper("map", func(context.Context, mr.Task) error { panic("map") })
	e := env(t, mem.New(), combine, mapping)
	for _, kind := range []string{"combine", "map"} {
		s := spec(kind, mr.MapPhase)
		s.Partitions = 1
		if kind == "map" {
			s.Partitions = 0
		}
		_, err := e.Run(t.Context(), s, nil)
		if !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "panic: "+kind) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

type closer struct{ closed chan struct{} }

func (c closer) Close() error { close(c.closed); return nil }

// TestSharedOutlivesTheAttemptThatOpens cancels the attempt that is opening: the one that waits
// opens for itself.
func TestSharedOutlivesTheAttemptThatOpens(t *testing.T) {
	s := NewShared()
	first, second := &attempt{moves: new(atomic.Int64)}, &attempt{moves: new(atomic.Int64)}
	ctx, cancel := context.WithCancel(t.Context())
	opening := make(chan struct{})
	failed := make(chan error)
	go func() {
		_, err := s.get(ctx, first, "x", func(ctx context.Context) (io.Closer, error) {
			close(opening)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		failed <- err
	}()
	<-opening
	got := make(chan error)
	go func() {
		_, err := s.get(t.Context(), second, "x", func(context.Context) (io.Closer, error) { return closer{make(chan struct{})}, nil })
		got <- err
	}()
	cancel()
	if err := <-failed; !errs.Is(err, errs.Canceled) {
		t.Errorf("the first got %v", err)
	}
	if err := <-got; err != nil {
		t.Errorf("the second got %v", err)
	}
}

// TestOpeningMoves: while what is shared is being opened, the attempt that opens it and the one that waits move as often as
// it goes on, and do not when it stands still.
func TestOpeningMoves(t *testing.T) {
	e := &Env{Shared: NewShared()}
	first := &attempt{env: e, moves: new(atomic.Int64), routine: zap.NewNop()}
	second := &attempt{env: e, moves: new(atomic.Int64), routine: zap.NewNop()}
	opening, goOn, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	ended := make(chan error, 2)
	open := func(ctx context.Context) (io.Closer, error) {
		close(opening)
		for {
			select {
			case <-goOn:
				Moved(ctx)
			case <-end:
				return closer{make(chan struct{})}, nil
			}
		}
	}
	get := func(a *attempt) {
		_, err := a.Shared(t.Context(), "x", open)
		ended <- err
	}
	go get(first)
	<-opening
	go get(second)
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		e.Shared.mu.Lock()
		waits = e.Shared.items["x"].users[second]
		e.Shared.mu.Unlock()
	}
	for range 2 {
		// It looks first when it begins to wait: what was done before that is not seen, and what comes again is.
		for was := second.moves.Load(); second.moves.Load() == was; time.Sleep(10 * time.Millisecond) {
			before := first.moves.Load()
			goOn <- struct{}{}
			for first.moves.Load() == before {
				time.Sleep(time.Millisecond)
			}
		}
	}
	if got, of := second.moves.Load(), first.moves.Load(); got > of {
		t.Errorf("the one that waits moved %d times, the other %d", got, of)
	}
	close(end)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	Moved(t.Context()) // of nobody
}

// slowPart tells whether it was closed while a round ran.
type slowPart struct {
	started, release chan struct{}
	running, closed  bool
	wrong            bool
}

func (p *slowPart) Round(context.Context, int, []byte, []byte) ([]byte, error) {
	p.running = true
	close(p.started)
	<-p.release
	p.running, p.wrong = false, p.closed
	return nil, nil
}
func (p *slowPart) Finish(context.Context, mr.Task, []byte) error { return nil }
func (p *slowPart) Close() error                                  { p.closed, p.wrong = true, p.running; return nil }

type opener struct{ p mr.Partition }

func (o opener) Open(context.Context, mr.Task) (mr.Partition, error) { return o.p, nil }

// TestCloseWaitsForTheRound: what a round works on is not let go of under its hands.
func TestCloseWaitsForTheRound(t *testing.T) {
	part := &slowPart{started: make(chan struct{}), release: make(chan struct{})}
	e := env(t, mem.New(), mr.Kind{Name: "r", Rounds: func(json.RawMessage) (mr.Rounds, error) { return opener{part}, nil }})
	p, err := e.Open(t.Context(), spec("r", mr.RoundsPhase), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { _, err := p.Round(t.Context(), 0, nil, nil); done <- err }()
	<-part.started
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	select {
	case <-closed:
		t.Error("closed while the round ran")
	case <-time.After(20 * time.Millisecond): // long enough for a Close that does not wait
	}
	close(part.release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil || part.wrong {
		t.Errorf("close: %v, at the wrong time: %v", err, part.wrong)
	}
	if _, err := p.Round(t.Context(), 1, nil, nil); !errs.Is(err, errs.Canceled) {
		t.Errorf("a round after Close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// handles counts open files.
type handles struct {
	dfs.FS
	open, most int
}

type handle struct {
	dfs.File
	h *handles
}

func (h *handles) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	f, err := h.FS.Open(ctx, p)
	if err == nil {
		h.open++
		h.most = max(h.most, h.open)
		f = &handle{f, h}
	}
	return f, err
}

func (f *handle) Close() error { f.h.open--; return f.File.Close() }

// TestReduceHoldsFewFiles: a reduce task reads a file of every map task, a few at a time.
func TestReduceHoldsFewFiles(t *testing.T) {
	h := &handles{FS: mem.New()}
	emit := mapper("emit", func(ctx context.Context, t mr.Task) error { return t.Emit(ctx, []byte("a"), make([]byte, 8)) })
	values := 0
	count := mr.Kind{Name: "count", Reduce: func(json.RawMessage) (mr.Reducer, error) {
		return reducer(func(_ context.Context, _ mr.Task, _ []byte, vs iter.Seq2[mr.Value, error]) error {
			for _, err := range vs {
				if err != nil {
					return err
				}
				values++
			}
			return nil
		}), nil
	}}
	e := env(t, h, emit, count)
	r := spec("count", mr.ReducePhase)
	in := mr.TaskInput{Input: mr.Input{Name: "in", Mode: mr.Shuffled}}
	const maps = 300
	for i := range maps {
		s := spec("emit", mr.MapPhase)
		s.Partitions, s.Attempt.Task.Index = 1, i
		m, err := e.Run(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		in.Files = append(in.Files, m.Files...)
	}
	r.Inputs = []mr.TaskInput{in}
	if _, err := e.Run(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if values != maps || h.most > 20 || h.open != 0 {
		t.Errorf("%d values of %d; %d files open at most, %d at the end", values, maps, h.most, h.open)
	}
}

type reducer func(context.Context, mr.Task, []byte, iter.Seq2[mr.Value, error]) error

func (f reducer) Reduce(ctx context.Context, t mr.Task, key []byte, v iter.Seq2[mr.Value, error]) error {
	return f(ctx, t, key, v)
}
