//go:build !linux

package main

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"
)

// grouped needs Linux's control groups; scripts guard it with [cgroup].
func grouped(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("grouped works on Linux only") }

// condition tells what this user may do here: there are neither control groups nor private mounts.
func condition(name string) (bool, error) {
	if name == "cgroup" || name == "mount" {
		return false, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
