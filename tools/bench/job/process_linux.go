package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// tree is the CPU time in seconds that a process, its children and those that these have waited for have taken.
func tree(pid int) (float64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	var all float64
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		for child := range strings.FieldsSeq(string(b)) {
			n, err := spent(child, 15) // with those that it has waited for
			if err != nil {
				return 0, err
			}
			all += n
		}
	}
	return all, nil
}

// own is the processor time of a process without its children, in seconds.
func own(pid string) (float64, error) { return spent(pid, 13) }

// spent adds up utime, stime, cutime and cstime of a process, up to a field.
func spent(pid string, last int) (all float64, err error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // a program's name may hold blanks
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0, fmt.Errorf("/proc/%s/stat: %d fields", pid, len(f))
	}
	for _, v := range f[11:last] { // in hundredths of a second
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return 0, err
		}
		all += n / 100
	}
	return all, nil
}

// evict takes the pages of all files below a folder out of the system's memory. A page counts for the control group that has read it, so
// that a group which finds it there has room that a job of its own would not have.
func evict(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the run before was killed before it made any
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		// What is not on the disk yet would stay.
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
}
