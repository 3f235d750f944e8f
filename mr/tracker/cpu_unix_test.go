//go:build unix

package tracker

import (
	"syscall"
	"time"
)

// cpuTime is the processor time that this process has taken: what holds still when others use the machine, too.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
