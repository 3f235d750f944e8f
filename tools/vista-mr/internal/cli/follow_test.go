package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestAnInterruptEndsTheFollowing, not the job: what is said names the job, whether a request was on its way or not.
func TestAnInterruptEndsTheFollowing(t *testing.T) {
	for _, during := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if during {
				cancel(exit.Interrupted{Signal: syscall.SIGINT})
				<-r.Context().Done()
				return
			}
			_, _ = w.Write([]byte(`{"job":{"id":"foods-1","state":"running"}}`)) // who does not get it fails the test
			cancel(exit.Interrupted{Signal: syscall.SIGINT})
		}))
		var stderr bytes.Buffer
		a := &app{Process: process(&stderr)}
		j, err := a.follow(ctx, &cluster.Client{URL: server.URL}, "foods-1", during)
		err = exit.Cause(ctx, err)
		server.Close()
		if j.Job.ID != "foods-1" || exit.Code(err) != 130 {
			t.Errorf("%+v, %v", j, err)
		}
		if f := describe(err); f.ID != "E-INTERRUPTED" || !strings.Contains(f.Next, "vista-mr wait foods-1 follows") || strings.Contains(f.Next, "same command") {
			t.Errorf("%+v", f)
		}
	}
}
