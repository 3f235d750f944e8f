//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func (r *run) killWorker(f fault) func() error { return r.workers[f.who].kill() }
func (r *run) killTracker(fault) func() error  { return r.tracker.kill() }

// driver is the process id of the driver of the tracker that runs; 0: there is none.
func (r *run) driver() int {
	if p := r.tracker.now(); p != nil {
		if all := children(p.pid(), "submit"); len(all) > 0 {
			return all[0]
		}
	}
	return 0
}

func (r *run) killDriver(fault) func() error {
	pid := r.driver()
	if pid == 0 || signalPID(pid, syscall.SIGKILL) != nil {
		return nil
	}
	return func() error { return nil } // its tracker starts another one
}

func (r *run) stopDriver(fault) func() error {
	pid := r.driver()
	if pid == 0 || signalPID(pid, syscall.SIGSTOP) != nil {
		return nil
	}
	return func() error { return signalPID(pid, syscall.SIGCONT) }
}

func stop(p *process) func() error {
	if p == nil {
		return nil
	}
	p.signal(syscall.SIGSTOP)
	return func() error { p.signal(syscall.SIGCONT); return nil }
}

func (r *run) stopWorker(f fault) func() error { return stop(r.workers[f.who].now()) }
func (r *run) stopTracker(fault) func() error  { return stop(r.tracker.now()) }

// usurp starts a tracker while the old one is stopped. When that one wakes up, it is to find out and end.
func (r *run) usurp(f fault) func() error {
	old := r.tracker.now()
	if old == nil {
		return nil
	}
	old.signal(syscall.SIGSTOP)
	r.tracker.leave(old)
	old.mu.Lock()
	old.wanted = true // to end, by itself
	old.mu.Unlock()
	r.mu.Lock()
	r.usurped = append(r.usurped, old)
	r.mu.Unlock()
	if f.both {
		for _, p := range r.ways {
			p.cut()
		}
	}
	return func() error { old.signal(syscall.SIGCONT); return nil }
}

func (r *run) holdUp(f fault) func() error {
	g := r.ways[f.who].up
	g.hold()
	return func() error { g.release(); return nil }
}

func (r *run) holdDown(f fault) func() error {
	g := r.ways[f.who].down
	g.hold()
	return func() error { g.release(); return nil }
}

func (r *run) delay(f fault) func() error {
	p := r.ways[f.who]
	p.up.slow(150 * time.Millisecond)
	p.down.slow(50 * time.Millisecond)
	return func() error { p.up.slow(0); p.down.slow(0); return nil }
}

// cut resets a worker's connections, once or for a while.
func (r *run) cut(f fault) func() error {
	p := r.ways[f.who]
	p.refuse(f.both)
	p.cut()
	return func() error { p.refuse(false); return nil }
}

func (r *run) killServer(f fault) func() error { return r.store.kill(r, f.who) }
func (r *run) stopServer(f fault) func() error { return r.store.stop(r, f.who) }

// holdStore keeps the answers of the store from one process.
func (r *run) holdStore(f fault) func() error {
	p := r.storeWays[f.who]
	if f.both {
		p = r.storeWays[workers]
	}
	p.down.hold()
	return func() error { p.down.release(); return nil }
}

func (r *run) fillScratch(fault) func() error { return r.fill("scratch") }
func (r *run) fillOutput(fault) func() error  { return r.fill("disk") }

// diskSize is that of the file systems that are filled, in bytes.
const diskSize = 32 << 20

// mountDisk makes a folder of the run a small file system; false: that is not allowed here.
func mountDisk(dir string) bool {
	return os.Getenv(insideVariable) != "" && syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)) == nil
}

// fill leaves no room on a disk of the run.
func (r *run) fill(disk string) func() error {
	if !r.b.disks {
		return nil
	}
	ballast := filepath.Join(r.dir, disk, fmt.Sprintf(".ballast-%d", time.Now().UnixNano()))
	f, err := os.Create(ballast)
	if err == nil {
		for _, n := range []int{1 << 20, 4096} {
			for buf := make([]byte, n); err == nil; {
				_, err = f.Write(buf)
			}
			if errors.Is(err, syscall.ENOSPC) {
				err = nil
			}
		}
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, syscall.ENOSPC) { // it is full already
		err = nil
	}
	if err != nil {
		r.bad("the disk %s cannot be filled: %v", disk, err)
		return nil
	}
	r.mu.Lock()
	r.filled = true
	r.mu.Unlock()
	return func() error {
		if err := os.Remove(ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
}
