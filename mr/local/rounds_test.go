package local_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// rounds sums numbers that its partitions hold, a few rounds long, and loses one partition's
// first try on the way.
type sums struct {
	failed *atomic.Bool
	open   *atomic.Int32 // partitions that were opened and not closed
}

func (s sums) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	s.open.Add(1)
	return &sumPartition{s: s, index: t.Spec().Attempt.Task.Index}, nil
}

type sumPartition struct {
	s     sums
	index int
}

func (p *sumPartition) Round(_ context.Context, round int, msg, dst []byte) ([]byte, error) {
	if round == 2 && p.index == 3 && p.s.failed.CompareAndSwap(false, true) {
		return nil, errs.E("round", errs.NoMemory, "", errors.New("lost on the way"))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(p.index)+binary.BigEndian.Uint64(msg)), nil
}

func (p *sumPartition) Finish(_ context.Context, t mr.Task, final []byte) error {
	return t.SetValue(string(final))
}

func (p *sumPartition) Close() error { p.s.open.Add(-1); return nil }

type sumLoop struct{ rounds []uint64 }

func mergeSums(a, b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(a[:0], binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
}

func (l *sumLoop) Next(_ context.Context, sum []byte) ([]byte, bool, error) {
	n := uint64(0)
	if sum != nil {
		n = binary.BigEndian.Uint64(sum)
		l.rounds = append(l.rounds, n)
	}
	if len(l.rounds) == 4 {
		return fmt.Append(nil, l.rounds), true, nil
	}
	return binary.BigEndian.AppendUint64(nil, n), false, nil
}

func TestRoundsCountEveryPartitionOnce(t *testing.T) {
	for _, slots := range []int{1, 2, 7} {
		var failed atomic.Bool
		var open atomic.Int32
		kind := mr.Kind{Name: "sums",
			Rounds: func(json.RawMessage) (mr.Rounds, error) { return sums{&failed, &open}, nil },
			Merge:  mergeSums,
			Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
				return &sumLoop{}, nil
			}}
		c := mrtest.New(t, kind)
		c.Slots = slots
		out, err := c.Run(t.Context(), &mr.JobSpec{ID: "r", Phases: []mr.PhaseSpec{{ID: "sum", Type: mr.RoundsPhase, Kind: "sums", Tasks: 5}}})
		if err != nil {
			t.Fatal(err)
		}
		// 0+1+2+3+4 = 10, then each round adds five times the sum before: 10, 60, 310, 1560.
		for i, m := range out["sum"].Tasks {
			if string(m.Value) != `"[10 60 310 1560]"` {
				t.Errorf("%d slots: task %d ended with %s", slots, i, m.Value)
			}
		}
		if !failed.Load() {
			t.Error("the test lost no partition")
		}
		if n := open.Load(); n != 0 {
			t.Errorf("%d slots: %d partitions were not closed", slots, n)
		}
	}
}

// heldPartition waits in its round until it is told to go on, and tells whether it was closed
// meanwhile.
type heldPartition struct {
	cancel func()
	busy   atomic.Bool
	during *atomic.Int32
}

func (p *heldPartition) Round(ctx context.Context, _ int, _, dst []byte) ([]byte, error) {
	p.busy.Store(true)
	defer p.busy.Store(false)
	p.cancel()
	<-ctx.Done()
	return dst, ctx.Err()
}

func (p *heldPartition) Finish(context.Context, mr.Task, []byte) error { return nil }

func (p *heldPartition) Close() error {
	if p.busy.Load() {
		p.during.Add(1)
	}
	return nil
}

type openFunc func() mr.Partition

func (f openFunc) Open(context.Context, mr.Task) (mr.Partition, error) { return f(), nil }

func newSumLoop(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
	return &sumLoop{}, nil
}

func roundsJob(tasks int) *mr.JobSpec {
	return &mr.JobSpec{ID: "r", Phases: []mr.PhaseSpec{{ID: "sum", Type: mr.RoundsPhase, Kind: "sums", Tasks: tasks}}}
}

// TestKillDuringARound: the round is cancelled, and only then its partitions are closed.
func TestKillDuringARound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var during atomic.Int32
	kind := mr.Kind{Name: "sums", Merge: mergeSums, Loop: newSumLoop, Rounds: func(json.RawMessage) (mr.Rounds, error) {
		return openFunc(func() mr.Partition { return &heldPartition{cancel: cancel, during: &during} }), nil
	}}
	c := mrtest.New(t, kind)
	if _, err := c.Run(ctx, roundsJob(3)); !errs.Is(err, errs.Canceled) {
		t.Errorf("killed: %v", err)
	}
	if n := during.Load(); n != 0 {
		t.Errorf("%d partitions were closed in the middle of a round", n)
	}
}

// eagerLoop reads the results of a phase over and over.
type eagerLoop struct {
	sumLoop
	read func(mr.PhaseID) []json.RawMessage
}

func (l *eagerLoop) Next(ctx context.Context, sum []byte) ([]byte, bool, error) {
	for range 10_000 {
		if v := l.read("a"); len(v) != 1 {
			return nil, false, fmt.Errorf("phase a has %d values", len(v))
		}
	}
	return l.sumLoop.Next(ctx, sum)
}

// TestLoopReadsWhileOtherPhasesEnd is for the race detector.
func TestLoopReadsWhileOtherPhasesEnd(t *testing.T) {
	failed, open := new(atomic.Bool), new(atomic.Int32)
	kind := mr.Kind{Name: "sums",
		Rounds: func(json.RawMessage) (mr.Rounds, error) { return sums{failed, open}, nil },
		Merge:  mergeSums,
		Loop: func(_ context.Context, _ json.RawMessage, read func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
			return &eagerLoop{read: read}, nil
		}}
	one := mr.Kind{Name: "one", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return t.SetValue(1) }), nil
	}}
	c := mrtest.New(t, kind, one)
	job := roundsJob(2)
	job.Phases[0].After = []mr.PhaseID{"a"}
	job.Phases = append([]mr.PhaseSpec{{ID: "a", Type: mr.MapPhase, Kind: "one", Tasks: 1}}, job.Phases...)
	prev := mr.PhaseID("a")
	for i := range 8 {
		id := mr.PhaseID(fmt.Sprint("b", i))
		job.Phases = append(job.Phases, mr.PhaseSpec{ID: id, Type: mr.MapPhase, Kind: "one", Tasks: 1, After: []mr.PhaseID{prev}})
		prev = id
	}
	if _, err := c.Run(t.Context(), job); err != nil {
		t.Error(err)
	}
}

// brokenLoop panics where it is told to.
type brokenLoop struct {
	sumLoop
	where string
}

func (l *brokenLoop) Next(ctx context.Context, sum []byte) ([]byte, bool, error) {
	if l.where == "next" {
		panic("in next")
	}
	return l.sumLoop.Next(ctx, sum)
}

// TestPanicsOfALoopFailTheJob and not the process.
func TestPanicsOfALoopFailTheJob(t *testing.T) {
	for _, where := range []string{"next", "merge"} {
		failed, open := new(atomic.Bool), new(atomic.Int32)
		kind := mr.Kind{Name: "sums",
			Rounds: func(json.RawMessage) (mr.Rounds, error) { return sums{failed, open}, nil },
			Merge: func(a, b []byte) ([]byte, error) {
				if where == "merge" {
					panic("in merge")
				}
				return mergeSums(a, b)
			},
			Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
				return &brokenLoop{where: where}, nil
			}}
		_, err := mrtest.New(t, kind).Run(t.Context(), roundsJob(3))
		if !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "in "+where) {
			t.Errorf("%s: %v", where, err)
		}
		if n := open.Load(); n != 0 {
			t.Errorf("%s: %d partitions were not closed", where, n)
		}
	}
}

func TestWithoutSlotsNothingIsStarted(t *testing.T) {
	c := mrtest.New(t, mr.Kind{Name: "sums"})
	c.Slots = 0
	if _, err := c.Run(t.Context(), roundsJob(1)); !errs.Is(err, errs.Invalid) {
		t.Errorf("no slots: %v", err)
	}
}
