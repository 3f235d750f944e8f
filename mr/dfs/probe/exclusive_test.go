package probe_test

import (
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestExclusive: a store that ignores conditions is refused, another one is not, and nothing is left in either.
func TestExclusive(t *testing.T) {
	if err := probe.Exclusive(t.Context(), mem.New(), "out"); err != nil {
		t.Errorf("in memory: %v", err)
	}
	for _, ignores := range []bool{false, true} {
		fake := s3test.NewFake(t)
		fake.IgnoresPut = ignores
		err := probe.Exclusive(t.Context(), s3test.FS(t, fake.Config()), "out")
		var e *errs.Error
		if ignores != (errors.As(err, &e) && e.ID == "E-S3-LACKING") || !ignores && err != nil {
			t.Errorf("conditions are ignored: %v; got %v", ignores, err)
		}
		if left := fake.Keys(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		n := 0
		for _, calls := range fake.Calls() {
			n += calls
		}
		if n > 10 {
			t.Errorf("%d requests", n)
		}
	}
}
