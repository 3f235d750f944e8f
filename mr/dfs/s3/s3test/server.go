// Package s3test gives tests an S3 store: real servers, which the project's own script starts, and one in
// memory that lacks what real ones have, loses replies, is slow or says no.
//
// Invariant: a server lives no longer than the test program that started it, whatever ends that, and every
// Bucket is a folder of its own, so tests do not meet.
//
// Tests of packages that work on stores use it; nothing else does. Servers are built by "make servers";
// without them tests are skipped, or fail where VISTA_REQUIRE lists "s3".
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// Kinds are the servers.
var Kinds = []string{"versitygw", "minio"}

// Bucket is the one that servers have from the start.
const Bucket = "vista"

// Server is a running server.
type Server struct {
	Kind string
	dir  string
	env  map[string]string
}

var (
	mu      sync.Mutex
	started = map[string]*Server{}
	folders atomic.Int64
)

// Start returns the server of a kind, which all tests of the program share.
func Start(t testing.TB, kind string) *Server {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if s := started[kind]; s != nil {
		return s
	}
	s := New(t, kind)
	started[kind] = s
	return s
}

// New starts a server for one test, which may end it and let it hang. It ends with the program.
func New(t testing.TB, kind string) *Server {
	t.Helper()
	if !Built(t, kind) {
		dfstest.Missing(t, "s3", kind+" is not built: run make servers")
	}
	dir, err := os.MkdirTemp("", "vista-s3-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Kind: kind, dir: dir}
	s.script(t, "start", kind, dir, fmt.Sprint(os.Getpid()))
	b, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	s.env = map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		s.env[k] = v
	}
	return s
}

// Built tells whether the server of a kind can be started.
func Built(t testing.TB, kind string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(programs(find(t)), kind))
	return err == nil
}

func programs(script string) string {
	if dir := os.Getenv("VISTA_MR_SERVERS"); dir != "" {
		return dir
	}
	return filepath.Join(filepath.Dir(script), "../../build/servers/bin")
}

// find finds the script, from the folder of any package.
func find(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for up := dir; ; up = filepath.Dir(up) {
		script := filepath.Join(up, "tools/servers/s3.sh")
		if _, err := os.Stat(script); err == nil {
			return script
		}
		if up == filepath.Dir(up) {
			t.Fatalf("tools/servers/s3.sh is not above %s", dir)
		}
	}
}

func (s *Server) script(t testing.TB, args ...string) {
	t.Helper()
	// The output goes to a file: a pipe would be held open by the server.
	out, err := os.CreateTemp("", "vista-s3-out-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(out.Name()) // a small file in the temporary folder
	defer out.Close()           // nothing is written to it here
	cmd := exec.Command(find(t), args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name()) // the test fails anyway
		t.Fatalf("s3.sh %s: %v\n%s", strings.Join(args, " "), err, bytes.TrimSpace(said))
	}
}

// Do calls the script: stop, kill, pause or resume.
func (s *Server) Do(t testing.TB, verb string) { t.Helper(); s.script(t, verb, s.dir) }

// Restart starts the server again after it was stopped or killed, at the same address.
func (s *Server) Restart(t testing.TB) { t.Helper(); s.script(t, "start", s.Kind, s.dir) }

// Env is the environment that a client needs.
func (s *Server) Env(name string) string { return s.env[name] }

// Vars are its lines, for os/exec.
func (s *Server) Vars() []string {
	var out []string
	for k, v := range s.env {
		out = append(out, k+"="+v)
	}
	return out
}

// Config is what a client needs.
func (s *Server) Config() s3.Config { return s3.Config{Env: s.Env} }

// Hosted is a Config that names buckets as hosts. They are hosts that no resolver knows, so connections
// to all of them lead to the server.
func (s *Server) Hosted() s3.Config {
	addr := strings.TrimPrefix(s.env["AWS_ENDPOINT_URL_S3"], "http://")
	_, port, _ := net.SplitHostPort(addr)
	env := func(name string) string {
		if name == "AWS_ENDPOINT_URL_S3" {
			return "http://" + s.env["S3_DOMAIN"] + ":" + port
		}
		return s.env[name]
	}
	return s3.Config{Env: env, Properties: map[string]string{"fs.s3a.path.style.access": "false"},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		}}
}

// Folder is a folder of Bucket that no other test has.
func Folder() dfs.Path { return dfs.Path(fmt.Sprintf("t%d-%d", os.Getpid(), folders.Add(1))) }

// FS is a new folder of the server's bucket.
func FS(t testing.TB, c s3.Config) *s3.FS {
	t.Helper()
	fs, err := s3.New(Bucket, Folder(), c)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}
