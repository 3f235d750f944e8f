package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// part is the smallest part that servers take.
const part = 5 << 20

func eachServer(t *testing.T, run func(t *testing.T, s *s3test.Server)) {
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			run(t, s3test.Start(t, kind))
		})
	}
}

// TestVirtualHosts: buckets that are hosts.
func TestVirtualHosts(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, s *s3test.Server) {
		hosts := map[string]bool{}
		c := s.Hosted()
		c.PartSize = part
		var mu sync.Mutex
		c.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				mu.Lock()
				hosts[r.URL.Hostname()] = true
				mu.Unlock()
				return next.RoundTrip(r)
			})
		}
		fs := s3test.FS(t, c)
		must(t, "claim", fs.Claim(t.Context(), "a b/ü"))
		want(t, "claim", fs.Claim(t.Context(), "a b/ü"), errs.Exist)
		large := data(2*part + 1)
		must(t, "write", dfs.WriteFile(t.Context(), fs, "a b/z+?&%20", large))
		want(t, "write", dfs.WriteFile(t.Context(), fs, "a b/z+?&%20", large), errs.Exist)
		wantContent(t, fs, "a b/z+?&%20", large)
		n := 0
		for info, err := range fs.List(t.Context(), "a b") {
			must(t, "list", err)
			n++
			must(t, "remove", fs.Remove(t.Context(), info.Path))
		}
		if n != 2 || len(hosts) != 1 || !hosts["vista.s3.test"] {
			t.Errorf("%d files, hosts %v", n, hosts)
		}
	})
}

// TestNoUploadIsLeft: whatever becomes of writers, no part of an upload stays.
func TestNoUploadIsLeft(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, s *s3test.Server) {
		c := s.Config()
		c.PartSize = part
		fs := s3test.FS(t, c)
		left := func(n int, what string) {
			t.Helper()
			all, err := fs.Uploads(t.Context(), "")
			if err != nil || len(all) != n {
				t.Errorf("%s: %d uploads, %v; want %d", what, len(all), err, n)
			}
		}
		open := func(p dfs.Path) dfs.Writer {
			w, err := fs.Create(t.Context(), p)
			must(t, "create", err)
			_, err = w.Write(data(part + 1))
			must(t, "write", err)
			return w
		}
		must(t, "commit", open("a/1").Commit(t.Context()))
		left(0, "after a commit")
		must(t, "abort", open("a/2").Abort())
		left(0, "after an abort")
		lost := open("a/1")
		want(t, "commit", lost.Commit(t.Context()), errs.Exist)
		must(t, "abort", lost.Abort())
		left(0, "after a race that was lost")
		late := open("a/3")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, "commit", late.Commit(ctx), errs.Canceled)
		must(t, "abort", late.Abort())
		left(0, "after a cancel")
		open("a/4") // and its process dies
		open("ab/5")
		left(2, "of living writers")
		must(t, "remove all", dfs.RemoveAll(t.Context(), fs, "a"))
		left(1, "after the folder was removed")
		must(t, "remove all", dfs.RemoveAll(t.Context(), fs, ""))
		left(0, "after all was removed")
	})
}

// TestLostRepliesOfServers: the same with real servers as with the one in memory.
func TestLostRepliesOfServers(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, s *s3test.Server) {
		c := s.Config()
		c.PartSize = part
		fs := s3test.FS(t, c)
		losing, err := fs.Losing()
		must(t, "losing", err)
		must(t, "claim", losing.Claim(t.Context(), "c"))
		want(t, "claim of the same", losing.Claim(t.Context(), "c"), errs.Exist)
		large := data(2*part + 1)
		must(t, "write", dfs.WriteFile(t.Context(), losing, "a/large", large))
		want(t, "write of the same", dfs.WriteFile(t.Context(), losing, "a/large", large), errs.Exist)
		wantContent(t, fs, "a/large", large)
		must(t, "remove", losing.Remove(t.Context(), "c"))
		if all, err := fs.Uploads(t.Context(), "a"); err != nil || len(all) > 1 {
			t.Errorf("%d uploads, %v", len(all), err) // the one whose commit was lost, and ended by Sweep
		}
		must(t, "remove all", dfs.RemoveAll(t.Context(), fs, ""))
	})
}

// TestRefusals: servers differ in what they say; a user is told the same.
func TestRefusals(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, s *s3test.Server) {
		but := func(name, value string) s3.Config {
			c := s.Config()
			c.Env = func(n string) string {
				if n == name {
					return value
				}
				return s.Env(n)
			}
			return c
		}
		for _, c := range []struct {
			name, bucket string
			config       s3.Config
			kind         errs.Kind
			id           string
		}{
			{"bucket", "no-such-bucket", s.Config(), errs.Invalid, "E-S3-BUCKET"},
			{"secret", s3test.Bucket, but("AWS_SECRET_ACCESS_KEY", "a-wrong-secret"), errs.Unauthorized, "E-S3-REFUSED"},
			{"access key", s3test.Bucket, but("AWS_ACCESS_KEY_ID", "nobody"), errs.Unauthorized, "E-S3-REFUSED"},
		} {
			fs, err := s3.New(c.bucket, "", c.config)
			must(t, "new", err)
			check := func(what string, err error) {
				t.Helper()
				var e *errs.Error
				if want(t, c.name+": "+what, err, c.kind); !errors.As(err, &e) || e.ErrorID() != c.id || e.Hint() == "" || strings.Contains(err.Error()+e.Hint(), "a-wrong-secret") {
					t.Errorf("%s: %s: %v", c.name, what, err)
				}
			}
			_, err = fs.Stat(t.Context(), "a")
			check("stat", err)
			_, err = fs.Open(t.Context(), "a")
			check("open", err)
			check("claim", fs.Claim(t.Context(), "a"))
			for _, err := range fs.List(t.Context(), "") {
				check("list", err)
			}
		}
	})
}

// TestServerThatIsKilledAndHangs: what was committed stays, what was under way is ridden out.
func TestServerThatIsKilledAndHangs(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := s3test.New(t, kind)
			t.Cleanup(func() { s.Do(t, "kill") })
			c := s.Config()
			c.PartSize, c.Stall = part, 2*time.Second
			fs := s3test.FS(t, c)
			must(t, "write", dfs.WriteFile(t.Context(), fs, "before", data(part+1)))
			w, err := fs.Create(t.Context(), "during")
			must(t, "create", err)
			_, err = w.Write(data(part + 1))
			must(t, "write", err)
			s.Do(t, "kill")
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					p := dfs.Path(fmt.Sprintf("claims/%d", i))
					if err := fs.Claim(t.Context(), p); err != nil {
						t.Errorf("claim while the server was away: %v", err)
					}
				})
			}
			wg.Go(func() {
				if err := w.Commit(t.Context()); err != nil { // a part that was confirmed may be lost with the server
					t.Logf("commit while the server was away: %v", err)
					if !errs.Is(err, errs.Transient) && !errs.Is(err, errs.Unreachable) {
						t.Errorf("commit while the server was away: %v (kind %v)", err, errs.KindOf(err))
					}
					if err := w.Abort(); err != nil {
						t.Errorf("abort: %v", err)
					}
				}
			})
			s.Restart(t)
			wg.Wait()
			wantContent(t, fs, "before", data(part+1))
			if _, err := fs.Stat(t.Context(), "during"); err == nil {
				wantContent(t, fs, "during", data(part+1))
			}
			for i := range 4 {
				want(t, "claim again", fs.Claim(t.Context(), dfs.Path(fmt.Sprintf("claims/%d", i))), errs.Exist)
			}

			s.Do(t, "pause")
			wg.Go(func() { wantContent(t, fs, "before", data(part+1)) })
			wg.Go(func() {
				if err := dfs.WriteFile(t.Context(), fs, "late", data(part+1)); err != nil {
					t.Errorf("write while the server hung: %v", err)
				}
			})
			time.Sleep(3 * time.Second) // longer than the connections' patience
			s.Do(t, "resume")
			wg.Wait()
			wantContent(t, fs, "late", data(part+1))
		})
	}
}
