//go:build unix

package blobs

import (
	"os"
	"syscall"
)

// lockShared waits for nobody but one who removes the file.
func lockShared(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_SH) }

// lockAlone fails at once where somebody else has the lock.
func lockAlone(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// lockWait waits until nobody else has the lock.
func lockWait(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
