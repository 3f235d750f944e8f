package mem_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var memCase = dfstest.Case{
	New:   func(testing.TB) dfs.FS { return mem.New() },
	Other: func(_ testing.TB, fs dfs.FS) dfs.FS { return fs },
}

func TestConformance(t *testing.T) { dfstest.Run(t, memCase) }

func BenchmarkFS(b *testing.B) { dfstest.Bench(b, memCase) }

func TestCrashKeepsWhatIsCommitted(t *testing.T) {
	fs := mem.New()
	if err := dfs.WriteFile(t.Context(), fs, "done", []byte("x")); err != nil {
		t.Fatal(err)
	}
	w, err := fs.Create(t.Context(), "open")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	after := fs.Crash()
	if err := w.Commit(t.Context()); err != nil { // the old world goes on without us
		t.Fatal(err)
	}
	if err := fs.Remove(t.Context(), "done"); err != nil {
		t.Fatal(err)
	}
	if _, err := after.Stat(t.Context(), "open"); !errs.Is(err, errs.NotExist) {
		t.Errorf("an open writer outlived the crash: %v", err)
	}
	got, err := dfs.ReadFile(t.Context(), after, "done", 10)
	if err != nil || string(got) != "x" {
		t.Errorf("got %q, %v; want what was committed", got, err)
	}
	if err := dfs.WriteFile(t.Context(), after, "new", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(t.Context(), "new"); !errs.Is(err, errs.NotExist) {
		t.Errorf("the clone writes into the original: %v", err)
	}
}
