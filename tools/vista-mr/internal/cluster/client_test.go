package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestFollowGivesUpAtOnce where waiting cannot help; the time limit tells it from patience.
func TestFollowGivesUpAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), Patience/2)
	defer cancel()
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = w.Write([]byte("<!doctype html>\n<p>Not here")) // who does not get it fails the test
	}))
	defer other.Close()
	for _, c := range []struct {
		name, url, want string
		known           bool
	}{
		{"nobody is there", nobody.URL, "refused", false},
		{"a certificate that is not trusted", tls.URL, "certificate", true},
		{"another server", other.URL, "it answers 405 Method Not Allowed", true},
	} {
		j, err := (&Client{URL: c.url}).Follow(ctx, "a-1", Following{Known: c.known, See: func(JobReply) {}})
		if ctx.Err() != nil || exit.Code(err) != 6 || j.ID != "a-1" {
			t.Fatalf("%s: %v, %+v", c.name, err, j)
		}
		if s := err.Error(); !strings.Contains(s, c.want) || strings.Contains(s, "<") {
			t.Errorf("%s: %s", c.name, s)
		}
	}
}

// TestFollowRidesOut that a tracker it has heard of is away, and says so once.
func TestFollowRidesOut(t *testing.T) {
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) {
		case 1:
			_, _ = w.Write([]byte(`{"job":{"id":"a-1","state":"running"}}`)) // who does not get it fails the test
		case 3: // a gateway's other answer
			http.NotFound(w, nil)
		case 2:
			http.Error(w, "no tracker\nbehind this", http.StatusBadGateway)
		default:
			_, _ = w.Write([]byte(`{"job":{"id":"a-1","state":"succeeded"}}`))
		}
	}))
	defer server.Close()
	var away []error
	j, err := (&Client{URL: server.URL}).Follow(t.Context(), "a-1", Following{See: func(JobReply) {}, Away: func(err error) { away = append(away, err) }})
	if err != nil || j.State != Succeeded || n.Load() != 4 {
		t.Fatalf("%+v, %v after %d requests", j, err, n.Load())
	}
	if len(away) != 1 || !errs.Is(away[0], errs.Unreachable) || !strings.HasSuffix(away[0].Error(), "502 Bad Gateway: no tracker") {
		t.Errorf("it says %v", away)
	}
}

// TestNamesThatLeadElsewhere: what cannot be a job's id or a task never becomes part of a URL, and an answer about something else counts as none.
func TestNamesThatLeadElsewhere(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"schemaVersion":1,"jobs":[]}`)) // who does not get it fails the test
	}))
	defer server.Close()
	c := &Client{URL: server.URL}
	for _, id := range []string{".", "..", "", "...", "a/b", "a b", "-a"} {
		_, jobErr := c.Job(t.Context(), id)
		_, killErr := c.Kill(t.Context(), id)
		_, logErr := c.Log(t.Context(), id, 0, io.Discard)
		_, logsErr := c.AttemptLogs(t.Context(), id, "extract/0")
		for _, err := range []error{jobErr, killErr, logErr, logsErr} {
			var e *errs.Error
			if !errors.As(err, &e) || e.ID != "E-NO-JOB" || exit.Code(err) != int(exit.Invalid) {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
	for _, target := range []string{"../../0", "../../..", "extract/../0", "extract/../0/1", "./0", "extract"} {
		if _, err := c.AttemptLogs(t.Context(), "a-1", target); exit.Code(err) != int(exit.Usage) || !strings.Contains(err.Error(), "names no task") {
			t.Errorf("%q: %v", target, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests", n)
	}
	if r, err := c.Job(t.Context(), "a-1"); exit.Code(err) != int(exit.Unreachable) {
		t.Errorf("%+v, %v", r, err)
	}
}
