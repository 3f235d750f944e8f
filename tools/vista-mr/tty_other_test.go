//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// tty needs Linux's way to pseudo-terminals; scripts guard it with [linux].
func tty(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("tty works on Linux only") }
