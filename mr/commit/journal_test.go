package commit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/fault/sweep"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// aJob has a phase p of n tasks.
func aJob(n int) *mr.JobSpec {
	return &mr.JobSpec{ID: "job", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: n}}}
}

// result is what a task of phase p leaves.
func result(index, number int, epoch int64) mr.Manifest {
	a := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: index}, Number: number}
	return mr.Manifest{Attempt: a, Epoch: epoch, Seconds: float64(index), Counters: map[string]int64{"rows": 1000},
		Files: []mr.PartFile{{Channel: "x", Task: index, Path: dfs.Path(fmt.Sprintf("job/p/%05d-%d-e%d/x-0", index, number, epoch)),
			Rows: 1000, Bytes: 123456 + int64(index*7919%1000), CRC: uint32(index) * 2654435761}}}
}

// takeOver is a coordinator's beginning.
func takeOver(t *testing.T, fs dfs.FS, n int) (*commit.Publisher, int64, []mr.Manifest) {
	t.Helper()
	p := publisher(fs)
	epoch, _, kept, err := p.TakeOver(t.Context(), aJob(n))
	if err != nil {
		t.Fatal(err)
	}
	return p, epoch, kept
}

func indexes(kept []mr.Manifest) []int {
	var out []int
	for _, m := range kept {
		out = append(out, m.Attempt.Task.Index)
	}
	return out
}

func segments(t *testing.T, fs dfs.FS) (names []dfs.Path, size int64) {
	t.Helper()
	for info, err := range fs.List(t.Context(), "job/phases/p/tasks") {
		if err != nil {
			t.Fatal(err)
		}
		names, size = append(names, info.Path), size+info.Size
	}
	return names, size
}

// count is how many operations were asked for that a store far away is asked for: a file that is written is one on S3.
func count(fs *fault.FS) int {
	return fs.CountOp(fault.Commit) + fs.CountOp(fault.List) + fs.CountOp(fault.Open) + fs.CountOp(fault.Remove)
}

// keepAll keeps n results, from some at a time.
func keepAll(t *testing.T, p *commit.Publisher, epoch int64, n, atOnce int) {
	t.Helper()
	next := make(chan int)
	var work sync.WaitGroup
	for range atOnce {
		work.Go(func() {
			for i := range next {
				if err := p.Keep(t.Context(), result(i, 1, epoch)); err != nil {
					t.Errorf("task %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	work.Wait()
}

// TestGroupsUnderLoad: a store far away is asked far less than once for each task, and an idle journal does not wait.
func TestGroupsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip = 10 * time.Millisecond
		fs := fault.New(mem.New(), fault.Options{Rules: []fault.Rule{{Do: fault.Delay, Op: fault.Commit, By: trip, Times: -1}, {Do: fault.Delay, Op: fault.List, By: trip, Times: -1}}})
		p, epoch, _ := takeOver(t, fs, 6000)
		begin := time.Now()
		for i := range 3 { // one after the other
			if err := p.Keep(t.Context(), result(i, 1, epoch)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 6*trip {
			t.Errorf("an idle journal took %v for 3 results, want %v: a write and a look for each", took, 6*trip)
		}
		before := count(fs)
		begin = time.Now()
		const n = 6000
		keepAll(t, p, epoch, n, 256)
		took := time.Since(begin)
		p.Wait()
		calls := float64(count(fs)-before) / n
		_, size := segments(t, fs)
		t.Logf("%.4f calls a task, %.0f tasks/s with round trips of %v, %d bytes a task", calls, n/took.Seconds(), trip, size/n)
		if calls > 0.1 {
			t.Errorf("%.3f calls a task", calls)
		}
		if rate := n / took.Seconds(); rate < 5000 {
			t.Errorf("%.0f tasks/s", rate)
		}
		p.Settle()
	})
}

// TestJournalStaysSmall: many small segments become few, a task takes few bytes, nothing is lost, and with the phase's publication
// they go.
func TestJournalStaysSmall(t *testing.T) {
	fs := mem.New()
	const n = 3000
	p, epoch, _ := takeOver(t, fs, n)
	most := 0
	for i := range n {
		if err := p.Keep(t.Context(), result(i, 1, epoch)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			names, _ := segments(t, fs)
			most = max(most, len(names))
		}
	}
	p.Wait()
	names, size := segments(t, fs)
	t.Logf("%d segments in the end, %d at most, %d bytes a task", len(names), most, size/n)
	if len(names) > 40 || size/n > 300 {
		t.Errorf("%d segments, %d bytes a task", len(names), size/n)
	}
	_, _, kept := takeOver(t, fs, n)
	if len(kept) != n {
		t.Errorf("%d tasks of %d", len(kept), n)
	}
	for i, m := range kept {
		if m.Attempt.Task.Index != i || m.Files[0].Path != result(i, 1, epoch).Files[0].Path {
			t.Fatalf("task %d is %+v", i, m)
		}
	}
	p, epoch, _ = takeOver(t, fs, n)
	if err := p.Publish(t.Context(), mr.PhaseManifest{Job: "job", Phase: "p", Epoch: epoch}); err != nil {
		t.Fatal(err)
	}
	p.Settle()
	if names, _ := segments(t, fs); len(names) > 0 {
		t.Errorf("after publication: %v", names)
	}
}

// TestKeepSweep: whatever operation goes wrong while tasks are kept, forgotten and merged, what was acknowledged holds for
// those who come after, and one of them sees what the other does.
func TestKeepSweep(t *testing.T) {
	const n = 18
	type acknowledged struct{ kept, forgotten []int }
	acks := map[*testing.T]*acknowledged{}
	sweep.Run(t, sweep.Scenario{
		Run: func(t *testing.T, fs dfs.FS) error {
			ack := &acknowledged{}
			acks[t] = ack
			p := publisher(fs)
			epoch, _, _, err := p.TakeOver(t.Context(), aJob(n))
			if err != nil {
				return err
			}
			defer p.Settle()
			var failed []error
			for i := range n {
				if err := p.Keep(t.Context(), result(i, 1, epoch)); err != nil {
					failed = append(failed, err)
				} else {
					ack.kept = append(ack.kept, i)
				}
				if i == 3 || i == 17 {
					if err := p.Forget(t.Context(), result(i-1, 1, epoch).Attempt, epoch); err != nil {
						failed = append(failed, err)
					} else {
						ack.forgotten = append(ack.forgotten, i-1)
					}
				}
				p.Wait() // for compaction
			}
			if len(failed) > 0 {
				return failed[0]
			}
			return nil
		},
		Check: func(t *testing.T, r sweep.Result) {
			var before []int
			for k := range 3 {
				_, _, kept := takeOver(t, r.Store, n)
				got := indexes(kept)
				for _, i := range acks[t].kept {
					if !slices.Contains(got, i) && i != 2 && i != 16 {
						t.Errorf("task %d was acknowledged and is not there", i)
					}
				}
				for _, i := range acks[t].forgotten {
					if slices.Contains(got, i) {
						t.Errorf("task %d was forgotten and is there", i)
					}
				}
				if k > 0 && !slices.Equal(before, got) {
					t.Errorf("coordinator %d sees %v, the one before saw %v", k, got, before)
				}
				before = got
			}
			if r.Clean() {
				if names, _ := segments(t, r.Store); len(names) > 8 {
					t.Errorf("%d segments: they were not merged", len(names))
				}
			}
		},
	})
}

// TestTwoCoordinatorsKeep lets a second coordinator take over before each operation of the first one's keeping and merging. What
// the first is told is durable the second has seen; and what it has not seen nobody sees later, however late it was written.
func TestTwoCoordinatorsKeep(t *testing.T) {
	const n = 18
	late := 0
	for at := 0; ; at++ {
		store := mem.New()
		first, epoch, _ := takeOver(t, store, n+1)
		var saw []int
		fs := &before{FS: store, n: at, f: func() {
			p, second, kept := takeOver(t, store, n+1)
			if err := p.Keep(t.Context(), result(n, 1, second)); err != nil { // what the first never comes to
				t.Error(err)
			}
			saw = append(indexes(kept), n)
			p.Settle()
		}}
		first.FS = fs
		var acked []int
		var err error
		for i := 0; i < n && err == nil; i++ {
			if err = first.Keep(t.Context(), result(i, 1, epoch)); err == nil {
				acked = append(acked, i)
			}
			first.Wait()
		}
		first.Settle()
		if fs.f != nil {
			if at < 4*n {
				t.Errorf("only %d operations", at)
			}
			break
		}
		if err != nil && !errs.Is(err, errs.Lost) {
			t.Fatalf("before %d: %v, want lost", at, err)
		}
		for _, i := range acked {
			if !slices.Contains(saw, i) {
				t.Errorf("before %d: task %d was acknowledged, the second saw %v", at, i, saw)
			}
		}
		_, _, kept := takeOver(t, store, n+1)
		third := indexes(kept)
		slices.Sort(third)
		if !slices.Equal(third, saw) {
			t.Errorf("before %d: the second saw %v, the third sees %v", at, saw, third)
		}
		if all, err := publisher(store).LoadTasks(t.Context(), aJob(n+1), nil); err != nil || len(all) != len(saw) {
			t.Errorf("before %d: whoever only reads sees %d of %d, %v", at, len(all), len(saw), err)
		}
		if names, _ := segments(t, store); len(names) > 0 && err != nil {
			late++
		}
	}
	if late == 0 {
		t.Error("the first was never late")
	}
}

// TestForgetting: what was forgotten stays so, though it be told again, to this coordinator or the next one, and though it was never kept.
func TestForgetting(t *testing.T) {
	store := mem.New()
	p, epoch, _ := takeOver(t, store, 40)
	if err := p.Forget(t.Context(), result(7, 3, epoch).Attempt, epoch); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		a := result(i, 1, epoch)
		if err := errors.Join(p.Keep(t.Context(), a), p.Keep(t.Context(), result(i, 2, epoch)), p.Forget(t.Context(), a.Attempt, epoch)); err != nil {
			t.Fatal(err)
		}
		if err := p.Keep(t.Context(), a); !errs.Is(err, errs.Preempted) {
			t.Errorf("what was forgotten is kept: %v", err)
		}
	}
	p.Wait()
	next, _, kept := takeOver(t, store, 40)
	if len(kept) != 40 {
		t.Fatalf("%d tasks", len(kept))
	}
	for _, m := range kept {
		if m.Attempt.Number != 2 {
			t.Errorf("%v was forgotten", m.Attempt)
		}
	}
	for _, m := range []mr.Manifest{result(7, 3, epoch), result(8, 1, epoch)} {
		if err := next.Keep(t.Context(), m); !errs.Is(err, errs.Preempted) {
			t.Errorf("the next coordinator keeps %v, which was forgotten: %v", m.Attempt, err)
		}
	}
	// Another coordinator, which has this from its predecessor, may take it back.
	if err := next.Forget(t.Context(), kept[0].Attempt, kept[0].Epoch); err != nil {
		t.Fatal(err)
	}
	next.Settle()
	if _, _, kept := takeOver(t, store, 40); len(kept) != 39 {
		t.Errorf("%d tasks after one was taken back", len(kept))
	}
	// Whoever was overtaken may not remove files.
	if err := p.Forget(t.Context(), result(39, 7, epoch).Attempt, epoch); !errs.Is(err, errs.Lost) {
		t.Errorf("the first forgets: %v, want lost", err)
	}
}

// TestDamagedSeal: what was kept before it runs again; it is no end.
func TestDamagedSeal(t *testing.T) {
	for name, content := range map[string]string{"flipped": strings.Repeat("0", 64) + `
{"p":["0000000001-0000000001"]}`, "torn": "00"} {
		fs := mem.New()
		p, epoch, _ := takeOver(t, fs, 4)
		if err := p.Keep(t.Context(), result(1, 1, epoch)); err != nil {
			t.Fatal(err)
		}
		p, epoch, kept := takeOver(t, fs, 4)
		if err := p.Keep(t.Context(), result(2, 1, epoch)); err != nil || len(kept) != 1 {
			t.Fatal(len(kept), err)
		}
		seal := dfs.Path(fmt.Sprintf("job/seals/%010d", epoch))
		if err := errors.Join(fs.Remove(t.Context(), seal), dfs.WriteFile(t.Context(), fs, seal, []byte(content))); err != nil {
			t.Fatal(err)
		}
		core, warned := observer.New(zap.WarnLevel)
		next := &commit.Publisher{FS: fs, Root: "job", Log: zap.New(core)}
		_, _, kept, err := next.TakeOver(t.Context(), aJob(4))
		if err != nil || !slices.Equal(indexes(kept), []int{2}) || warned.Len() != 1 {
			t.Errorf("%s: tasks %v, %v, %d warnings", name, indexes(kept), err, warned.Len())
		}
	}
}

// TestHungStore: who waits for a store that hangs may give up, and nothing stays behind.
func TestHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		first, epoch, _ := takeOver(t, store, 4)
		fs := fault.New(store, fault.Options{Rules: []fault.Rule{{Do: fault.Hang, Op: fault.Commit, Nth: 1}}})
		first.FS = fs
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for i := range 3 {
			go func() { ended <- first.Keep(ctx, result(i, 1, epoch)) }()
		}
		synctest.Wait()
		cancel()
		for range 3 {
			if err := <-ended; !errs.Is(err, errs.Canceled) {
				t.Errorf("got %v, want canceled", err)
			}
		}
		if err := first.Keep(t.Context(), result(3, 1, epoch)); err != nil {
			t.Errorf("the next: %v", err)
		}
		first.Settle()
		if leaks := fs.Leaks(); len(leaks) > 0 {
			t.Error(strings.Join(leaks, "\n"))
		}
		if _, _, kept := takeOver(t, store, 4); !slices.Contains(indexes(kept), 3) {
			t.Errorf("kept are %v", indexes(kept))
		}
	})
}

// TestTwoPublishersOfOneEpoch do not hinder each other.
func TestTwoPublishersOfOneEpoch(t *testing.T) {
	fs := mem.New()
	for i := range 30 {
		if err := publisher(fs).Keep(t.Context(), result(i, 1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, kept := takeOver(t, fs, 30); len(kept) != 30 {
		t.Errorf("%d tasks of 30", len(kept))
	}
}

// TestForgettingNothingLooks for whoever has taken over, also when a segment that was written beside has failed.
func TestForgettingNothingLooks(t *testing.T) {
	under := mem.New()
	fs := fault.New(under, fault.Options{Rules: []fault.Rule{{Do: fault.Fail, Op: fault.Create, Kind: errs.NoSpace, Times: -1}}})
	p := &commit.Publisher{FS: fs, Root: "job"}
	epoch, err := p.ClaimEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&commit.Publisher{FS: under, Root: "job"}).ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, forgot := p.ForgetBeside(t.Context(), result(1, 1, epoch), result(2, 1, epoch).Attempt, epoch)
	if !errs.Is(kept, errs.NoSpace) || !errs.Is(forgot, errs.Lost) {
		t.Errorf("the segment: %v; what there is nothing of: %v", kept, forgot)
	}
}
