//go:build unix

package machine

import (
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the processor time that the process has taken so far, of all its threads.
func CPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
