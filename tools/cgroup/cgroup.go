// Package cgroup runs commands under a real memory limit, in Linux control groups of version 1 or 2, whichever is
// mounted. Benchmarks and scripts of tests call it; the program itself only reads the limits that it is under (package
// machine). Where there are no control groups, or this user may not make one, New fails.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// Group is a control group of its own. Whoever has made it removes it when its processes have ended.
type Group struct {
	dir string
	v1  bool
}

var made atomic.Int64

// New makes a group with a memory limit as the kernel reads it: bytes, or with K, M or G behind them.
func New(limit string) (*Group, error) {
	root, file, v1 := "/sys/fs/cgroup", "memory.max", false
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		root, file, v1 = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", true
	}
	g := &Group{dir: filepath.Join(root, fmt.Sprintf("vista-%d-%d", os.Getpid(), made.Add(1))), v1: v1}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(limit), 0o644); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

// Args are the arguments of sh that run a command inside the group from its first instruction.
func (g *Group) Args(name string, args ...string) []string {
	return append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, g.dir, name}, args...)
}

// Command is a command that runs inside the group.
func (g *Group) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", g.Args(name, args...)...)
}

// Usage tells the most that was charged to the group in bytes, pages of files included, and how many processes the
// kernel killed in it.
func (g *Group) Usage() (peak int64, kills int) {
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

// Remove removes the group.
func (g *Group) Remove() error { return os.Remove(g.dir) }
