package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuietOverMem(t *testing.T) {
	dfstest.Run(t, dfstest.Case{New: func(testing.TB) dfs.FS { return New(mem.New(), Options{}) }})
}

func TestQuietOverLocal(t *testing.T) {
	dfstest.Run(t, dfstest.Case{
		New: func(t testing.TB) dfs.FS { return New(local.New(t.TempDir(), false), Options{}) },
		// Rules that change no outcome.
		Other: func(_ testing.TB, fs dfs.FS) dfs.FS {
			return New(fs.(*FS).Unwrap(), Options{Rules: rules(t, "delay any by=1s; fail any path=elsewhere/*; fail write nth=1000000"),
				Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
		},
	})
}

func rules(t testing.TB, text string) []Rule {
	t.Helper()
	r, err := ParseRules(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func faulty(t testing.TB, text string) (*FS, *mem.FS) {
	under := mem.New()
	return New(under, Options{Rules: rules(t, text)}), under
}

func wantKind(t *testing.T, what string, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("%s: got %v (kind %v), want kind %v", what, err, errs.KindOf(err), kind)
	}
}

func wantFiles(t *testing.T, fs dfs.FS, want ...string) {
	t.Helper()
	var got []string
	for info, err := range fs.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d", info.Path, info.Size))
	}
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestEveryOperationFails(t *testing.T) {
	for op := Open; op < ops; op++ {
		fs, under := faulty(t, fmt.Sprintf("fail %v path=a/* kind=corrupt", op))
		if err := dfs.WriteFile(t.Context(), under, "a/old", []byte("old")); err != nil {
			t.Fatal(err)
		}
		got := map[Op]error{}
		f, err := fs.Open(t.Context(), "a/old")
		if got[Open] = err; err == nil {
			_, got[Read] = f.ReadAt(make([]byte, 3), 0)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		w, err := fs.Create(t.Context(), "a/new")
		if got[Create] = err; err == nil {
			_, got[Write] = w.Write([]byte("new"))
			got[Commit] = w.Commit(t.Context())
			got[Abort] = w.Abort()
		}
		got[Claim] = fs.Claim(t.Context(), "a/claim")
		_, got[Stat] = fs.Stat(t.Context(), "a/old")
		got[List] = dfs.RemoveAll(t.Context(), fs, "a/sub")
		got[Remove] = fs.Remove(t.Context(), "a/old")
		for o, err := range got {
			// A writer whose Write failed refuses Commit with the same kind.
			if o == op || o == Commit && op == Write {
				wantKind(t, fmt.Sprintf("rule for %v, %v", op, o), err, errs.Corrupt)
			} else if o != List && err != nil {
				t.Errorf("rule for %v, %v: %v", op, o, err)
			}
		}
		if _, ok := got[op]; !ok {
			t.Errorf("%v was not tried", op)
		}
		if leaks := fs.Leaks(); len(leaks) > 0 {
			t.Errorf("rule for %v: leaks %q", op, leaks)
		}
		_, err = under.Stat(t.Context(), "a/new")
		if visible := err == nil; visible != (op != Create && op != Write && op != Commit) {
			t.Errorf("rule for %v: new file visible %v", op, visible)
		}
		if fs.CountOp(op) == 0 || len(fs.Hits()) == 0 {
			t.Errorf("rule for %v: counted %d, hits %v", op, fs.CountOp(op), fs.Hits())
		}
	}
}

func TestFailList(t *testing.T) {
	fs, under := faulty(t, "fail list path=a nth=1; torn list path=a nth=1 after=2")
	for _, p := range []dfs.Path{"a/1", "a/2", "a/3"} {
		if err := under.Claim(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for round, want := range []int{0, 3} {
		seen, failed := 0, 0
		for _, err := range fs.List(t.Context(), "a") {
			if err != nil {
				wantKind(t, "list", err, errs.Transient)
				failed++
				continue
			}
			seen++
		}
		if seen != want || failed != 1-want/3 {
			t.Errorf("round %d: %d files and %d errors", round, seen, failed)
		}
	}
	fs, _ = faulty(t, "torn list after=2")
	fs.under = under
	seen := 0
	for _, err := range fs.List(t.Context(), "a") {
		if err != nil {
			wantKind(t, "torn list", err, errs.Transient)
			break
		}
		seen++
	}
	if seen != 2 {
		t.Errorf("a torn list showed %d files, want 2", seen)
	}
}

func TestTornWriteIsNeverCommitted(t *testing.T) {
	fs, under := faulty(t, "torn write nth=2 after=3 kind=no-space")
	w, err := fs.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("12345")); n != 5 || err != nil {
		t.Fatalf("first write: %d, %v", n, err)
	}
	n, err := w.Write([]byte("67890"))
	if n != 3 {
		t.Errorf("wrote %d bytes, want 3", n)
	}
	wantKind(t, "torn write", err, errs.NoSpace)
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a writer that has failed goes on")
	}
	wantKind(t, "commit", w.Commit(t.Context()), errs.NoSpace)
	if got := fs.Leaks(); len(got) != 1 || !strings.Contains(got[0], "writer of a") {
		t.Errorf("leaks %q, want the writer", got)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if got := fs.Leaks(); len(got) > 0 {
		t.Errorf("leaks %q", got)
	}
	wantFiles(t, under)
}

func TestReads(t *testing.T) {
	fs, under := faulty(t, "torn read nth=1 after=4; flip read nth=2 # a comment")
	data := []byte("0123456789")
	if err := dfs.WriteFile(t.Context(), under, "a", data); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	n, err := f.ReadAt(buf, 0)
	if n != 4 || string(buf[:n]) != "0123" || errors.Is(err, io.EOF) {
		t.Errorf("torn: %q, %v", buf[:n], err)
	}
	wantKind(t, "torn", err, errs.Transient)
	if n, err := f.ReadAt(buf, 0); n != 10 || err != nil && err != io.EOF || bytes.Equal(buf, data) {
		t.Errorf("flipped: %q, %v; want one bit wrong and no error", buf[:n], err)
	}
	if n, err := f.ReadAt(buf, 0); n != 10 || err != nil && err != io.EOF || !bytes.Equal(buf, data) {
		t.Errorf("third read: %q, %v; want it whole: the damage was on the way", buf[:n], err)
	}
	if got := fs.Leaks(); len(got) != 1 {
		t.Errorf("leaks %q, want the file", got)
	}
	if err := f.Close(); err != nil || len(fs.Leaks()) > 0 {
		t.Errorf("close: %v, leaks %q", err, fs.Leaks())
	}
}

func TestLostReplies(t *testing.T) {
	fs, under := faulty(t, "lose any times=3")
	wantKind(t, "commit", dfs.WriteFile(t.Context(), fs, "a", []byte("x")), errs.Transient)
	wantKind(t, "claim", fs.Claim(t.Context(), "b"), errs.Transient)
	wantFiles(t, under, "a 1", "b 0")
	wantKind(t, "claim again", fs.Claim(t.Context(), "b"), errs.Exist) // an error of its own, not a lost reply
	if err := fs.Remove(t.Context(), "b"); err != nil {
		t.Errorf("the rule is used up, but: %v", err)
	}
	if leaks := fs.Leaks(); len(leaks) > 0 {
		t.Errorf("leaks %q", leaks)
	}
}

func TestDownAndFull(t *testing.T) {
	fs, under := faulty(t, "full claim nth=2; down stat nth=2")
	if err := fs.Claim(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "full", fs.Claim(t.Context(), "b"), errs.NoSpace)
	wantKind(t, "still full", fs.Claim(t.Context(), "c"), errs.NoSpace)
	wantKind(t, "for files too", dfs.WriteFile(t.Context(), fs, "d", nil), errs.NoSpace)
	if _, err := fs.Stat(t.Context(), "a"); err != nil {
		t.Errorf("a full disk can be read, but: %v", err)
	}
	_, err := fs.Stat(t.Context(), "a")
	wantKind(t, "down", err, errs.Unreachable)
	_, err = fs.Open(t.Context(), "a")
	wantKind(t, "still down", err, errs.Unreachable)
	wantKind(t, "down and full", fs.Claim(t.Context(), "e"), errs.Unreachable)
	wantFiles(t, under, "a 0")
	if got, want := fmt.Sprint(fs.Hits()), "[claim b stat a]"; got != want {
		t.Errorf("hits %s, want %s", got, want)
	}
}

func TestDelaysAndHangs(t *testing.T) {
	var slept []time.Duration
	under := mem.New()
	fs := New(under, Options{Rules: rules(t, "delay claim by=50ms; delay any path=s* by=1s; hang stat"), Sleep: func(ctx context.Context, d time.Duration) error {
		slept = append(slept, d)
		return ctx.Err()
	}})
	for _, p := range []dfs.Path{"slow", "fast"} {
		if err := fs.Claim(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	if want := []time.Duration{1050 * time.Millisecond, 50 * time.Millisecond}; !slices.Equal(slept, want) {
		t.Errorf("slept %v, want %v", slept, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, "delayed after cancel", fs.Claim(ctx, "later"), errs.Canceled)
	wantFiles(t, under, "fast 0", "slow 0")
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := fs.Stat(ctx, "fast")
		done <- err
	}()
	cancel()
	wantKind(t, "hanging", <-done, errs.Canceled)
}

func TestSystemClock(t *testing.T) {
	fs, _ := faulty(t, "delay claim by=1ns; delay stat by=10h")
	if err := fs.Claim(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fs.Stat(ctx, "a")
	wantKind(t, "stat", err, errs.Canceled)
}

func TestShareDoesNotDependOnOrder(t *testing.T) {
	failed := func(seed uint64, reverse bool) (out []string) {
		fs := New(mem.New(), Options{Rules: rules(t, "fail claim p=0.25"), Seed: seed})
		for i := range 400 {
			if reverse {
				i = 399 - i
			}
			p := dfs.Path(fmt.Sprintf("f/%d", i))
			if fs.Claim(t.Context(), p) != nil {
				out = append(out, string(p))
			}
		}
		slices.Sort(out)
		return out
	}
	a, b, c := failed(1, false), failed(1, true), failed(2, false)
	if !slices.Equal(a, b) {
		t.Error("the order decides what fails")
	}
	if slices.Equal(a, c) {
		t.Error("the seed decides nothing")
	}
	if len(a) < 70 || len(a) > 130 {
		t.Errorf("%d of 400 failed, want about 100", len(a))
	}
}

func TestTraceAndCount(t *testing.T) {
	fs := New(mem.New(), Options{Trace: true})
	if err := dfs.WriteFile(t.Context(), fs, "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := dfs.ReadFile(t.Context(), fs, "a", 10); err != nil {
		t.Fatal(err)
	}
	if err := dfs.RemoveAll(t.Context(), fs, ""); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(fs.Trace()), "[create a write a commit a open a read a list  remove a]"; got != want {
		t.Errorf("trace %s, want %s", got, want)
	}
	for a, want := range map[Action]int{Fail: 7, Down: 7, Torn: 3, Lose: 2, Hang: 5, Flip: 1, Full: 3} {
		if got := fs.Count(a); got != want {
			t.Errorf("%d operations for %v, want %d", got, a, want)
		}
	}
}
