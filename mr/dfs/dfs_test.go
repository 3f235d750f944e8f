package dfs_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/fault/sweep"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPath(t *testing.T) {
	for _, c := range []struct {
		p         dfs.Path
		base, dir string
	}{
		{"", "", ""}, {"a", "a", ""}, {"a/b", "b", "a"}, {"a/b/c.d", "c.d", "a/b"},
	} {
		if string(c.p.Dir()) != c.dir || c.p.Base() != c.base || c.p.Dir().Join(c.p.Base()) != c.p {
			t.Errorf("%q: dir %q, base %q", c.p, c.p.Dir(), c.p.Base())
		}
	}
	if got := dfs.Path("").Join("a", "", "b/c", "d"); got != "a/b/c/d" {
		t.Errorf("join: %q", got)
	}
	for _, c := range []struct {
		p, dir dfs.Path
		want   bool
	}{
		{"a/b", "a", true}, {"a/b", "", true}, {"ab", "a", false}, {"a", "a", false}, {"a/b/c", "a/b", true}, {"a/bc", "a/b", false},
	} {
		if got := c.p.Under(c.dir); got != c.want {
			t.Errorf("%q under %q: %v", c.p, c.dir, got)
		}
	}
}

func FuzzCheckedPathStaysInside(f *testing.F) {
	for _, s := range []string{"", "a/b", "../a", "a//b", ".", "a/.../b", "/", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := dfs.Path(s).Check()
		bad := s != "" && (strings.ContainsRune(s, 0) || strings.Contains("/"+s+"/", "/../") || strings.Contains("/"+s+"/", "/./") || strings.Contains("/"+s+"/", "//"))
		if (err != nil) != bad {
			t.Errorf("Check(%q) = %v, want an error: %v", s, err, bad)
		}
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("Check(%q): kind %v", s, errs.KindOf(err))
		}
	})
}

func TestMux(t *testing.T) {
	fs := mem.New()
	open := func(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
		return fs, dfs.Path(u.Scheme + "|" + u.Host + "|" + u.Path), nil
	}
	schemes := map[string]dfs.OpenFunc{"file": open, "hdfs": open}
	mux := dfs.NewMux(schemes)
	schemes["s3"] = open // too late
	for uri, want := range map[string]string{
		"a/b.csv":                 "file||a/b.csv",
		"/a/100%?#.csv":           "file||/a/100%?#.csv",
		"file:///a/b":             "file||/a/b",
		"C:/a":                    "file||C:/a",
		"dir/x://y":               "file||dir/x://y",
		"HDFS://ns/a b/%20?x=1#f": "hdfs|ns|/a b/%20?x=1#f",
		"hdfs://host:8020/a":      "hdfs|host:8020|/a",
		"hdfs://ns":               "hdfs|ns|/",
	} {
		got, p, err := mux.Resolve(t.Context(), uri)
		if err != nil || got != dfs.FS(fs) || string(p) != want {
			t.Errorf("%s: %q, %v; want %q", uri, p, err, want)
		}
	}
	for _, uri := range []string{"", "a\x00b"} {
		if _, _, err := mux.Resolve(t.Context(), uri); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v, want invalid", uri, err)
		}
	}
	_, _, err := mux.Resolve(t.Context(), "s3://bucket/a")
	var e *errs.Error
	if !errors.As(err, &e) {
		t.Fatalf("unknown scheme: %v", err)
	}
	if e.Kind != errs.Invalid || e.ErrorID() != "E-URI-SCHEME" || !strings.Contains(e.Hint(), "file, hdfs") {
		t.Errorf("unknown scheme: %v, hint %q", err, e.Hint())
	}
}

func TestWriteFileUnderFaults(t *testing.T) {
	sweep.Run(t, sweep.Scenario{
		Run: func(t *testing.T, fs dfs.FS) error {
			return dfs.WriteFile(t.Context(), fs, "a/b", []byte("0123456789"))
		},
		Check: func(t *testing.T, r sweep.Result) {
			b, err := dfs.ReadFile(t.Context(), r.Store, "a/b", 100)
			there := err == nil
			if there && string(b) != "0123456789" || !there && !errs.Is(err, errs.NotExist) {
				t.Errorf("the file is %q, %v; want it whole or absent", b, err)
			}
			if r.Err == nil && !there {
				t.Error("no error and no file")
			}
		},
		Modes: []fault.Action{fault.Fail, fault.Torn, fault.Lose, fault.Down, fault.Full},
	})
}

func TestReadFileUnderFaults(t *testing.T) {
	sweep.Run(t, sweep.Scenario{
		Store: func(t *testing.T) dfs.FS {
			fs := mem.New()
			if err := dfs.WriteFile(t.Context(), fs, "a", []byte("0123456789")); err != nil {
				t.Fatal(err)
			}
			return fs
		},
		Run: func(t *testing.T, fs dfs.FS) error {
			b, err := dfs.ReadFile(t.Context(), fs, "a", 10)
			if err == nil && string(b) != "0123456789" {
				t.Errorf("got %q and no error", b)
			}
			return err
		},
		Check: func(t *testing.T, r sweep.Result) {
			if r.Err == nil && !r.Clean() {
				t.Error("the fault was not noticed")
			}
		},
		Modes: []fault.Action{fault.Fail, fault.Torn, fault.Down},
		Kind:  errs.Unreachable,
	})
}

func TestRemoveAllGoesOn(t *testing.T) {
	under := mem.New()
	for i := range 40 {
		if err := under.Claim(t.Context(), dfs.Path(fmt.Sprintf("a/%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	fs := fault.New(under, fault.Options{Rules: []fault.Rule{{Do: fault.Fail, Op: fault.Remove, Path: "a/1?"}, {Do: fault.Fail, Op: fault.Remove, Path: "a/2?"}}})
	err := dfs.RemoveAll(t.Context(), fs, "a")
	if !errs.Is(err, errs.Transient) || !strings.Contains(err.Error(), "a/10") || !strings.Contains(err.Error(), "and 10 more") {
		t.Errorf("got %v", err)
	}
	n := 0
	for range under.List(t.Context(), "a") {
		n++
	}
	if n != 20 {
		t.Errorf("%d files are left, want the 20 that cannot be removed", n)
	}
}
