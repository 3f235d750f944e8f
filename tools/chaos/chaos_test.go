//go:build linux

package main

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A seed is a schedule, and every fault comes up where it may.
func TestSchedules(t *testing.T) {
	for _, store := range []string{"local", "s3", "hdfs"} {
		seen, jobs, drivers := map[string]bool{}, map[string]bool{}, 0
		for seed := range int64(400) {
			s := newSchedule(seed, store)
			if again := newSchedule(seed, store); s.text(0) != again.text(0) || s.text(time.Second) == s.text(0) {
				t.Fatalf("seed %d on %s:\n%s%s", seed, store, s.text(0), again.text(0))
			}
			jobs[s.job] = true
			killed := 0
			for i, f := range s.faults {
				seen[f.kind] = true
				if k := kinds[f.kind]; k.stores != "" && !strings.Contains(k.stores, store) {
					t.Errorf("seed %d: %v on %s", seed, f, store)
				}
				if f.at < 0 || f.last <= 0 || f.who < 0 || f.who >= workers || i > 0 && f.at < s.faults[i-1].at-1e-6 {
					t.Errorf("seed %d: %+v", seed, f)
				}
				if f.kind == "kill-driver" {
					killed++
				}
			}
			drivers = max(drivers, killed)
		}
		for name, k := range kinds {
			if (k.stores == "" || strings.Contains(k.stores, store)) != seen[name] {
				t.Errorf("%s on %s: %v", name, store, seen[name])
			}
		}
		if len(jobs) != len(variants) || drivers > 2 {
			t.Errorf("%s: jobs %v, %d drivers are killed in one", store, slices.Sorted(maps.Keys(jobs)), drivers)
		}
	}
}

// echo is a server that sends back what it gets, and tells of connections that have ended.
func echo(t *testing.T) (addr string, ended chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ended = make(chan error, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, err := io.Copy(c, c)
				_ = c.Close()
				ended <- err
			}()
		}
	}()
	return l.Addr().String(), ended
}

func TestProxy(t *testing.T) {
	addr, ended := echo(t)
	p, err := newProxy(addr)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, bufio.NewReader(c)
	}
	// say sends a line, and tells whether it comes back before a deadline.
	say := func(c net.Conn, in *bufio.Reader, line string, within time.Duration) bool {
		t.Helper()
		if line != "" {
			if _, err := io.WriteString(c, line+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		got, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil && (line == "" || got == line+"\n")
	}
	const long, brief = time.Minute, 30 * time.Millisecond
	c, in := dial()
	if !say(c, in, "a", long) {
		t.Fatal("nothing passes")
	}
	for name, g := range map[string]*gate{"up": p.up, "down": p.down} {
		g.hold()
		if say(c, in, "b", brief) {
			t.Errorf("%s: what is held passes", name)
		}
		if d, din := dial(); say(d, din, "c", brief) { // also on a new connection
			t.Errorf("%s: what is held passes", name)
		}
		g.release()
		if !say(c, in, "", long) { // it was not lost
			t.Errorf("%s: what was held does not pass", name)
		}
	}
	p.up.slow(50 * time.Millisecond)
	start := time.Now()
	if !say(c, in, "d", long) || time.Since(start) < 50*time.Millisecond {
		t.Errorf("a delay of 50 ms took %v", time.Since(start))
	}
	p.up.slow(0)
	for len(ended) > 0 {
		<-ended
	}
	p.refuse(true)
	if _, err := in.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("cut: %v", err)
	}
	<-ended                                              // the other end learns it
	if d, err := net.Dial("tcp", p.addr()); err == nil { // else it was cut before the dialer knew of it
		if _, err := d.Read(make([]byte, 1)); err == nil {
			t.Error("it is not refused")
		}
		_ = d.Close()
	}
	p.refuse(false)
	other, _ := echo(t)
	p.lead(other)
	if c, in = dial(); !say(c, in, "e", long) {
		t.Error("the other target is not reached")
	}
	p.down.hold()
	if err := p.close(); err != nil { // although something is held
		t.Error(err)
	}
}

// What is compared tells files that differ, are missing or should not be there, and counters, but no times.
func TestDifferences(t *testing.T) {
	got := differences(files{"a": "1", "b": "1", "q/x": "1"}, files{"a": "2", "c": "1"}, func(name string) bool { return !strings.HasPrefix(name, "q/") })
	if want := []string{"a differs", "b is missing", "c should not be there"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	text := func(rows, time string) string {
		b, err := lasting([]byte(`{"job":{"output":"` + time + `"},"counters":{"rows":` + rows + `,"other":{"time.cnn.us":` + time + `}},"layers":[{"name":"a","seconds":` + time + `}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if text("5", "1") != text("5", "2") || text("5", "1") == text("6", "1") {
		t.Errorf("%s\n%s\n%s", text("5", "1"), text("5", "2"), text("6", "1"))
	}
}

// Processes of a run are found by their mark, with what they have started, and not those of another one.
func TestMarked(t *testing.T) {
	ids := []string{t.Name() + "-1", t.Name() + "-11"}
	for _, id := range ids {
		cmd := exec.Command("sh", "-c", "sleep 1000 & wait")
		cmd.Env = append(os.Environ(), runVariable+"="+id)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the test is over
			_ = cmd.Wait()
		})
	}
	for _, id := range ids {
		if err := until(t.Context(), time.Minute, func() bool { return len(marked(id)) == 2 }); err != nil {
			t.Errorf("%s: %v, %v", id, marked(id), err)
		}
	}
}

// A run notices what is left on the disk.
func TestLeft(t *testing.T) {
	r := &run{dir: t.TempDir()}
	for _, name := range []string{"models/a.json", "models/.tmp-0123456789abcdef", "_job.json", "_job.json.123"} {
		name = filepath.Join(r.dir, "disk", "out", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(r.dir, "disk", "out", "_work", "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	got, err := onDisk{}.left(t.Context(), r, "out")
	slices.Sort(got)
	if want := []string{"_job.json.123", "_work/tmp/", "models/.tmp-0123456789abcdef"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
