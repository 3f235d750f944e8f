package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vista-mr/vista-mr/tools/cgroup"
)

// fleet is a tracker, and workers of one slot for it that are started anew for each limit of memory: what a group is charged
// with stays when its limit changes, and so does what a worker holds of another network.
type fleet struct {
	bin, url string
	tracker  *exec.Cmd
	said     chan struct{} // closed when all that the tracker says has been passed on
	workers  []member
}

// member is a worker.
type member struct {
	cmd   *exec.Cmd
	group *cgroup.Group // nil: it may use what the machine has
}

// fleetSize is how many workers there are.
const fleetSize = 2

// Times in which a worker must have joined or left.
const joins, leaves = 20 * time.Second, 40 * time.Second

// newFleet starts a tracker that keeps its state in a folder.
func newFleet(ctx context.Context, bin, state string) (*fleet, error) {
	f := &fleet{bin: bin, said: make(chan struct{}), tracker: exec.CommandContext(ctx, bin, "tracker", "--listen", "127.0.0.1:0", "--state", state)}
	f.tracker.Cancel = func() error { return f.tracker.Process.Signal(syscall.SIGTERM) }
	out, err := f.tracker.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := f.tracker.Start(); err != nil {
		return nil, err
	}
	words := bufio.NewReader(out)
	line, err := words.ReadString('\n')
	go func() {
		defer close(f.said)
		_, _ = io.Copy(os.Stderr, words) // words of a process that may be gone
	}()
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "tracker: ")
	if err != nil || !ok {
		_, stop := f.stop()
		return nil, errors.Join(fmt.Errorf("the tracker says %q instead of its address", line), err, stop)
	}
	f.url = url
	return f, nil
}

// start starts workers anew, each in a control group of so many MiB (0: in none), and waits until the tracker has them. It says how
// many of those before the kernel has killed.
func (f *fleet) start(ctx context.Context, limit int) (kills int, err error) {
	if kills, err = f.dismiss(); err != nil {
		return kills, err
	}
	if err := f.joined(ctx); err != nil { // the tracker misses one that was killed after a while
		return kills, err
	}
	for range fleetSize {
		args := []string{"worker", "--tracker", f.url, "--slots", "1"}
		m := member{cmd: exec.CommandContext(ctx, f.bin, args...)}
		if limit > 0 {
			if m.group, err = cgroup.New(fmt.Sprintf("%dM", limit)); err != nil {
				return kills, err
			}
			m.cmd = m.group.Command(ctx, f.bin, args...)
		}
		m.cmd.Cancel = func() error { return m.cmd.Process.Signal(syscall.SIGTERM) }
		m.cmd.Stderr = os.Stderr
		if err := m.cmd.Start(); err != nil {
			if m.group != nil {
				err = errors.Join(err, m.group.Remove())
			}
			return kills, err
		}
		f.workers = append(f.workers, m)
	}
	return kills, f.joined(ctx)
}

// joined waits until the tracker has as many workers as run: after all have been dismissed, none.
func (f *fleet) joined(ctx context.Context) error {
	for until := time.Now().Add(joins); ; {
		text, err := exec.CommandContext(ctx, f.bin, "workers", "--tracker", f.url, "-o", "json").Output()
		if err != nil {
			return fmt.Errorf("workers: %w", err)
		}
		var list struct{ Workers []struct{ ID string } }
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("workers: %w", err)
		}
		if len(list.Workers) == len(f.workers) {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("after %s the tracker has %d workers, not %d", joins, len(list.Workers), len(f.workers))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// kills is how many workers the kernel has killed since they were started.
func (f *fleet) kills() (n int) {
	for _, m := range f.workers {
		if m.group != nil {
			_, killed := m.group.Usage()
			n += killed
		}
	}
	return n
}

// dismiss ends all workers, and says how many the kernel had killed.
func (f *fleet) dismiss() (kills int, err error) {
	kills = f.kills()
	for _, m := range f.workers {
		_ = m.cmd.Process.Signal(syscall.SIGTERM) // it may have been killed
		last := time.AfterFunc(leaves, func() { _ = m.cmd.Process.Kill() })
		if e := m.cmd.Wait(); e != nil && kills == 0 {
			err = errors.Join(err, fmt.Errorf("worker: %w", e))
		}
		last.Stop()
		if m.group != nil {
			err = errors.Join(err, m.group.Remove())
		}
	}
	f.workers = nil
	return kills, err
}

// stop ends workers and tracker.
func (f *fleet) stop() (kills int, err error) {
	kills, err = f.dismiss()
	_ = f.tracker.Process.Signal(syscall.SIGTERM) // it may have ended
	<-f.said
	_ = f.tracker.Wait()
	return kills, err
}

// limit is how many MiB the group of a worker has; 0: it has none.
func (o *grid) limit(c cell) int {
	if !o.groups {
		return 0
	}
	return c.memory
}
