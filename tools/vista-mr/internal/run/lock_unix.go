//go:build unix

package run

import (
	"os"
	"syscall"
)

// lockFile takes the file's lock or fails at once. It is gone with the file's descriptor, so a process
// that is killed leaves none behind.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
