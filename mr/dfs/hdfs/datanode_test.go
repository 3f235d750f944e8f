package hdfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// pattern returns n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(88172645)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// hidden are the names of unfinished files in the root of a file system.
func hidden(t *testing.T, f *FS, dir dfs.Path) []string {
	t.Helper()
	var out []string
	err := f.pool.do(t.Context(), time.Minute, func(s *session) error {
		out = nil
		all, _, err := s.list(f.abs(dir), nil)
		for _, st := range all {
			if isTemp(string(st.GetPath())) {
				out = append(out, string(st.GetPath()))
			}
		}
		return err
	})
	if err != nil && !errs.Is(err, errs.NotExist) {
		t.Errorf("list: %v", err)
	}
	return out
}

func wantNothing(t *testing.T, f *FS, p dfs.Path) {
	t.Helper()
	if _, err := f.Stat(t.Context(), p); !errs.Is(err, errs.NotExist) {
		t.Errorf("stat %s: %v; want that it is absent", p, err)
	}
	if names := hidden(t, f, p.Dir()); len(names) > 0 {
		t.Errorf("unfinished files stay: %q", names)
	}
}

// writeUntilItWorks is what an engine does: a failed file is written anew.
func writeUntilItWorks(t *testing.T, f *FS, p dfs.Path, data []byte, within time.Duration) {
	t.Helper()
	begin, tries := time.Now(), 0
	for {
		tries++
		err := dfs.WriteFile(t.Context(), f, p, data)
		if err == nil {
			break
		}
		if k := errs.KindOf(err); k != errs.Transient && k != errs.Unreachable || time.Since(begin) > within {
			t.Fatalf("try %d after %v: %v (kind %v)", tries, time.Since(begin), err, k)
		}
		time.Sleep(300 * time.Millisecond)
	}
	t.Logf("%d tries, %v", tries, time.Since(begin).Round(time.Millisecond))
	wantFile(t, f, p, data)
}

// two is the same folder with two replicas. HDFS avoids a DataNode that is stale, after three seconds here, only where
// there are enough others; where not, it goes on choosing a dead one until it knows it to be dead.
func two(t *testing.T, c *cluster, f *FS) *FS {
	o := c.options()
	o.Replication = 2
	g, err := New(o, f.root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// onAllDataNodes waits until every block of a file lies on all three. A block is written to two of them when the
// NameNode believes that the third is busy or gone, and is copied soon after.
func onAllDataNodes(t *testing.T, f *FS, p dfs.Path) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		least := 3
		err := f.pool.do(t.Context(), time.Minute, func(s *session) error {
			blocks, size, _, err := s.blocks(f.abs(p), 0, 1<<40)
			if err != nil || size == 0 {
				return errors.Join(err, fmt.Errorf("%d bytes", size))
			}
			for i := range blocks.Len() {
				least = min(least, get(blocks.Get(i).Message(), "locs").List().Len())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if least == 3 {
			return
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("%s: a block is on %d DataNodes after %v", p, least, time.Since(begin))
		}
	}
}

func wantFile(t *testing.T, f dfs.FS, p dfs.Path, data []byte) {
	t.Helper()
	got, err := dfs.ReadFile(t.Context(), f, p, 1<<30)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %s: %d bytes, %v; want %d", p, len(got), err, len(data))
	}
}

// TestDataNodeKilledWhileWriting is the trap of truncated files: after a failed Write, the library's Close may say that
// all is well and leave a file of whole blocks.
func TestDataNodeKilledWhileWriting(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	f := c.client(t, o)
	w, err := f.Create(t.Context(), "part")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(5 << 20)); err != nil { // beyond the first block
		t.Fatal(err)
	}
	// Also a file whose end is still with us when the DataNode dies.
	small, err := f.Create(t.Context(), "small")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.Write(pattern(70_000)); err != nil {
		t.Fatal(err)
	}
	c.sh(t, "kill", "dn2")
	t.Cleanup(func() { c.sh(t, "restart", "dn2") })
	written := 5 << 20
	for written < 64<<20 {
		if _, err = w.Write(pattern(1 << 20)); err != nil {
			break
		}
		written += 1 << 20
	}
	if !errs.Is(err, errs.Transient) {
		t.Fatalf("after %d bytes: %v (kind %v), want a transient failure", written, err, errs.KindOf(err))
	}
	t.Logf("failed after %d bytes: %v", written, err)
	for range 3 {
		if err := w.Commit(t.Context()); !errs.Is(err, errs.Transient) {
			t.Errorf("commit: %v", err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("a write after a failed one succeeds")
		}
	}
	if err := w.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
	if err := small.Commit(t.Context()); err == nil {
		wantFile(t, f, "small", pattern(70_000)) // a shorter pipeline has it all
	} else {
		t.Logf("the small file: %v", err)
		if err := small.Abort(); err != nil {
			t.Errorf("abort: %v", err)
		}
		wantNothing(t, f, "small")
	}
	wantNothing(t, f, "part")
	writeUntilItWorks(t, two(t, c, f), "part", pattern(9<<20), time.Minute)
}

// TestWritersPassADeadDataNode: until the NameNode knows a DataNode to be gone it goes on choosing it, also for the first place, and
// the library does not turn to another one. Whoever writes a file anew is not to notice.
func TestWritersPassADeadDataNode(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	o.Replication, o.DataTimeout = 2, time.Second
	f := c.client(t, o)
	for _, s := range []struct{ signal, undo string }{{"KILL", ""}, {"STOP", "CONT"}} {
		c.sh(t, "kill", "dn3", s.signal)
		for i := range 12 { // of any two in three, it is one of two most of the time
			p := dfs.Path(fmt.Sprintf("%s/%d", s.signal, i))
			if err := dfs.WriteFile(t.Context(), f, p, pattern(70_000)); err != nil {
				t.Errorf("%s: %v", p, err)
				continue
			}
			wantFile(t, f, p, pattern(70_000))
			if names := hidden(t, f, p.Dir()); len(names) > 0 {
				t.Errorf("%s: unfinished files stay: %q", p, names)
			}
		}
		if s.undo == "" {
			c.sh(t, "restart", "dn3")
		} else {
			c.sh(t, "kill", "dn3", s.undo)
		}
		c.sh(t, "live")
	}
}

// TestHungDataNodes: a stopped server answers nothing and closes nothing; the library waits for ever, and its deadline
// is the same for all DataNodes that it tries.
func TestHungDataNodes(t *testing.T) {
	c := start(t, "start")
	o := c.options()
	o.DataTimeout = time.Second
	f := c.client(t, o)
	data := pattern(9 << 20)
	writeUntilItWorks(t, f, "a", data, time.Minute)
	onAllDataNodes(t, f, "a")
	h, err := f.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := h.ReadAt(got[:1000], 0); err != nil { // a connection that is in use
		t.Fatal(err)
	}
	w, err := f.Create(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data[:1<<20]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.sh(t, "kill", "dn1", "CONT")
		c.sh(t, "kill", "dn2", "CONT")
		c.sh(t, "live")
	})
	c.sh(t, "kill", "dn1", "STOP")
	c.sh(t, "kill", "dn2", "STOP")
	begin := time.Now()
	n, err := h.ReadAt(got[1000:], 1000)
	if n != len(got)-1000 || err != nil && err != io.EOF || !bytes.Equal(got, data) {
		t.Errorf("read: %d bytes, %v", n, err)
	}
	t.Logf("read with two of three hung: %v", time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("the read took %v", took)
	}
	begin = time.Now()
	for err = nil; err == nil && time.Since(begin) < time.Minute; {
		_, err = w.Write(data[:1<<20])
	}
	if err != nil {
		t.Logf("write: %v after %v", err, time.Since(begin).Round(time.Millisecond))
	}
	if took := time.Since(begin); !errs.Is(err, errs.Transient) || took > 30*time.Second {
		t.Errorf("write: %v after %v", err, took)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
	wantNothing(t, f, "b")
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestDataNodeKilledWhileReading: the library turns to the next one.
func TestDataNodeKilledWhileReading(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	data := pattern(12 << 20)
	writeUntilItWorks(t, f, "a", data, time.Minute)
	onAllDataNodes(t, f, "a")
	h, err := f.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	got := make([]byte, len(data))
	for off := 0; off < len(got); off += 1 << 20 {
		if off == 3<<20 {
			c.sh(t, "kill", "dn1")
			defer c.sh(t, "restart", "dn1")
		}
		if n, err := h.ReadAt(got[off:off+1<<20], int64(off)); n != 1<<20 {
			t.Fatalf("read at %d: %d, %v", off, n, err)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	hosts, err := f.Hosts(t.Context(), "a", 0, int64(len(data)))
	if err != nil || len(hosts) != 1 || hosts[0] != "127.0.0.1" { // all DataNodes are one machine
		t.Errorf("hosts %q, %v", hosts, err)
	}
}

// TestErasureCodedAndEncrypted are refused with words, in folders where files would be written and in files.
func TestErasureCodedAndEncrypted(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	do := func(method string, a args) {
		t.Helper()
		err := f.pool.do(t.Context(), time.Minute, func(s *session) error {
			if strings.HasPrefix(method, "set") || strings.HasPrefix(method, "createE") {
				if err := s.mkdirs(fmt.Sprint(a["src"]), 0o755); err != nil {
					return err
				}
			}
			_, err := s.call(method, a)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", method, f.wrap(method, "", err))
		}
	}
	do("setErasureCodingPolicy", args{"src": f.abs("ec"), "ecPolicyName": "RS-6-3-1024k"})
	do("createEncryptionZone", args{"src": f.abs("zone"), "keyName": "zone"})
	for dir, id := range map[dfs.Path]string{"ec": "E-HDFS-ERASURE-CODED", "zone": "E-HDFS-ENCRYPTED"} {
		file := f.abs(dir.Join("theirs"))
		err := f.pool.do(t.Context(), time.Minute, func(s *session) error {
			_, err := s.call("create", args{"src": file, "masked": args{"perm": uint32(0o644)}, "clientName": s.c.Name(), "createFlag": uint32(flagCreate), "createParent": true,
				"replication": uint32(1), "blockSize": uint64(4 << 20), "cryptoProtocolVersion": cryptoVersions(t)})
			return err
		})
		if err != nil {
			t.Fatalf("create: %v", f.wrap("create", "", err))
		}
		_, openErr := f.Open(t.Context(), dir.Join("theirs"))
		for what, err := range map[string]error{"open": openErr, "create": second(f.Create(t.Context(), dir.Join("ours"))), "claim": f.Claim(t.Context(), dir.Join("deeper/ours"))} {
			var named interface{ ErrorID() string }
			if !errs.Is(err, errs.Invalid) || !asError(err, &named) || named.ErrorID() != id {
				t.Errorf("%s in %s: %v", what, dir, err)
			}
		}
		if info, err := f.Stat(t.Context(), dir.Join("theirs")); err != nil || info.Size != 0 {
			t.Errorf("stat: %+v, %v", info, err)
		}
	}
}

// cryptoVersions is the one version of encryption zones, as a client that knows them says.
func cryptoVersions(t *testing.T) protoreflect.List {
	t.Helper()
	m, err := message("CreateRequestProto")
	if err != nil {
		t.Fatal(err)
	}
	list := m.Mutable(m.Descriptor().Fields().ByName("cryptoProtocolVersion")).List()
	list.Append(protoreflect.ValueOfEnum(2))
	return list
}
