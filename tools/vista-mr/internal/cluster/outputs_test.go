package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestOneJobOfAnOutput: while a job has an output, or waits for its turn, no other one of the tracker gets it, in whatever words.
func TestOneJobOfAnOutput(t *testing.T) {
	d := &drive{ends: map[string]func(context.Context) (ending, error){"a": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() }}}
	m := newJobs(t, mem.New(), d, 1)
	submit := func(name, user, output string) (Job, error) {
		return m.submit(t.Context(), Request{Name: name, Text: "x", User: user, Output: output})
	}
	busy := func(err error, says string) {
		t.Helper()
		var e *errs.Error
		if !errors.As(err, &e) || e.ID != "E-OUTPUT-BUSY" || e.Kind != errs.Exist || !strings.Contains(err.Error()+e.Fix, says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
	a, err := submit("a", "ann", "s3://b/out")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, m, a.ID, Running)
	_, err = submit("a", "ann", "s3://b/out")
	busy(err, "this job is running already, as "+a.ID)
	for _, same := range []string{"s3://b/out", "s3a://b//x/../out/", "S3://b/out"} {
		_, err = submit("b", "ben", same)
		busy(err, "vista-mr wait "+a.ID)
	}
	waits, err := submit("a", "ben", "/data/out")
	if err != nil {
		t.Fatal(err)
	}
	_, err = submit("b", "ann", "file:///data/./out")
	busy(err, waits.ID+", which is queued")
	if _, err := m.end(a.ID, "on request"); err != nil {
		t.Fatal(err)
	}
	wait(t, m, a.ID, Killed)
	if _, err := submit("a", "ann", "s3://b/out"); err != nil {
		t.Errorf("after its end: %v", err)
	}
	// Of many that come at once one is taken.
	var together sync.WaitGroup
	all := make([]error, 20)
	for i := range all {
		together.Go(func() { _, all[i] = submit("c", "ann", "hdfs://nn/out") })
	}
	together.Wait()
	taken := 0
	for _, err := range all {
		if err == nil {
			taken++
			continue
		}
		busy(err, "")
	}
	if taken != 1 || len(m.coming) != 0 {
		t.Errorf("%d of %d were taken, %v are coming", taken, len(all), m.coming)
	}
}
