package hdfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
)

// cluster is a folder of servers that tools/servers/hdfs.sh has started.
type cluster struct {
	dir string
	env map[string]string
}

const script = "../../../tools/servers/hdfs.sh"

// servers is where clusters of this test binary live.
var servers string

// leaks are goroutines that the library leaves behind for a writer that has failed or been dropped.
var leaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/colinmarc/hdfs/v2/internal/transfer.(*blockWriteStream).ackPackets"),
}

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		if err := child(os.Getenv(childServersVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it is meant to be killed
	}
	code := func() int {
		dir, err := os.MkdirTemp("", "hdfs-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		servers = dir
		code := m.Run()
		for _, layout := range []string{"start", "start-ha", "start-kerberos"} {
			if c := filepath.Join(dir, layout); exists(filepath.Join(c, "env")) {
				if out, err := exec.Command(script, "stop", c).CombinedOutput(); err != nil {
					fmt.Fprintf(os.Stderr, "stop: %v\n%s", err, out)
					code = 1
				}
			}
		}
		if code == 0 {
			if err := goleak.Find(leaks...); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		return code
	}()
	os.Exit(code)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// started are the layouts that were started, or have failed to.
var started sync.Map

// serversVar names a folder with layouts that were started by hand, which saves the time while tests are written.
const serversVar = "VISTA_HDFS"

// start starts a layout once for all tests, or skips the test.
func start(t testing.TB, layout string) *cluster {
	t.Helper()
	if runtime.GOOS == "windows" {
		dfstest.Missing(t, "hdfs", "the servers are started by a shell script")
	}
	if _, err := exec.LookPath("java"); err != nil {
		dfstest.Missing(t, "hdfs", "no Java (Debian: default-jdk-headless)")
	}
	if !exists("../../../build/servers/hadoop/pom.xml") {
		dfstest.Missing(t, "hdfs", "the servers are not there: make servers")
	}
	once, _ := started.LoadOrStore(layout, sync.OnceValues(func() (*cluster, error) {
		if dir, err := filepath.EvalSymlinks(filepath.Join(os.Getenv(serversVar), layout)); err == nil && os.Getenv(serversVar) != "" {
			return readEnv(dir)
		}
		dir := filepath.Join(servers, layout)
		if out, err := exec.Command(script, layout, dir, fmt.Sprint(os.Getpid())).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		return readEnv(dir)
	}))
	c, err := once.(func() (*cluster, error))()
	if err != nil {
		t.Fatalf("start of servers: %v", err)
	}
	return c
}

// readEnv reads what the script says of its servers.
func readEnv(dir string) (*cluster, error) {
	data, err := os.ReadFile(filepath.Join(dir, "env"))
	c := &cluster{dir: dir, env: map[string]string{}}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		c.env[name] = value
	}
	return c, err
}

// options of a client that is as patient as tests are.
func (c *cluster) options() Options {
	o := Options{Contact: time.Minute}
	if u, err := user.Current(); err == nil {
		o.User = u.Username // who started the servers is their superuser
	}
	for _, name := range []string{"NN_RPC", "NN1_RPC", "NN2_RPC"} {
		if a := c.env[name]; a != "" {
			o.Addresses = append(o.Addresses, a)
		}
	}
	o.Name = o.Addresses[0]
	return o
}

var folders atomic.Int64

// client returns a client of a new folder, which is removed after the test.
func (c *cluster) client(t testing.TB, o Options) *FS {
	t.Helper()
	return c.clientAt(t, o, fmt.Sprintf("/tests-%d/%d", os.Getpid(), folders.Add(1)))
}

func (c *cluster) clientAt(t testing.TB, o Options, root string) *FS {
	t.Helper()
	f, err := New(o, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := f.pool.do(context.Background(), time.Minute, func(s *session) error {
			_, err := s.call("delete", args{"src": root, "recursive": true})
			return err
		})
		if err := errors.Join(err, f.Close()); err != nil {
			t.Errorf("clean up: %v", f.wrap("remove", "", err))
		}
	})
	return f
}

// sh runs the script.
func (c *cluster) sh(t testing.TB, verb string, arg ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // also while the test is cleaned up
	defer cancel()
	cmd := exec.CommandContext(ctx, script, append([]string{verb, c.dir}, arg...)...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", verb, arg, err, out)
	}
}

func testCase(t *testing.T) dfstest.Case {
	c := start(t, "start")
	return dfstest.Case{
		Many: 1200, // more than a NameNode lists at once
		New:  func(t testing.TB) dfs.FS { return c.client(t, c.options()) },
		Other: func(t testing.TB, fs dfs.FS) dfs.FS {
			f, err := New(c.options(), fs.(*FS).root)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		},
	}
}

func TestConformance(t *testing.T) { dfstest.Run(t, testCase(t)) }
