package run

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
)

// TestRuntimeFitsItsJobs: the runtime may allocate what the first job's plan gives it and all that is left for others beside it; that
// changes when nobody uses it any more.
func TestRuntimeFitsItsJobs(t *testing.T) {
	if _, err := ort.FindLibrary(); err != nil && !strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	r := &runtimes{memory: 1000 << 20}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	use := func(s mr.Settings, want int64) func() error {
		t.Helper()
		rt, release, err := r.use(s)
		if err != nil {
			t.Fatal(err)
		}
		if rt == nil || r.o.ArenaLimit != want {
			t.Errorf("it may allocate %d, want %d", r.o.ArenaLimit, want)
		}
		return release
	}
	large, small := mr.Settings{Memory: 900 << 20, Native: 600 << 20}, mr.Settings{Memory: 100 << 20, Native: 60 << 20}
	first := use(large, 700<<20)
	second := use(small, 700<<20)
	if large.Native+small.Native > 700<<20 {
		t.Error("two jobs that fit beside each other have not enough")
	}
	if err := errors.Join(first(), first()); err != nil {
		t.Error(err)
	}
	third := use(small, 700<<20) // somebody uses it still
	if err := errors.Join(second(), third()); err != nil {
		t.Error(err)
	}
	last := use(small, 960<<20)
	if err := last(); err != nil {
		t.Error(err)
	}
	if err := use(mr.Settings{}, 0)(); err != nil {
		t.Error(err)
	}
}
