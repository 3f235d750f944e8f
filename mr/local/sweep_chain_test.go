package local_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/fault/sweep"
	dfslocal "github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// chain is a job of all three types of phase: numbers are written, added up in rounds by
// partitions that stay, written again, and read by a task that reads all of them.
func chain(raw bool) ([]mr.Kind, *mr.JobSpec) {
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			out, err := t.Part(ctx, "x", mr.PartOptions{Raw: raw})
			if err != nil {
				return err
			}
			for i := range 3 {
				t.Count("written", 1)
				if err := out.Append([]byte(strconv.Itoa(i)), binary.BigEndian.AppendUint64(nil, uint64(10*t.Spec().Attempt.Task.Index+i))); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	add := mr.Kind{Name: "add",
		Rounds: func(json.RawMessage) (mr.Rounds, error) { return adds{}, nil },
		Merge:  mergeSums,
		Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
			return &sumLoop{}, nil
		}}
	read := mr.Kind{Name: "read", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			out, err := t.Part(ctx, "z", mr.PartOptions{})
			if err != nil {
				return err
			}
			for r, err := range t.Records(ctx, "in") {
				if err != nil {
					return err
				}
				if err := out.Append(r.Key, r.Value); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	return []mr.Kind{write, add, read}, &mr.JobSpec{ID: "chain", Phases: []mr.PhaseSpec{
		{ID: "write", Type: mr.MapPhase, Kind: "write", Tasks: 2},
		{ID: "add", Type: mr.RoundsPhase, Kind: "add", Tasks: 2, Inputs: []mr.Input{{Name: "in", Phase: "write", Channel: "x", Mode: mr.Same}},
			Drop: []mr.Drop{{Phase: "write"}}},
		{ID: "read", Type: mr.MapPhase, Kind: "read", Tasks: 1, Inputs: []mr.Input{{Name: "in", Phase: "add", Channel: "y", Mode: mr.All}}},
	}, Budgets: []mr.Budget{{Counter: "bad", Of: "written", Phase: "write"}}}
}

type adds struct{}

func (adds) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	p := &addPartition{}
	for r, err := range t.Records(ctx, "in") {
		if err != nil {
			return nil, err
		}
		p.sum += binary.BigEndian.Uint64(r.Value)
	}
	return p, nil
}

type addPartition struct{ sum uint64 }

func (p *addPartition) Round(_ context.Context, _ int, msg, dst []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, p.sum+binary.BigEndian.Uint64(msg)), nil
}

func (p *addPartition) Finish(ctx context.Context, t mr.Task, final []byte) error {
	out, err := t.Part(ctx, "y", mr.PartOptions{})
	if err != nil {
		return err
	}
	return out.Append(fmt.Append(nil, t.Spec().Attempt.Task.Index), fmt.Appendf(nil, "%d %s", p.sum, final))
}

func (p *addPartition) Close() error { return nil }

// TestEveryOperationOfAChainFailsOnce does with rounds, raw files, dropped files and mending what
// TestEveryOperationFailsOnce does with a shuffle; in memory and on a disk.
func TestEveryOperationOfAChainFailsOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		raw   bool
		store func(t *testing.T) dfs.FS
		most  int // runs for each mode
	}{
		{"memory", false, nil, 0},
		{"memory, raw", true, nil, 25},
		{"disk", false, func(t *testing.T) dfs.FS { return dfslocal.New(t.TempDir(), false) }, 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			kinds, job := chain(c.raw)
			run := func(t *testing.T, fs dfs.FS) ([]string, error) {
				cl := mrtest.New(t, kinds...)
				cl.Store = fs
				done, err := cl.Run(t.Context(), job)
				if err != nil {
					return nil, err
				}
				lines, err := cl.Records(t.Context(), done["read"], "z")
				slices.Sort(lines)
				return lines, err
			}
			var clean, got []string
			sweep.Run(t, sweep.Scenario{
				Store: c.store,
				Run: func(t *testing.T, fs dfs.FS) (err error) {
					got, err = run(t, fs)
					return err
				},
				Check: func(t *testing.T, r sweep.Result) {
					if r.Clean() {
						clean = got
						if len(clean) != 2 {
							t.Fatalf("the job is another one: %q", clean)
						}
					}
					if r.Err == nil && !slices.Equal(got, clean) {
						t.Errorf("got %q, want %q", got, clean)
					}
					p := &commit.Publisher{FS: r.Store, Root: dfs.Path(job.ID)}
					if _, err := p.Load(t.Context(), "read"); err != nil && !errs.Is(err, errs.NotExist) {
						t.Errorf("half published: %v", err)
					}
					again, err := run(t, r.Store)
					if err != nil || !slices.Equal(again, clean) {
						t.Errorf("resumed: %q, %v; want %q", again, err, clean)
					}
				},
				Modes: []fault.Action{fault.Fail, fault.Torn, fault.Flip, fault.Lose, fault.Down, fault.Full},
				Max:   c.most,
			})
		})
	}
}

// TestWordCountOnDiskFailsOnce is the sweep of the shuffle on the local disk.
func TestWordCountOnDiskFailsOnce(t *testing.T) {
	job := wordCountJob(splits(t, "a b a\nc\n", "b a\n", "d d d d\n"))
	run := func(t *testing.T, fs dfs.FS) ([]string, error) {
		c := mrtest.New(t, wordCount()...)
		c.Store = fs
		done, err := c.Run(t.Context(), job)
		if err != nil {
			return nil, err
		}
		return c.Records(t.Context(), done["reduce"], "counts")
	}
	var clean, got []string
	sweep.Run(t, sweep.Scenario{
		Store: func(t *testing.T) dfs.FS { return dfslocal.New(t.TempDir(), false) },
		Run: func(t *testing.T, fs dfs.FS) (err error) {
			got, err = run(t, fs)
			return err
		},
		Check: func(t *testing.T, r sweep.Result) {
			if r.Clean() {
				clean = got
			}
			if r.Err == nil && !slices.Equal(got, clean) {
				t.Errorf("got %q, want %q", got, clean)
			}
			if again, err := run(t, r.Store); err != nil || !slices.Equal(again, clean) {
				t.Errorf("resumed: %q, %v; want %q", again, err, clean)
			}
		},
		Modes: []fault.Action{fault.Fail, fault.Torn, fault.Flip, fault.Lose, fault.Down, fault.Full},
		Max:   20,
	})
}
