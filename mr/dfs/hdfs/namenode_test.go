package hdfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	hadoop "github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func second[T any](_ T, err error) error { return err }

func asError(err error, target any) bool { return errors.As(err, target) }

// TestNameNodeRestart is ridden out by calls of every sort, and by a file that is open for writing and closed meanwhile.
func TestNameNodeRestart(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	data := pattern(1 << 20)
	w, err := f.Create(t.Context(), "open")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var done atomic.Int64
	for i := range 6 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				p := dfs.Path(fmt.Sprintf("d%d/%d", i, n))
				var err error
				switch i % 3 {
				case 0:
					err = f.Claim(t.Context(), p)
				case 1:
					// A file whose block is being begun when the NameNode goes cannot be mended; it is written anew.
					for try := 0; ; try++ {
						if err = dfs.WriteFile(t.Context(), f, p, data[:1000+n]); err == nil || try == 20 || errs.Is(err, errs.Exist) {
							break
						}
						time.Sleep(500 * time.Millisecond)
					}
				case 2:
					if _, err = f.Stat(t.Context(), p); errs.Is(err, errs.NotExist) {
						err = nil
					}
				}
				if err != nil {
					t.Errorf("%s: %v (kind %v)", p, err, errs.KindOf(err))
					return
				}
				done.Add(1)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	c.sh(t, "kill", "nn")
	var commit error
	wg.Go(func() { commit = w.Commit(t.Context()) })
	begin := time.Now()
	c.sh(t, "restart", "nn")
	at := done.Load()
	for done.Load() < at+30 && time.Since(begin) < 2*time.Minute {
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("30 calls after the restart: %v from its beginning", time.Since(begin).Round(time.Millisecond))
	close(stop)
	wg.Wait()
	if commit != nil {
		t.Errorf("commit over the restart: %v", commit)
	}
	wantFile(t, f, "open", data)
	for i := range 6 {
		if i%3 != 2 {
			if names := hidden(t, f, dfs.Path(fmt.Sprintf("d%d", i))); len(names) > 3 {
				t.Errorf("%d unfinished files stay", len(names))
			}
		}
	}
}

// TestHungNameNode: a stopped one is as good as none.
func TestHungNameNode(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	o.Timeout, o.Patience = 500*time.Millisecond, 2*time.Second
	f := c.client(t, o)
	if err := f.Claim(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	c.sh(t, "kill", "nn", "STOP")
	begin := time.Now()
	_, err := f.Stat(t.Context(), "a")
	took := time.Since(begin)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin = time.Now()
	canceled := second(f.Stat(ctx, "a"))
	tookCanceled := time.Since(begin)
	c.sh(t, "kill", "nn", "CONT")
	if !errs.Is(err, errs.Unreachable) || took > 10*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if !errs.Is(canceled, errs.Canceled) || tookCanceled > 30*time.Second {
		t.Errorf("with a ctx that ends: %v after %v", canceled, tookCanceled)
	}
	f.opt.Patience = time.Minute
	if _, err := f.Stat(t.Context(), "a"); err != nil {
		t.Errorf("when it goes on: %v", err)
	}
	// Late replies of before must not be taken for others.
	for i := range 20 {
		if _, err := f.Stat(t.Context(), dfs.Path(fmt.Sprint("absent", i))); !errs.Is(err, errs.NotExist) {
			t.Errorf("an absent file: %v", err)
		}
		if _, err := f.Stat(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

// TestSafeMode: reads work, writes wait.
func TestSafeMode(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	f := c.client(t, o)
	if err := f.Claim(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	set := func(action protoreflect.EnumNumber) {
		err := f.pool.do(context.Background(), time.Minute, func(s *session) error {
			_, err := s.call("setSafeMode", args{"action": action})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const leave, enter = 1, 2
	set(enter)
	defer set(leave)
	if _, err := f.Stat(t.Context(), "a"); err != nil {
		t.Errorf("stat: %v", err)
	}
	o.Patience, o.Contact = 300*time.Millisecond, 300*time.Millisecond
	hasty, err := New(o, f.root)
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	for what, err := range map[string]error{"claim": hasty.Claim(t.Context(), "b"), "write": dfs.WriteFile(t.Context(), hasty, "b", nil), "remove": hasty.Remove(t.Context(), "a")} {
		if !errs.Is(err, errs.Unreachable) || !strings.Contains(err.Error(), "SafeModeException") {
			t.Errorf("%s: %v", what, err)
		}
	}
	time.AfterFunc(500*time.Millisecond, func() { set(leave) })
	if err := f.Claim(t.Context(), "b"); err != nil {
		t.Errorf("claim over the end of safe mode: %v", err)
	}
}

// TestClaimRaces: of 8 clients, one wins each of 200 names.
func TestClaimRaces(t *testing.T) {
	c := start(t, "start")
	root := c.client(t, c.options())
	const clients, names = 8, 200
	var all [clients]*FS
	for i := range all {
		o := c.options()
		o.Clients = 1
		f, err := New(o, root.root)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all[i] = f
	}
	won := make([]atomic.Int64, names)
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() {
			for n := range names {
				switch err := f.Claim(t.Context(), dfs.Path(fmt.Sprintf("c/%d", n))); {
				case err == nil:
					won[n].Add(1)
				case !errs.Is(err, errs.Exist):
					t.Errorf("claim %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	for n := range won {
		if won[n].Load() != 1 {
			t.Errorf("name %d: %d winners", n, won[n].Load())
		}
	}
	if names := hidden(t, root, "c"); len(names) > 0 {
		t.Errorf("losers leave %q", names)
	}
}

// TestNamesThatOthersHaveOpen are taken, with a lease, one that is being recovered, and none.
func TestNamesThatOthersHaveOpen(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	o := c.options()
	theirs, err := hadoop.NewClient(hadoop.ClientOptions{Addresses: o.Addresses, User: o.User})
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.MkdirAll(f.abs(""), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := theirs.CreateFile(f.abs("theirs"), 1, 4<<20, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(pattern(200_000)); err != nil {
		t.Fatal(err)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	taken := func(state string) {
		t.Helper()
		if err := f.Claim(t.Context(), "theirs"); !errs.Is(err, errs.Exist) {
			t.Errorf("%s: claim: %v", state, err)
		}
		if err := dfs.WriteFile(t.Context(), f, "theirs", []byte("x")); !errs.Is(err, errs.Exist) {
			t.Errorf("%s: write: %v", state, err)
		}
	}
	taken("open")
	err = f.pool.do(t.Context(), time.Minute, func(s *session) error {
		_, err := s.call("recoverLease", args{"src": f.abs("theirs"), "clientName": s.c.Name()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	taken("in recovery")
	// What CreateFile says of such a name, and that we take it for the same.
	_, err = theirs.CreateFile(f.abs("theirs"), 1, 4<<20, 0o644)
	if k := kindOf(err); k != errs.Exist {
		t.Errorf("the library's create: %v, kind %v", err, k)
	}
	if err := theirs.Close(); err != nil {
		t.Error(err)
	}
	_ = h.Close() // it fails: the lease is lost; for the sake of its connection
	taken("left behind")
}

// TestPermissions: who may not, learns who and where.
func TestPermissions(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	if err := f.Claim(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	o := c.options()
	o.User = "somebody"
	other, err := New(o, f.root)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for what, err := range map[string]error{"claim": other.Claim(t.Context(), "b"), "write": dfs.WriteFile(t.Context(), other, "c/d", nil), "write in the folder": dfs.WriteFile(t.Context(), other, "d", nil), "remove": other.Remove(t.Context(), "a")} {
		var e *errs.Error
		if !errs.Is(err, errs.Unauthorized) || !errors.As(err, &e) || e.ErrorID() != "E-HDFS-REFUSED" || !strings.Contains(e.Hint(), "somebody") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := other.Stat(t.Context(), "a"); err != nil {
		t.Errorf("stat: %v", err)
	}
}

// TestPool: no more connections than allowed, however much is done at once, and none for readers.
func TestPool(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	o.Clients = 3
	f := c.client(t, o)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			p := dfs.Path(fmt.Sprint("f", i))
			if err := dfs.WriteFile(t.Context(), f, p, pattern(1000)); err != nil {
				t.Error(err)
				return
			}
			wantFile(t, f, p, pattern(1000))
		})
	}
	wg.Wait()
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if n := len(f.pool.sessions); n > 3 || n == 0 {
		t.Errorf("%d sessions", n)
	}
	for _, s := range f.pool.sessions {
		if s.users != 0 {
			t.Errorf("%d users stay", s.users)
		}
	}
}

// longVar asks for tests that take minutes.
const longVar = "VISTA_LONG"

// TestFailover: writers go on over a change of the active NameNode, by hand and after its death.
func TestFailover(t *testing.T) {
	if os.Getenv(longVar) == "" {
		t.Skipf("set %s=1 for tests that take minutes", longVar)
	}
	c := start(t, "start-ha")
	f := c.client(t, c.options())
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var done, again atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				p := dfs.Path(fmt.Sprintf("d%d/%d", i%4, i*1_000_000+n))
				var err error
				if i%2 == 0 {
					err = f.Claim(t.Context(), p)
				} else {
					for try := 0; ; try++ {
						if err = dfs.WriteFile(t.Context(), f, p, pattern(50_000)); err == nil || try == 20 || errs.Is(err, errs.Exist) {
							break
						}
						again.Add(1)
						time.Sleep(time.Second)
					}
				}
				if err != nil {
					t.Errorf("%s: %v (kind %v)", p, err, errs.KindOf(err))
					return
				}
				done.Add(1)
			}
		})
	}
	progress := func(what string, begin time.Time) {
		at := done.Load()
		for done.Load() < at+100 && time.Since(begin) < 3*time.Minute {
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s: 100 calls more after %v, %d files written anew", what, time.Since(begin).Round(time.Millisecond), again.Load())
	}
	progress("start", time.Now())
	c.sh(t, "failover", "nn1", "nn2")
	progress("failover", time.Now())
	c.sh(t, "kill", "nn2")
	c.sh(t, "failover", "nn2", "nn1", "--forcefence", "--forceactive")
	progress("failover from a dead one", time.Now())
	close(stop)
	wg.Wait()
	n := 0
	for info, err := range f.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != 0 && info.Size != 50_000 {
			t.Errorf("%s has %d bytes", info.Path, info.Size)
		}
		n++
	}
	if int64(n) != done.Load() {
		t.Errorf("%d files, %d were made", n, done.Load())
	}
	c.sh(t, "restart", "nn2")
}
