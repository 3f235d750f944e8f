//go:build unix

package cputime

import (
	"syscall"
	"time"
)

// Taken is the processor time that this process has taken: what holds still when others use the machine, too.
func Taken() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
