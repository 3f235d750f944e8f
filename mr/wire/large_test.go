package wire

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// large is rounds whose sums or messages are large.
type large struct {
	sum    int
	opened *atomic.Int32
}

func (l large) Open(context.Context, mr.Task) (mr.Partition, error) {
	l.opened.Add(1)
	return l, nil
}
func (l large) Round(_ context.Context, _ int, _, dst []byte) ([]byte, error) {
	return append(dst, make([]byte, l.sum)...), nil
}
func (l large) Finish(context.Context, mr.Task, []byte) error { return nil }
func (l large) Close() error                                  { return nil }

type largeLoop struct{ message, round int }

func (l *largeLoop) Next(context.Context, []byte) ([]byte, bool, error) {
	l.round++
	if l.round > 1 {
		return nil, true, nil
	}
	return make([]byte, l.message), false, nil
}

// TestLargeFrameIsASignOfLife: a sum, or a round's message, takes longer than either side may be silent. Nobody is given up meanwhile,
// though nothing else can be said.
func TestLargeFrameIsASignOfLife(t *testing.T) {
	const size, rate = 3 << 20, 1 << 20
	timing := Timing{Beat: 20 * time.Millisecond, Silent: time.Second, Away: time.Second, Redial: 5 * time.Millisecond}
	for name, c := range map[string]struct{ sum, message, toTracker, toWorker int }{
		"a sum":     {sum: size, toTracker: rate},
		"a message": {message: size, toWorker: rate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits, most of the time
			var opened atomic.Int32
			k := mr.Kind{Name: "large", Rounds: func(json.RawMessage) (mr.Rounds, error) { return large{c.sum, &opened}, nil },
				Merge: func(a, _ []byte) ([]byte, error) { return a, nil },
				Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
					return &largeLoop{message: c.message}, nil
				}}
			cl := newClusterOn(t, []mr.Kind{k}, mem.New(), timing)
			cl.startWorker("w", 2)
			cl.net.slow(c.toTracker, c.toWorker)
			job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.RoundsPhase, Kind: "large", Tasks: 2}}}
			_, err := cl.tracker.Run(t.Context(), job, tracker.JobOptions{Store: cl.store, Publisher: &commit.Publisher{FS: cl.store}, Epoch: 1, Observe: func(u tracker.Update) {
				if u.Kind == tracker.AttemptFailed {
					t.Errorf("%s on %s: %v", u.Attempt, u.Worker, u.Err)
				}
			}})
			if err != nil || opened.Load() != 2 {
				t.Errorf("%d partitions were opened, want 2; %v", opened.Load(), err)
			}
		})
	}
}

// TestSlowWriteIsTold: what is launched behind a large message cannot be named by its worker yet, and is not missing.
func TestSlowWriteIsTold(t *testing.T) {
	told := make(chan struct{}, 1000)
	timing := quick.filled()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c := newConn(r.Context(), ws, timing)
		c.busy = func() { told <- struct{}{} }
		c.send(&frame{header: header{Kind: kindPing}, payload: make([]byte, 32<<20)})
		_ = c.run(func(*frame) error { return nil }, func() {}) // it ends with the other side
	}))
	defer srv.Close()
	ws, _, err := websocket.Dial(t.Context(), srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }() // the other side has ended
	for range 3 {
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody is told")
		}
	}
}
