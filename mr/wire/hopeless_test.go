package wire

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr/worker"
)

// TestHopeless: a worker that has never joined gives up where it is told that dialling cannot help; one that has joined goes on, and comes
// back when what was wrong is mended.
func TestHopeless(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "not here\nbut there", http.StatusNotFound)
	}))
	defer other.Close()
	c := newCluster(t, kinds(short))
	core, said := observer.New(zap.InfoLevel)
	start := func(ctx context.Context, url string) <-chan error {
		cl := &Client{URL: url, Hello: Hello{Worker: "w", Slots: 1}, Timing: quick, Log: zap.New(core), Hopeless: func(err error) error { return err }}
		w := worker.New(worker.Options{ID: "w", Report: cl.Report})
		t.Cleanup(w.Close)
		ended := make(chan error, 1)
		go func() { ended <- cl.Run(ctx, w) }()
		return ended
	}
	var status *StatusError
	if err := <-start(t.Context(), other.URL); !errors.As(err, &status) || status.Code != http.StatusNotFound || !strings.HasSuffix(err.Error(), "it answers 404 Not Found: not here") {
		t.Errorf("never joined: %v", err)
	}
	joined := func(times int) { // as the worker knows
		for said.FilterMessage("joined the tracker").Len() < times {
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := start(ctx, "http://"+c.net.addr())
	joined(1)
	c.stopTracker()
	before := asked.Load()
	c.net.to(other.Listener.Addr().String())
	for asked.Load() < before+3 {
		select {
		case err := <-ended:
			t.Fatalf("joined: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	c.startTracker()
	c.net.cut() // the connections to the other server
	joined(2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
