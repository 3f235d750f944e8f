package dfs_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestSubConformance(t *testing.T) {
	for name, whole := range map[string]func(testing.TB) dfs.FS{
		"mem":   func(testing.TB) dfs.FS { return mem.New() },
		"local": func(t testing.TB) dfs.FS { return local.New(t.TempDir(), false) },
	} {
		t.Run(name, func(t *testing.T) {
			dfstest.Run(t, dfstest.Case{New: func(t testing.TB) dfs.FS {
				fs := whole(t)
				for _, p := range []dfs.Path{"z", "q/bc/x"} { // neighbours, which must not be seen
					if err := dfs.WriteFile(t.Context(), dfs.Sub(fs, "top"), p, []byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				return dfs.Sub(dfs.Sub(fs, "top"), "q/b")
			}})
		})
	}
}

func TestSub(t *testing.T) {
	whole := mem.New()
	one := dfs.Sub(whole, "jobs/one")
	for fs, p := range map[dfs.FS]dfs.Path{one: "a/b", dfs.Sub(whole, "jobs"): "one.b"} {
		if err := dfs.WriteFile(t.Context(), fs, p, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var got []dfs.Path
	for i, err := range one.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i.Path)
	}
	if !slices.Equal(got, []dfs.Path{"a/b"}) {
		t.Errorf("there is %q", got)
	}
	if i, err := one.Stat(t.Context(), "a/b"); err != nil || i.Path != "a/b" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := whole.Stat(t.Context(), "jobs/one/a/b"); err != nil {
		t.Error(err)
	}
	for _, p := range []dfs.Path{"", "..", "../one.b", "a//b"} {
		if _, err := one.Open(t.Context(), p); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if n := dfs.Name(one, "a/b"); n != "jobs/one/a/b" {
		t.Errorf("it is called %s", n)
	}
	if dfs.Sub(whole, "") != dfs.FS(whole) {
		t.Error("all of it is not itself")
	}
}

func TestURI(t *testing.T) {
	for _, c := range [][2]string{
		{"data/t.csv", "/a/b"}, {"/data/t.csv", "/a/b"}, {"file:///data/t.csv", "/a/b"}, {"FILE:///x", "/a/b"}, {"s3://bucket/x/y", "s3://bucket/a/b"},
		{"s3a://bucket", "s3a://bucket/a/b"}, {"hdfs:///x", "hdfs:///a/b"}, {"hdfs://host:8020/x", "hdfs://host:8020/a/b"}, {"a/s3://b/c", "/a/b"},
	} {
		if got := dfs.URI(c[0], "a/b"); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
}

func TestFolder(t *testing.T) {
	whole := mem.New()
	if err := dfs.WriteFile(t.Context(), whole, "a/b/c", nil); err != nil {
		t.Fatal(err)
	}
	m := dfs.NewMux(map[string]dfs.OpenFunc{"mem": func(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
		return whole, dfs.Path(u.Path[1:]), nil
	}})
	for _, uri := range []string{"mem://host/a/b", "mem://host/a/b/"} {
		fs, err := m.Folder(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.Stat(t.Context(), "c"); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	for _, uri := range []string{"mem://host/a/../b", "other://host/a"} {
		if _, err := m.Folder(t.Context(), uri); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// swept is a file system that is told where to sweep and which folders to remove.
type swept struct {
	dfs.FS
	sweeps, removes []dfs.Path
}

func (s *swept) Sweep(_ context.Context, dir dfs.Path) error {
	s.sweeps = append(s.sweeps, dir)
	return nil
}

// whole also removes folders at once.
type whole struct{ swept }

func (s *whole) RemoveFolder(_ context.Context, dir dfs.Path) error {
	s.removes = append(s.removes, dir)
	return nil
}

// What an adapter does in a way of its own it does for a part of it, too, in the right folder.
func TestSubSweepsAndRemovesFolders(t *testing.T) {
	a, b := &swept{FS: mem.New()}, &whole{swept{FS: mem.New()}}
	for _, fs := range []dfs.FS{a, b} {
		job := dfs.Sub(dfs.Sub(fs, "jobs"), "one")
		if err := dfs.WriteFile(t.Context(), job, "x/y", nil); err != nil {
			t.Fatal(err)
		}
		for _, f := range []func() error{
			func() error { return dfs.Sweep(t.Context(), job, "") },
			func() error { return dfs.RemoveAll(t.Context(), job, "x") },
			func() error { return dfs.RemoveAll(t.Context(), job, "") },
			func() error { return dfs.RemoveAll(t.Context(), fs, "") }, // the root is none of a store's folders
			func() error { return dfs.Sweep(t.Context(), mem.New(), "x") },
		} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	}
	if dfs.AtOnce(dfs.Sub(a, "x")) || !dfs.AtOnce(dfs.Sub(b, "x")) || dfs.AtOnce(mem.New()) {
		t.Error("which remove folders at once is not known")
	}
	if want := []dfs.Path{"jobs/one", "jobs/one/x", "jobs/one", ""}; !slices.Equal(a.sweeps, want) {
		t.Errorf("sweeps of %q, want %q", a.sweeps, want)
	}
	if _, err := a.Stat(t.Context(), "jobs/one/x/y"); !errs.Is(err, errs.NotExist) {
		t.Errorf("a file is left: %v", err)
	}
	if want := []dfs.Path{"jobs/one/x", "jobs/one"}; !slices.Equal(b.removes, want) || !slices.Equal(b.sweeps, []dfs.Path{"jobs/one", ""}) {
		t.Errorf("folders %q are removed, want %q; sweeps of %q", b.removes, want, b.sweeps)
	}
}

// hollow is a file system where folders stay: those that hold something are named.
type hollow struct {
	dfs.FS
	holds   map[dfs.Path]bool
	removed []dfs.Path
}

func (h *hollow) RemoveEmpty(_ context.Context, dir dfs.Path) error {
	if h.holds[dir] {
		return errs.E("remove", errs.Invalid, string(dir), errors.New("it is not empty"))
	}
	h.removed = append(h.removed, dir)
	return nil
}

// TestPrune: empty folders go up to the first that holds something, and no further than the root of the part.
func TestPrune(t *testing.T) {
	h := &hollow{FS: mem.New(), holds: map[dfs.Path]bool{"jobs/two/p": true}}
	jobs := dfs.Sub(h, "jobs")
	dfs.Prune(t.Context(), dfs.Sub(jobs, "one"), "p/0")
	dfs.Prune(t.Context(), jobs, "two/p/0")
	dfs.Prune(t.Context(), h, "")
	dfs.Prune(t.Context(), mem.New(), "a/b") // has no folders
	if want := []dfs.Path{"jobs/one/p/0", "jobs/one/p", "jobs/one", "jobs/two/p/0", ""}; !slices.Equal(h.removed, want) {
		t.Errorf("removed %q, want %q", h.removed, want)
	}
}
