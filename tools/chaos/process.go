//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawner starts children from a thread that does not end: they are killed when it does.
func spawner(calls <-chan func()) {
	runtime.LockOSThread()
	for f := range calls {
		f()
	}
}

// runVariable marks the processes of a run, and what they start.
const runVariable = "VISTA_CHAOS_RUN"

// process is one that was started.
type process struct {
	name string
	log  string // file of what it says
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error

	mu     sync.Mutex
	wanted bool // it was told to end, or killed
}

// start starts the program in the run's environment.
func (r *run) start(name string, env []string, args ...string) (*process, error) {
	r.mu.Lock()
	r.started[name]++
	log := filepath.Join(r.dir, "logs", fmt.Sprintf("%s-%d.log", name, r.started[name]))
	r.mu.Unlock()
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	p := &process{name: name, log: log, done: make(chan struct{})}
	p.cmd = exec.Command(r.b.program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = r.dir, f, f
	p.cmd.Env = append(slices.Clone(r.env), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	spawn(func() { err = p.cmd.Start() })
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end sends a signal after which the process may end.
func (p *process) end(s syscall.Signal) {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.signal(s)
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it has ended

func (p *process) isWanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// said is what the process has said so far.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// waitFor waits for the end of a process.
func (p *process) waitFor(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
		return false
	}
}

// keeper keeps one process running, as who runs a cluster does.
type keeper struct {
	r     *run
	name  string
	begin func() (*process, error)

	mu   sync.Mutex
	p    *process
	held bool          // it is not to be started for now
	look chan struct{} // holds a token when something has changed
}

func newKeeper(r *run, name string, begin func() (*process, error)) *keeper {
	return &keeper{r: r, name: name, begin: begin, look: make(chan struct{}, 1)}
}

func (k *keeper) changed() {
	select {
	case k.look <- struct{}{}:
	default:
	}
}

// now is the process that runs and was not told to end; nil: none does.
func (k *keeper) now() *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.p == nil || k.p.isWanted() {
		return nil
	}
	select {
	case <-k.p.done:
		return nil
	default:
	}
	return k.p
}

// kill ends the process, and returns what has it started again.
func (k *keeper) kill() func() error {
	p := k.now()
	if p == nil {
		return nil
	}
	k.mu.Lock()
	k.held = true
	k.mu.Unlock()
	p.end(syscall.SIGKILL)
	return func() error {
		k.mu.Lock()
		k.held = false
		k.mu.Unlock()
		k.changed()
		return nil
	}
}

// leave has another process started beside the one that runs.
func (k *keeper) leave(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.p == p {
		k.p = nil
		k.changed()
	}
}

// keep starts the process, and another one when it has ended, until the run ends.
func (k *keeper) keep(end <-chan struct{}) {
	for {
		k.mu.Lock()
		p, held := k.p, k.held
		k.mu.Unlock()
		var done <-chan struct{}
		var again <-chan time.Time
		switch {
		case p != nil:
			done = p.done
		case !held:
			next, err := k.begin()
			k.mu.Lock()
			k.p = next
			k.mu.Unlock()
			if err == nil {
				continue
			}
			k.r.note("%s cannot be started: %v", k.name, err)
			again = time.After(300 * time.Millisecond)
		}
		select {
		case <-done:
			k.mu.Lock()
			if k.p == p {
				k.p = nil
			}
			k.mu.Unlock()
			if !p.isWanted() {
				k.r.died(p)
				again = time.After(300 * time.Millisecond)
				select {
				case <-again:
				case <-end:
					return
				}
			}
		case <-again:
		case <-k.look:
		case <-end:
			return
		}
	}
}

// children are a process's children whose first argument is role.
func children(pid int, role string) []int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for f := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				continue
			}
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
			if args := strings.Split(string(line), "\x00"); err == nil && len(args) > 1 && args[1] == role {
				out = append(out, child)
			}
		}
	}
	return out
}

// marked are all processes of a run that have not ended, with their command lines.
func marked(id string) map[int]string {
	out := map[int]string{}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	want := []byte(runVariable + "=" + id)
	for _, d := range all {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", d.Name(), "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) }) {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", d.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue // it has ended
		}
		out[pid] = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	}
	return out
}

// signalPID is syscall.Kill, for which a process that has ended is no error.
func signalPID(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
