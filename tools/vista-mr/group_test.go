package main

import (
	"fmt"
	"os/exec"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vista-mr/vista-mr/tools/cgroup"
)

// grouped runs vista-mr in a control group of so much memory and wants an exit code: grouped 120M 4 submit job.yaml.
func grouped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: grouped LIMIT N ARG...")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	g, err := cgroup.New(args[0])
	ts.Check(err)
	err = ts.Exec("sh", g.Args("vista-mr", args[2:]...)...)
	ts.Check(g.Remove())
	if got := exitCode(err); got != want {
		ts.Fatalf("exit code %d, want %d (%v)", got, want, err)
	}
}

// condition tells scripts what this user may do here (make a control group, mount a file system), and how the test was built.
func condition(name string) (bool, error) {
	switch name {
	case "cgroup":
		g, err := cgroup.New("64M")
		if err != nil {
			return false, nil
		}
		return true, g.Remove()
	case "race":
		return raced(), nil
	case "mount":
		return exec.Command("sh", "-c", "m='mount -t tmpfs -o size=1m none /mnt'; unshare -m sh -c \"$m\" || unshare -rm sh -c \"$m\"").Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
