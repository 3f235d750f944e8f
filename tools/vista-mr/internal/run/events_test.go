package run

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// logOf is what users read of a log in pieces.
func logOf(t *testing.T, fs dfs.FS) string {
	t.Helper()
	b, err := dfs.ReadFile(t.Context(), fs, EventsFile, 1<<20)
	if err != nil && !errs.Is(err, errs.NotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// Each line is there once and in order, whatever the store does: commits that fail, and those whose reply is lost.
func TestLogInPieces(t *testing.T) {
	for _, do := range []fault.Action{fault.Fail, fault.Lose} {
		t.Run(fmt.Sprint(do), func(t *testing.T) {
			under := mem.New()
			fs := fault.New(under, fault.Options{Rules: []fault.Rule{{Do: do, Op: fault.Commit, Path: "store/*", P: 0.5}}, Seed: 1})
			var want strings.Builder
			lost := 0
			for epoch := range int64(3) {
				p := newPieces(t.Context(), dfs.Sub(fs, "store"), dfs.Sub(fs, "out"), epoch+1)
				var replayed strings.Builder
				if err := p.replay(func(r io.Reader) {
					if _, err := io.Copy(&replayed, r); err != nil {
						t.Error(err)
					}
				}); err != nil {
					t.Fatal(err)
				}
				if replayed.String() != want.String() {
					t.Errorf("run %d: replayed %q, want %q", epoch, replayed.String(), want.String())
				}
				p.start()
				for i := range 30 {
					line := fmt.Sprintf("%d %d\n", epoch, i)
					want.WriteString(line)
					if _, err := io.WriteString(p, line); err != nil {
						t.Fatal(err)
					}
					if i%3 == 0 && p.flush() != nil {
						lost++
					}
				}
				for range 100 { // a store that is back
					if err := p.Sync(); err == nil {
						break
					}
				}
				if err := errors.Join(p.Sync(), p.Close()); err != nil {
					t.Fatal(err)
				}
				if got := logOf(t, dfs.Sub(under, "out")); got != want.String() {
					t.Errorf("run %d: the log is %q, want %q", epoch, got, want.String())
				}
			}
			if lost == 0 {
				t.Error("nothing has failed")
			}
			if l := fs.Leaks(); len(l) > 0 {
				t.Errorf("open: %q", l)
			}
		})
	}
}

// A reader that gives up, as on damage, does not keep the log from going on.
func TestReplayThatStops(t *testing.T) {
	fs := mem.New()
	p := newPieces(t.Context(), fs, dfs.Sub(fs, "out"), 1)
	if _, err := p.Write([]byte(strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	if err := p.replay(func(r io.Reader) { _, _ = r.Read(make([]byte, 1)) }); err != nil {
		t.Error(err)
	}
}
