package dfs_test

import (
	"context"
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
