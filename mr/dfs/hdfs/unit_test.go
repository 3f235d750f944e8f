package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	hadoop "github.com/colinmarc/hdfs/v2"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestDoor: the library is built as door.go wants it.
func TestDoor(t *testing.T) {
	if _, err := executorOf(&hadoop.Client{}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"GetFileInfo", "GetListing", "Mkdirs", "Delete", "Rename2", "Create", "Complete", "GetBlockLocations", "GetDataEncryptionKey"} {
		for _, sort := range []string{"RequestProto", "ResponseProto"} {
			if _, err := message(name + sort); err != nil {
				t.Error(err)
			}
		}
	}
}

// javaError is what a server throws.
type javaError struct{ class, message string }

func (e *javaError) Method() string    { return "test" }
func (e *javaError) Desc() string      { return "ERROR_APPLICATION" }
func (e *javaError) Exception() string { return e.class }
func (e *javaError) Message() string   { return e.message + "\n\tat org.apache.hadoop.Stack" }
func (e *javaError) Error() string     { return "test call failed with ERROR_APPLICATION" }

const (
	hdfsProtocol = "org.apache.hadoop.hdfs.protocol."
	ipc          = "org.apache.hadoop.ipc."
)

func TestErrorKinds(t *testing.T) {
	dn := &connError{dataServer, "10.0.0.1:9866", syscall.ECONNRESET}
	nn := &connError{nameServer, "10.0.0.1:8020", os.ErrDeadlineExceeded}
	for _, c := range []struct {
		err   error
		kind  errs.Kind
		again bool // by us
	}{
		{&javaError{"java.io.FileNotFoundException", "x"}, errs.NotExist, false},
		{&javaError{"org.apache.hadoop.fs.FileAlreadyExistsException", "x"}, errs.Exist, false},
		{&javaError{hdfsProtocol + "AlreadyBeingCreatedException", "x"}, errs.Exist, false},
		{&javaError{hdfsProtocol + "RecoveryInProgressException", "x"}, errs.Exist, false},
		{&javaError{"org.apache.hadoop.security.AccessControlException", "Permission denied: user=ann"}, errs.Unauthorized, false},
		{&javaError{"org.apache.hadoop.security.AccessControlException", "/a/b (is not a directory)"}, errs.NotExist, false},
		{&javaError{"org.apache.hadoop.fs.ParentNotDirectoryException", "x"}, errs.NotExist, false},
		{&javaError{"org.apache.hadoop.hdfs.server.namenode.SafeModeException", "x"}, errs.Unreachable, true},
		{&javaError{ipc + "StandbyException", "x"}, errs.Unreachable, true},
		{&javaError{ipc + "RetriableException", "x"}, errs.Unreachable, true},
		{&javaError{hdfsProtocol + "NSQuotaExceededException", "x"}, errs.NoSpace, false},
		{&javaError{hdfsProtocol + "FSLimitException$PathComponentTooLongException", "x"}, errs.Invalid, false},
		{&javaError{"java.io.IOException", "could only be written to 0 of the 1 minReplication nodes"}, errs.Transient, false},
		{fmt.Errorf("no available namenodes: %s", nn), errs.Unreachable, true},
		{errors.New("no available namenodes: SASL handshake: no valid credentials"), errs.Unauthorized, true},
		{errors.New("unexpected sequence number"), errs.Unreachable, true},
		{nn, errs.Unreachable, true},
		{dn, errs.Transient, false},
		{&os.PathError{Op: "create", Path: "/.tmp-0", Err: hadoop.ErrReplicating}, errs.Transient, false},
		{errors.New("write failed: ERROR ()"), errs.Transient, false},
		{errors.New("Ack error from datanode: ERROR"), errs.Transient, false},
		{errors.New("invalid checksum"), errs.Corrupt, false},
		{errFileAbove, errs.Invalid, false},
		{context.Canceled, errs.Canceled, false},
	} {
		if got := kindOf(c.err); got != c.kind || away(c.err) != c.again {
			t.Errorf("%v: kind %v, again %v; want %v, %v", c.err, got, away(c.err), c.kind, c.again)
		}
	}
}

// TestErrorsNameClassAndMessage: the library's own text has neither.
func TestErrorsNameClassAndMessage(t *testing.T) {
	f, err := New(Options{Name: "lab", Addresses: []string{"host:8020"}, User: "ann"}, "/")
	if err != nil {
		t.Fatal(err)
	}
	err = f.wrap("create", "a/b", &os.PathError{Op: "create", Path: "/a/.tmp-0", Err: &javaError{"org.apache.hadoop.security.AccessControlException", "Permission denied: user=ann"}})
	var e *errs.Error
	if want := "create: hdfs://lab/a/b: org.apache.hadoop.security.AccessControlException: Permission denied: user=ann"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.As(err, &e) || e.ID != "E-HDFS-REFUSED" || !strings.Contains(e.Fix, "ann") {
		t.Errorf("got %+v", e)
	}
	err = f.wrap("stat", "a", errors.New("no available namenodes: dial tcp: refused"))
	if !errors.As(err, &e) || e.ID != "E-HDFS-UNREACHABLE" || !strings.Contains(e.Fix, "host:8020") {
		t.Errorf("got %+v", e)
	}
}

// scripted is a writer of the library that fails as told.
type scripted struct {
	write, close []error
	closes       int
}

func (s *scripted) Write(b []byte) (int, error) {
	if len(s.write) > 0 {
		err := s.write[0]
		s.write = s.write[1:]
		return 0, err
	}
	return len(b), nil
}

func (s *scripted) Close() error {
	s.closes++
	if len(s.close) == 0 {
		return nil
	}
	err := s.close[0]
	s.close = s.close[1:]
	return err
}

// TestCloseIsTriedAgainOnlyWhereThatIsSafe: a second Close after a failure at a DataNode says that all is well.
func TestCloseIsTriedAgainOnlyWhereThatIsSafe(t *testing.T) {
	replicating := error(&os.PathError{Op: "create", Path: "/x", Err: hadoop.ErrReplicating})
	standby := error(&javaError{ipc + "StandbyException", "x"})
	barred := errors.New("no available namenodes: connection refused")
	dn := error(&connError{dataServer, "10.0.0.1:9866", syscall.ECONNRESET})
	ack := errors.New("Ack error from datanode: ERROR")
	for name, c := range map[string]struct {
		fails  []error
		closes int
		ok     bool
	}{
		"well":                    {nil, 1, true},
		"replicating":             {[]error{replicating, replicating, replicating}, 4, true},
		"NameNode away":           {[]error{standby, barred, replicating}, 4, true},
		"DataNode gone":           {[]error{dn}, 1, false},
		"block refused":           {[]error{ack}, 1, false},
		"replicating, then worse": {[]error{replicating, ack}, 2, false},
		"away, then worse":        {[]error{barred, dn}, 2, false},
	} {
		f, err := New(Options{Addresses: []string{"host:8020"}}, "/")
		if err != nil {
			t.Fatal(err)
		}
		s := &scripted{close: c.fails}
		err = (&writer{fs: f, w: s}).close(t.Context())
		if s.closes != c.closes || (err == nil) != c.ok {
			t.Errorf("%s: %d closes, %v; want %d, ok %v", name, s.closes, err, c.closes, c.ok)
		}
	}
	f, err := New(Options{Addresses: []string{"host:8020"}, Patience: 200 * time.Millisecond}, "/")
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		s := &scripted{close: make([]error, 1000)}
		for i := range s.close {
			s.close[i] = replicating
		}
		if err := (&writer{fs: f, w: s}).close(t.Context()); !errs.Is(err, errs.Transient) {
			t.Errorf("replicating for ever: %v", err)
		}
		break
	}
}

// TestFailedWriteEndsTheWriter: no Close after a failed Write, by whatever the caller does next but Abort.
func TestFailedWriteEndsTheWriter(t *testing.T) {
	f, err := New(Options{Addresses: []string{"host:8020"}}, "/")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{write: []error{errors.New("write failed: ERROR ()")}}
	w := &writer{fs: f, path: "a", w: s, written: 1} // of whose first byte the DataNodes are sure
	for range 2 {
		if n, err := w.Write([]byte("x")); n != 0 || !errs.Is(err, errs.Transient) {
			t.Errorf("write: %d, %v", n, err)
		}
	}
	if err := w.Commit(t.Context()); !errs.Is(err, errs.Transient) || s.closes != 0 {
		t.Errorf("commit: %v, after %d closes", err, s.closes)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	f, err := New(Options{Name: addr, Addresses: []string{addr}, Contact: 300 * time.Millisecond}, "/")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Stat(t.Context(), "a")
	if took := time.Since(begin); !errs.Is(err, errs.Unreachable) || took > 30*time.Second || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v after %v", err, took)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	// A name that does not exist is no reason to wait.
	f, err = New(Options{Name: "lab", Addresses: []string{"lab.invalid:8020"}, Contact: time.Minute, Unknown: "known are x, y"}, "/")
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	_, err = f.Stat(t.Context(), "a")
	var e *errs.Error
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	var dns *net.DNSError
	if f.pool.nowhere() != nil && (!errs.Is(err, errs.Invalid) || !errors.As(err, &e) || e.Hint() != "known are x, y" || !errors.As(err, &dns)) {
		t.Errorf("an unknown host: %v, hint %q", err, e.Hint())
	}
	if _, err := New(Options{}, "/"); !errs.Is(err, errs.Invalid) {
		t.Errorf("no address: %v", err)
	}
}

func TestNames(t *testing.T) {
	f, err := New(Options{Name: "lab", Addresses: []string{"host:8020"}}, "/data/")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Name("a/b"); got != "hdfs://lab/data/a/b" || f.Below("/").Name("") != "hdfs://lab/" {
		t.Errorf("%q, %q", got, f.Below("/").Name(""))
	}
	for _, p := range []dfs.Path{"a/.tmp-0123456789abcdef", "a\xff"} {
		if err := f.Claim(t.Context(), p); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", p, err)
		}
	}
	o := &Opener{Resolve: func(host string) (Options, error) {
		if host == "bad" {
			return Options{}, errs.E("x", errs.Invalid, "", errors.New("no such cluster"))
		}
		return Options{Name: host, Addresses: []string{host}}, nil
	}}
	mux := dfs.NewMux(map[string]dfs.OpenFunc{"hdfs": o.Open})
	one, p, err := mux.Resolve(t.Context(), "hdfs://h:1/a/../100%/b?")
	two, root, err2 := mux.Resolve(t.Context(), "hdfs://h:1")
	if err != nil || err2 != nil || one != two || p != "100%/b?" || root != "" {
		t.Errorf("%v %v %q %q", err, err2, p, root)
	}
	if _, _, err := mux.Resolve(t.Context(), "hdfs://bad/x"); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := o.Open(ctx, &url.URL{Host: "h:1"}); !errs.Is(err, errs.Canceled) {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
