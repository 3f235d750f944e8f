package dfstest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func wantInvalid(t *testing.T, what string, err error) {
	t.Helper()
	want(t, what, err, errs.Invalid)
}

// all calls every operation on one file.
func all(t *testing.T, fs dfs.FS, p dfs.Path, check func(t *testing.T, what string, err error)) {
	t.Helper()
	allWith(t, t.Context(), fs, p, check)
}

func allWith(t *testing.T, ctx context.Context, fs dfs.FS, p dfs.Path, check func(t *testing.T, what string, err error)) {
	t.Helper()
	f, err := fs.Open(ctx, p)
	if err == nil {
		_ = f.Close() // the check fails anyway
	}
	check(t, fmt.Sprintf("open %q", p), err)
	w, err := fs.Create(ctx, p)
	if err == nil {
		_ = w.Abort() // the check fails anyway
	}
	check(t, fmt.Sprintf("create %q", p), err)
	check(t, fmt.Sprintf("claim %q", p), fs.Claim(ctx, p))
	_, err = fs.Stat(ctx, p)
	check(t, fmt.Sprintf("stat %q", p), err)
	check(t, fmt.Sprintf("remove %q", p), fs.Remove(ctx, p))
}

func wantListInvalid(t *testing.T, fs dfs.FS, dir dfs.Path) {
	t.Helper()
	n := 0
	for _, err := range fs.List(t.Context(), dir) {
		want(t, fmt.Sprintf("list %q", dir), err, errs.Invalid)
		n++
	}
	if n != 1 {
		t.Errorf("list %q: %d results, want one error", dir, n)
	}
}

// canceling: nothing happens after a cancel, and nothing half.
var canceling = []check{
	{"cancel before", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b", []byte("x"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, p := range []dfs.Path{"a/b", "a/c"} {
			allWith(t, ctx, fs, p, func(t *testing.T, what string, err error) {
				t.Helper()
				want(t, what, err, errs.Canceled)
			})
		}
		n := 0
		for _, err := range fs.List(ctx, "a") {
			want(t, "list", err, errs.Canceled)
			n++
		}
		if n != 1 {
			t.Errorf("list: %d results, want one error", n)
		}
		want(t, "remove all", dfs.RemoveAll(ctx, fs, "a"), errs.Canceled)
		wantList(t, fs, "", "a/b")
	}},
	{"cancel before commit", func(t *testing.T, _ Case, fs dfs.FS) {
		w, err := fs.Create(t.Context(), "a/b")
		must(t, "create", err)
		_, err = w.Write(pattern(1000))
		must(t, "write", err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, "commit", w.Commit(ctx), errs.Canceled)
		wantAbsent(t, fs, "a/b")
		must(t, "abort", w.Abort())
		wantAbsent(t, fs, "a/b")
		write(t, fs, "a/b", []byte("x"))
		wantContent(t, fs, "a/b", []byte("x"))
	}},
	{"cancel after create", func(t *testing.T, _ Case, fs dfs.FS) {
		// The writer outlives the ctx that made it, as long as Commit has a good one.
		ctx, cancel := context.WithCancel(t.Context())
		w, err := fs.Create(ctx, "a/b")
		must(t, "create", err)
		cancel()
		if _, err = w.Write(pattern(1000)); err != nil {
			want(t, "write", err, errs.Canceled)
			must(t, "abort", w.Abort())
			wantAbsent(t, fs, "a/b")
			return
		}
		must(t, "commit", w.Commit(t.Context()))
		wantContent(t, fs, "a/b", pattern(1000))
	}},
	{"cancel during commit", func(t *testing.T, c Case, fs dfs.FS) {
		for i := range c.Racers {
			p := dfs.Path(fmt.Sprintf("a/%d", i))
			data := pattern(200_000)
			w, err := fs.Create(t.Context(), p)
			must(t, "create", err)
			_, err = w.Write(data)
			must(t, "write", err)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(cancel)
			err = w.Commit(ctx)
			wg.Wait()
			if err != nil {
				want(t, "commit", err, errs.Canceled)
				must(t, "abort", w.Abort())
			}
			if _, statErr := fs.Stat(t.Context(), p); err == nil || statErr == nil {
				wantContent(t, fs, p, data)
			}
		}
	}},
	{"cancel during list", func(t *testing.T, _ Case, fs dfs.FS) {
		const n = 3000 // more than any store returns at once
		claimMany(t, fs, n, func(i int) dfs.Path { return dfs.Path(fmt.Sprintf("f/%d/%d", i%3, i)) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen, failed := 0, 0
		for _, err := range fs.List(ctx, "f") {
			if err != nil {
				want(t, "list", err, errs.Canceled)
				failed++
				continue
			}
			seen++
			cancel()
		}
		if failed != 1 || seen == 0 || seen >= n {
			t.Errorf("%d files and %d errors; want fewer than %d files and then one error", seen, failed, n)
		}
	}},
}
