package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run runs a command to its end and tells what it took. Its output is shown if it fails.
func run(ctx context.Context, cmd *exec.Cmd) (usage, error) {
	start := time.Now()
	out, err := cmd.CombinedOutput()
	u := usage{seconds: time.Since(start).Seconds()}
	if s := cmd.ProcessState; s != nil {
		u.cpu = (s.UserTime() + s.SystemTime()).Seconds()
		if r, ok := s.SysUsage().(*syscall.Rusage); ok {
			u.peak = float64(r.Maxrss) / 1024
		}
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return u, ctx.Err()
}

// group is a control group of its own with a memory limit: version 1 or 2, whichever is mounted.
type group struct {
	dir string
	v1  bool
}

func newGroup(limit int64) (*group, error) {
	root, file, v1 := "/sys/fs/cgroup", "memory.max", false
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		root, file, v1 = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", true
	}
	g := &group{dir: filepath.Join(root, "vista-bench-"+strconv.Itoa(os.Getpid())), v1: v1}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	err := os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644)
	if err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// command is a command that runs inside the group from its first instruction.
func (g *group) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	script := `echo $$ >"$0/cgroup.procs" && exec "$@"`
	return exec.CommandContext(ctx, "sh", append([]string{"-c", script, g.dir, name}, args...)...)
}

// usage tells the most that was charged to the group, pages of files included, and how many processes the
// kernel killed in it.
func (g *group) usage() (peak int64, kills int) {
	file, events := "memory.peak", "memory.events"
	if g.v1 {
		file, events = "memory.max_usage_in_bytes", "memory.oom_control"
	}
	if b, err := os.ReadFile(filepath.Join(g.dir, file)); err == nil {
		peak, _ = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	if b, err := os.ReadFile(filepath.Join(g.dir, events)); err == nil {
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				kills, _ = strconv.Atoi(n)
			}
		}
	}
	return peak, kills
}

func (g *group) remove() error { return os.Remove(g.dir) }
