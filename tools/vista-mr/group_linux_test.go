package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

var groups atomic.Int64

// makeGroup makes a control group with a memory limit in bytes, of version 1 or 2, whichever is mounted.
func makeGroup(limit string) (dir string, err error) {
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	dir = filepath.Join(root, fmt.Sprintf("vista-test-%d-%d", os.Getpid(), groups.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(limit), 0o644); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// grouped runs vista-mr in a control group of so much memory and wants an exit code: grouped 120M 4 submit job.yaml.
func grouped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: grouped LIMIT N ARG...")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	dir, err := makeGroup(args[0])
	ts.Check(err)
	err = ts.Exec("sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec vista-mr "$@"`, dir}, args[2:]...)...)
	ts.Check(os.Remove(dir))
	if got := exitCode(err); got != want {
		ts.Fatalf("exit code %d, want %d (%v)", got, want, err)
	}
}

// condition tells what this user may do here, for scripts: make a control group, mount a file system.
func condition(name string) (bool, error) {
	switch name {
	case "cgroup":
		dir, err := makeGroup("64M")
		if err != nil {
			return false, nil
		}
		return true, os.Remove(dir)
	case "mount":
		return exec.Command("sh", "-c", "m='mount -t tmpfs -o size=1m none /mnt'; unshare -m sh -c \"$m\" || unshare -rm sh -c \"$m\"").Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
