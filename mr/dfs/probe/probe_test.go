package probe_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// few is enough to see that a good store is found good.
var few = probe.Options{Races: 40, Large: part + 1}

// part is the smallest part that servers take.
const part = 5 << 20

func parts(c s3.Config) s3.Config {
	c.PartSize = part
	return c
}

func run(t *testing.T, fs dfs.FS, o probe.Options) map[string]probe.Check {
	t.Helper()
	told := 0
	all, err := probe.Run(t.Context(), fs, "some/folder", o, func(probe.Check) { told++ })
	if err != nil || told != len(all) {
		t.Fatalf("%v, %d told of %d", err, told, len(all))
	}
	out := map[string]probe.Check{}
	for _, c := range all {
		out[c.Name] = c
		t.Logf("%-8s %-7s %5.2f s  %s", c.Name, c.State, c.Seconds, c.Detail)
		if c.State == probe.Failed && (c.Err == nil || c.Next == "") {
			t.Errorf("%s has failed, and nobody says what to do", c.Name)
		}
	}
	return out
}

// wantStates checks that all is well but for what is named.
func wantStates(t *testing.T, got map[string]probe.Check, but map[string]probe.State) {
	t.Helper()
	if len(got) != 9 {
		t.Errorf("%d checks", len(got))
	}
	for name, c := range got {
		want := probe.OK
		if s, ok := but[name]; ok {
			want = s
		}
		if c.State != want {
			t.Errorf("%s: %s (%s), want %s", name, c.State, c.Detail, want)
		}
	}
}

// wantEmpty checks that nothing is left.
func wantEmpty(t *testing.T, fs dfs.FS) {
	t.Helper()
	for info, err := range fs.List(t.Context(), "") {
		t.Errorf("%s is left, %v", info.Path, err)
	}
	if f, ok := fs.(*s3.FS); ok {
		if all, err := f.Uploads(t.Context(), ""); err != nil || len(all) > 0 {
			t.Errorf("%d uploads are left, %v", len(all), err)
		}
	}
}

func TestGoodStores(t *testing.T) {
	noNetwork := map[string]probe.State{"replies": probe.Skipped, "clock": probe.Skipped}
	t.Run("mem", func(t *testing.T) {
		fs := mem.New()
		wantStates(t, run(t, fs, few), noNetwork)
		wantEmpty(t, fs)
	})
	t.Run("local", func(t *testing.T) {
		fs := local.New(t.TempDir(), false)
		wantStates(t, run(t, fs, few), noNetwork)
		wantEmpty(t, fs)
	})
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := s3test.FS(t, parts(s3test.Start(t, kind).Config()))
			wantStates(t, run(t, fs, few), nil)
			wantEmpty(t, fs)
		})
	}
	t.Run("fake", func(t *testing.T) {
		fs := s3test.FS(t, parts(s3test.NewFake(t).Config()))
		wantStates(t, run(t, fs, few), nil)
		wantEmpty(t, fs)
	})
}

// TestStoresThatLackSomething: each is found out, by name, and cleaned up.
func TestStoresThatLackSomething(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(f *s3test.Fake)
		bad  []string
	}{
		{"ignores If-None-Match", func(f *s3test.Fake) { f.IgnoresPut, f.IgnoresComplete = true, true }, []string{"claim", "commit", "large", "replies"}},
		{"ignores it when an upload is completed", func(f *s3test.Fake) { f.IgnoresComplete = true }, []string{"large", "replies"}},
		{"listings are late", func(f *s3test.Fake) { f.StaleList = 500 * time.Millisecond }, []string{"list"}},
		{"listings have no order", func(f *s3test.Fake) { f.Unordered = true }, []string{"list", "tidy"}},
		{"the clock is wrong", func(f *s3test.Fake) { f.Clock = time.Hour }, []string{"clock"}},
		{"does not keep the writer's token", func(f *s3test.Fake) { f.Forgets = true }, []string{"replies"}},
		{"no multipart", func(f *s3test.Fake) {
			f.Before = func(r *http.Request, _ int) s3test.Fault {
				if s3test.Kind(r) == "BEGIN" {
					return s3test.Fault{Status: 501, Code: "NotImplemented"}
				}
				return s3test.Fault{}
			}
		}, []string{"large", "replies"}},
		{"nothing can be removed", func(f *s3test.Fake) {
			f.Before = func(r *http.Request, _ int) s3test.Fault {
				if s3test.Kind(r) == "DELETE" {
					return s3test.Fault{Status: 403, Code: "AccessDenied"}
				}
				return s3test.Fault{}
			}
		}, []string{"list", "replies", "remove", "tidy"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake := s3test.NewFake(t)
			c.set(fake)
			fs := s3test.FS(t, parts(fake.Config()))
			but := map[string]probe.State{}
			for _, name := range c.bad {
				but[name] = probe.Failed
			}
			wantStates(t, run(t, fs, few), but)
			if n := len(fake.Keys()); n > 0 && but["tidy"] == "" && fake.StaleList == 0 {
				t.Errorf("%d objects are left", n)
			}
		})
	}
}

func TestStoreThatCannotBeWrittenTo(t *testing.T) {
	fake := s3test.NewFake(t)
	fake.Before = func(*http.Request, int) s3test.Fault {
		return s3test.Fault{Status: 403, Code: "SignatureDoesNotMatch", Text: "check fake-secret-value"}
	}
	got := run(t, s3test.FS(t, parts(fake.Config())), few)
	if c := got["write"]; c.State != probe.Failed || !errs.Is(c.Err, errs.Unauthorized) || !strings.Contains(c.Next, "AWS_SECRET_ACCESS_KEY") || strings.Contains(c.Detail, "fake-secret") {
		t.Errorf("%+v", c)
	}
	if got["claim"].State != probe.Skipped {
		t.Errorf("%+v", got["claim"])
	}
}

// TestBudget: a slow store is found good as far as the time goes.
func TestBudget(t *testing.T) {
	fake := s3test.NewFake(t)
	fake.Before = func(*http.Request, int) s3test.Fault { return s3test.Fault{Delay: 20 * time.Millisecond} }
	begun := time.Now()
	got := run(t, s3test.FS(t, parts(fake.Config())), probe.Options{Races: 100_000, Large: part + 1, Budget: 2 * time.Second})
	wantStates(t, got, nil)
	if d := time.Since(begun); d > 25*time.Second {
		t.Errorf("took %v", d)
	}
	if !strings.Contains(got["claim"].Detail, "the time was over") {
		t.Errorf("%+v", got["claim"])
	}
}
