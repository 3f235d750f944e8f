package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// post hands a job in as a driver does, and returns all lines of the answer but signs of life.
func post(t *testing.T, s *Runs, spec *mr.JobSpec) []line {
	t.Helper()
	body, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, RunPath, bytes.NewReader(body)))
	var out []line
	for in := json.NewDecoder(w.Body); in.More(); {
		var l line
		if err := in.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Update != nil || l.Restored != nil || l.Ended {
			out = append(out, l)
		}
	}
	return out
}

func newRuns(t *testing.T) *Runs {
	t.Helper()
	r, err := mr.NewRegistry(kinds(func(context.Context, *mr.TaskSpec) {})...)
	if err != nil {
		t.Fatal(err)
	}
	return &Runs{Tracker: tracker.New(tracker.Options{Registry: r})}
}

// TestAKilledRunIsNotJoined: a driver that hands the same job in again while the killed one is still ending gets a run of its own.
func TestAKilledRunIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRuns(t)
		defer s.Close()
		defer s.Tracker.Close()
		var opened atomic.Int32
		ends := make(chan struct{})
		s.Open = func(ctx context.Context, _ string) (dfs.FS, error) {
			if opened.Add(1) > 1 {
				return nil, errors.New("the second run")
			}
			<-ends // it takes its time to end
			return nil, ctx.Err()
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if l := post(t, s, testJob("a", 1)); len(l) != 1 || !l[0].Ended || l[0].Error == nil {
				t.Errorf("the killed one hears %+v", l)
			}
		})
		synctest.Wait()
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, RunPath+"/a", nil))
		wg.Go(func() {
			if l := post(t, s, testJob("a", 1)); len(l) != 1 || l[0].Error == nil || !strings.Contains(l[0].Error.Error(), "the second run") {
				t.Errorf("the next one hears %+v", l)
			}
		})
		synctest.Wait() // it waits for the end of the first
		close(ends)
		wg.Wait()
	})
}

// TestStoppingWaitsForNoStore: a store that does not answer while a run is being written down, or taken over, holds up nobody else,
// and not the tracker's end.
func TestStoppingWaitsForNoStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRuns(t)
		claimed, stopped := make(chan struct{}), make(chan struct{})
		s.Began = func(_ string, spec *mr.JobSpec) error {
			if spec.ID != "claims" {
				return nil
			}
			close(claimed)
			<-stopped
			return errors.New("the tracker stops")
		}
		s.Open = func(ctx context.Context, _ string) (dfs.FS, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if l := post(t, s, testJob("claims", 1)); len(l) != 1 || l[0].Error == nil || l[0].Closed {
				t.Errorf("a refused one hears %+v", l)
			}
		})
		wg.Go(func() {
			if l := post(t, s, testJob("opens", 1)); len(l) != 1 || !l[0].Closed {
				t.Errorf("one that was to run hears %+v, want that the tracker has ended", l)
			}
		})
		<-claimed
		synctest.Wait()
		s.Stop()
		if l := post(t, s, testJob("late", 1)); len(l) != 1 || l[0].Error == nil || !errs.Is(l[0].Error, errs.Unreachable) {
			t.Errorf("a new one hears %+v", l)
		}
		close(stopped) // as the daemon's jobs do when they are closed
		s.Tracker.Close()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			s.Close()
		}()
		select {
		case <-closed:
		case <-time.After(time.Hour):
			t.Fatal("it waits for the store")
		}
		wg.Wait()
	})
}

// TestEveryDriverHearsWhatWasRestored, however much it is, and also the one that comes when the run is under way.
func TestEveryDriverHearsWhatWasRestored(t *testing.T) {
	const n = 2500
	c := newCluster(t, kinds(func(context.Context, *mr.TaskSpec) {}))
	job := testJob("a", n+1) // no worker comes: it does not end
	pub := &commit.Publisher{FS: c.store, Root: "a"}
	epoch, _, _, err := pub.TakeOver(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	var keeps sync.WaitGroup
	for i := range n {
		keeps.Go(func() {
			if err := pub.Keep(t.Context(), mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "write", Index: i}, Number: 1}, Epoch: epoch}); err != nil {
				t.Error(err)
			}
		})
	}
	keeps.Wait()
	pub.Settle()
	body, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"the first driver", "one that takes its place"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		heard := 0
		var at time.Time
		l, err := c.remote().follow(ctx, body, func(u tracker.Update) {
			if u.Kind == tracker.TaskRestored && u.Manifest.Attempt.Task.Index < n {
				if heard++; heard == n {
					cancel()
				}
			}
		}, &at)
		cancel()
		if l != nil || heard != n {
			t.Errorf("%s: %d tasks, %v, %v", who, heard, l, err)
		}
	}
}

// TestUpdatesArriveWhole: a driver hears all that a tracker's observer does.
func TestUpdatesArriveWhole(t *testing.T) {
	id := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: 2}, Number: 1}
	want := tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "p", Attempt: id, Worker: "w", Tasks: 3,
		Manifest: &mr.Manifest{Attempt: id, Seconds: 4}, Published: &mr.PhaseManifest{Phase: "p"}, Done: 5, Total: 6, Round: 7, Seconds: 8, Peak: 9, Err: errs.Of("x", errs.E("y", errs.NoMemory, "", errors.New("z")))}
	b, err := json.Marshal(line{Update: toWire(want)})
	if err != nil {
		t.Fatal(err)
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		t.Fatal(err)
	}
	got := l.Update.update()
	if got.Err == nil || got.Err.Error() != want.Err.Error() {
		t.Errorf("%v, want %v", got.Err, want.Err)
	}
	got.Err, want.Err = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Err" {
			t.Errorf("%s is not tried", v.Type().Field(i).Name)
		}
	}
}

// TestSlowDriversMissProgressOnly.
func TestSlowDriversMissProgressOnly(t *testing.T) {
	w := newWatcher()
	r := &run{watchers: map[*watcher]bool{w: true}}
	const n = 3 * behind
	for range n {
		r.tell(tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "p"})
		r.tell(tracker.Update{Kind: tracker.PhaseProgress, Phase: "p"})
	}
	heard := map[tracker.UpdateKind]int{}
	for _, l := range r.take(w) {
		heard[l.Update.Kind]++
	}
	if heard[tracker.AttemptSucceeded] != n || heard[tracker.PhaseProgress] == 0 || heard[tracker.PhaseProgress] > behind {
		t.Errorf("of %d each it hears %v", n, heard)
	}
}
