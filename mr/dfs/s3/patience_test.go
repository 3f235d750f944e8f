package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestAnswersThatPass(t *testing.T) {
	t.Parallel()
	for _, fault := range []s3test.Fault{
		{Status: 503, Code: "SlowDown", Text: "Reduce your request rate"}, {Status: 500, Code: "InternalError"}, {Status: 409, Code: "ConditionalRequestConflict"},
		{Status: 429, Code: "TooManyRequests"}, {Status: 408, Code: "RequestTimeout"}, {Lose: true}, {Delay: time.Hour},
	} {
		t.Run(fmt.Sprintf("%d%s%v%v", fault.Status, fault.Code, fault.Lose, fault.Delay), func(t *testing.T) {
			t.Parallel()
			fake := s3test.NewFake(t)
			c := fake.Config()
			c.PartSize = little
			if fault.Delay > 0 {
				c.Stall = time.Second
			}
			fs := s3test.FS(t, c)
			fake.Before = func(r *http.Request, n int) s3test.Fault {
				if n == 1 && (fault.Code != "ConditionalRequestConflict" || r.Method == http.MethodPut || r.Method == http.MethodPost) {
					return fault
				}
				return s3test.Fault{}
			}
			must(t, "claim", fs.Claim(t.Context(), "c"))
			must(t, "write", dfs.WriteFile(t.Context(), fs, "a", data(little+1)))
			wantContent(t, fs, "a", data(little+1))
		})
	}
}

// TestStoreThatHangs: no operation waits for ever, whatever the store does not do.
func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	fake := s3test.NewFake(t)
	c := fake.Config()
	c.PartSize, c.Patience, c.Stall = little, 2*time.Second, time.Second
	fs := s3test.FS(t, c)
	must(t, "write", dfs.WriteFile(t.Context(), fs, "a", data(headSize+100)))
	f, err := fs.Open(t.Context(), "a")
	must(t, "open", err)
	defer f.Close() // reading only
	w, err := fs.Create(t.Context(), "b")
	must(t, "create", err)
	_, err = w.Write(data(little + 1))
	must(t, "write", err)
	fake.Then(func(*http.Request, int) s3test.Fault { return s3test.Fault{Delay: time.Hour} }) // parts of b may be on their way
	calls := map[string]func(ctx context.Context) error{
		"claim":  func(ctx context.Context) error { return fs.Claim(ctx, "c") },
		"open":   func(ctx context.Context) error { _, err := fs.Open(ctx, "a"); return err },
		"read":   func(context.Context) error { _, err := f.ReadAt(make([]byte, 10), headSize); return err },
		"stat":   func(ctx context.Context) error { _, err := fs.Stat(ctx, "a"); return err },
		"commit": w.Commit,
		"list": func(ctx context.Context) error {
			for _, err := range fs.List(ctx, "") {
				return err
			}
			return nil
		},
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			begun := time.Now()
			want(t, name+" while the store hangs", call(t.Context()), errs.Unreachable)
			if d := time.Since(begun); d > 20*time.Second {
				t.Errorf("%s took %v", name, d)
			}
		})
	}
	wg.Wait()
}

const headSize = 256 << 10

// TestCancelWhileTheStoreHangs: who is told to stop stops at once.
func TestCancelWhileTheStoreHangs(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
	fake := s3test.NewFake(t)
	c := fake.Config()
	c.Stall, c.Patience, c.PartSize = time.Minute, time.Minute, little
	fs := s3test.FS(t, c)
	must(t, "write", dfs.WriteFile(t.Context(), fs, "a", data(headSize+100)))
	ctx, cancel := context.WithCancel(t.Context())
	f, err := fs.Open(ctx, "a")
	must(t, "open", err)
	w, err := fs.Create(ctx, "b")
	must(t, "create", err)
	hung := make(chan struct{}, 100)
	fake.Before = func(*http.Request, int) s3test.Fault {
		hung <- struct{}{}
		return s3test.Fault{Delay: time.Hour}
	}
	calls := map[string]func() error{
		"claim": func() error { return fs.Claim(ctx, "c") },
		"read":  func() error { _, err := f.ReadAt(make([]byte, 10), headSize); return err },
		"stat":  func() error { _, err := fs.Stat(ctx, "a"); return err },
		"write": func() error { _, err := w.Write(data(3 * little)); return err },
	}
	done := make(chan error, len(calls))
	for name, call := range calls {
		go func() {
			if err := call(); !errs.Is(err, errs.Canceled) {
				done <- fmt.Errorf("%s: %v (kind %v)", name, err, errs.KindOf(err))
				return
			}
			done <- nil
		}()
	}
	for range calls {
		<-hung
	}
	cancel()
	late := time.After(10 * time.Second)
	for range calls {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-late:
			t.Fatal("a call goes on after the cancel")
		}
	}
	fake.Before = nil
	must(t, "abort", w.Abort())
	must(t, "close", f.Close())
}

// TestRepliesThatBreakOff: what was read counts, the rest is asked for again.
func TestRepliesThatBreakOff(t *testing.T) {
	t.Parallel()
	fake, fs := small(t, nil)
	b := data(3<<20 + 5)
	must(t, "write", dfs.WriteFile(t.Context(), fs, "a", b))
	cuts := 0
	fake.Before = func(r *http.Request, n int) s3test.Fault {
		if r.Method == http.MethodGet && n%2 == 1 {
			cuts++
			return s3test.Fault{Cut: 100_000}
		}
		return s3test.Fault{}
	}
	wantContent(t, fs, "a", b)
	if cuts < 2 {
		t.Errorf("%d replies were cut: nothing was tried", cuts)
	}
}

// TestWriterOutlivesItsContext: parts that are on their way are not lost with it.
func TestWriterOutlivesItsContext(t *testing.T) {
	t.Parallel()
	_, fs := small(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := fs.Create(ctx, "a")
	must(t, "create", err)
	_, err = w.Write(data(little + 1))
	must(t, "write", err)
	cancel()
	must(t, "commit", w.Commit(t.Context()))
	wantContent(t, fs, "a", data(little+1))
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	fake := s3test.NewFake(t)
	c := fake.Config()
	env := c.Env
	for _, endpoint := range []string{"http://127.0.0.1:1", strings.Replace(fake.URL(), "http:", "https:", 1)} {
		c.Env = func(name string) string {
			if name == "AWS_ENDPOINT_URL_S3" {
				return endpoint
			}
			return env(name)
		}
		fs := s3test.FS(t, c)
		begun := time.Now()
		_, err := fs.Stat(t.Context(), "a")
		if !errs.Is(err, errs.Unreachable) && !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "s3://vista/") {
			t.Errorf("%s: %v (kind %v)", endpoint, err, errs.KindOf(err))
		}
		if d := time.Since(begun); d > 30*time.Second {
			t.Errorf("%s: took %v", endpoint, d)
		}
	}
}
