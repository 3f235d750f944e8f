package hdfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// lossy stands before a NameNode and loses replies: the call is carried out, and its connection is closed.
type lossy struct {
	to   string
	l    net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	lose map[string]int // calls by method, whose reply will be lost
	lost int
}

func newLossy(t *testing.T, to string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &lossy{to: to, l: l, lose: map[string]int{}}
	x.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			x.wg.Go(func() { x.serve(c) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// serve passes requests on one by one: a client of the library has one under way.
func (x *lossy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", x.to)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex
	losing := false
	x.wg.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			lose := losing
			mu.Unlock()
			if err != nil || lose {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			if err == io.EOF {
				time.Sleep(10 * time.Millisecond) // the last reply may be on its way
			}
			return
		}
		if x.take(buf[:n]) {
			mu.Lock()
			losing = true
			mu.Unlock()
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// take tells whether the reply to this request is to be lost.
func (x *lossy) take(request []byte) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for method, n := range x.lose {
		if n > 0 && bytes.Contains(request, append([]byte{byte(len(method))}, method...)) {
			x.lose[method]--
			x.lost++
			return true
		}
	}
	return false
}

// TestLostReplies: whatever call's reply is lost, once or again, a claim that was carried out is ours, a file is there
// once and whole, and nothing hidden stays.
func TestLostReplies(t *testing.T) {
	c := start(t, "start")
	direct := c.client(t, c.options())
	if err := direct.Claim(t.Context(), "begun"); err != nil {
		t.Fatal(err)
	}
	proxy := newLossy(t, c.env["NN_RPC"])
	o := c.options()
	o.Addresses = []string{proxy.l.Addr().String()}
	o.Clients = 2
	f, err := New(o, direct.root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	data := pattern(100_000)
	orphans := 0
	for _, method := range []string{"create", "complete", "rename2", "mkdirs", "getFileInfo", "delete", "addBlock", "updateBlockForPipeline", "getListing", "getServerDefaults"} {
		for _, n := range []int{1, 2} {
			lose := func() {
				proxy.mu.Lock()
				proxy.lose = map[string]int{method: n}
				proxy.mu.Unlock()
			}
			dir := dfs.Path(fmt.Sprintf("%s-%d", method, n))
			lose()
			if err := f.Claim(t.Context(), dir.Join("claim")); err != nil {
				t.Errorf("%s lost %d times: claim: %v", method, n, err)
			}
			lose()
			err := dfs.WriteFile(t.Context(), f, dir.Join("file"), data)
			switch {
			case err == nil:
				wantFile(t, direct, dir.Join("file"), data)
			case errs.Is(err, errs.Exist): // it would be our own
				t.Errorf("%s lost %d times: write: %v", method, n, err)
			case method == "addBlock" || method == "updateBlockForPipeline" || method == "complete":
				// The writer has failed, before it could have become visible.
				wantNothing(t, direct, dir.Join("file"))
			default:
				t.Errorf("%s lost %d times: write: %v", method, n, err)
			}
			lose()
			if err := f.Remove(t.Context(), dir.Join("claim")); err != nil {
				t.Errorf("%s lost %d times: remove: %v", method, n, err)
			}
			if _, err := direct.Stat(t.Context(), dir.Join("claim")); !errs.Is(err, errs.NotExist) {
				t.Errorf("%s: the removed file: %v", method, err)
			}
			orphans += len(hidden(t, direct, dir))
		}
	}
	proxy.mu.Lock()
	lost := proxy.lost
	proxy.lose = nil
	proxy.mu.Unlock()
	if lost < 30 {
		t.Errorf("only %d replies were lost", lost)
	}
	t.Logf("%d replies lost, %d hidden files stay", lost, orphans)
	if orphans > 0 {
		t.Errorf("%d hidden files stay", orphans)
	}
	// Somebody else's file is never taken for ours.
	if err := dfs.WriteFile(t.Context(), direct, "theirs", data); err != nil {
		t.Fatal(err)
	}
	proxy.mu.Lock()
	proxy.lose = map[string]int{"rename2": 1}
	proxy.mu.Unlock()
	if err := f.Claim(t.Context(), "theirs"); !errs.Is(err, errs.Exist) {
		t.Errorf("claim of what others have: %v", err)
	}
	wantFile(t, direct, "theirs", data)
}

// childVar makes the test binary a process that writes until it is killed: its value is the folder to write to.
const childVar = "HDFS_TEST_CHILD"

// childServersVar tells it the folder of the servers.
const childServersVar = "HDFS_TEST_CHILD_SERVERS"

// child writes files and claims, as many as it can.
func child(dir string) error {
	c, err := readEnv(dir)
	if err != nil {
		return err
	}
	f, err := New(c.options(), os.Getenv(childVar))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				p := dfs.Path(fmt.Sprintf("w/%d-%d-%d", os.Getpid(), i, n))
				var err error
				if i == 0 {
					err = f.Claim(context.Background(), p)
				} else {
					err = dfs.WriteFile(context.Background(), f, p, pattern(childSize))
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

const childSize = 300_000

// TestKilledWriters: processes are killed at any moment; every file that is visible is whole, and names can be used.
func TestKilledWriters(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childVar+"="+f.root, childServersVar+"="+c.dir)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(700+137*i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if out.Len() > 0 {
			t.Errorf("the process says %s", &out)
		}
	}
	files, claims := 0, 0
	for info, err := range f.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		switch info.Size {
		case 0:
			claims++
		case childSize:
			if files++; files%8 == 0 {
				wantFile(t, f, info.Path, pattern(childSize))
			}
		default:
			t.Errorf("%s has %d bytes", info.Path, info.Size)
		}
		if err := f.Claim(t.Context(), info.Path); !errs.Is(err, errs.Exist) {
			t.Errorf("claim of %s: %v", info.Path, err)
		}
	}
	t.Logf("%d files, %d claims, %d hidden names", files, claims, len(hidden(t, f, "w")))
	if files == 0 || claims == 0 {
		t.Error("nothing was written")
	}
	if err := dfs.WriteFile(t.Context(), f, "w/after", []byte("x")); err != nil {
		t.Error(err)
	}
}
