package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// tty runs vista-mr with standard error on a pseudo-terminal and writes what the terminal gets to a file:
// tty N FILE ARG...
func tty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: tty N FILE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	defer master.Close()
	ts.Check(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	ts.Check(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	ts.Check(unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	cmd, _ := command(ts, args[2:])
	cmd.Stdout, cmd.Stderr = io.Discard, slave
	ts.Check(cmd.Start())
	ts.Check(slave.Close())
	var seen bytes.Buffer
	// The master reports an I/O error once the last writer is gone.
	if _, err := io.Copy(&seen, master); err != nil && !errors.Is(err, syscall.EIO) {
		ts.Check(err)
	}
	if got := exitCode(cmd.Wait()); got != want {
		ts.Fatalf("exit code %d, want %d\n%s", got, want, seen.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), bytes.ReplaceAll(seen.Bytes(), []byte("\r\n"), []byte("\n")), 0o644))
}
