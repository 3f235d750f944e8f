package main

import (
	"context"
	"fmt"
	"os/exec"
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
