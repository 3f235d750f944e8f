//go:build unix

package cluster

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder takes a folder's lock, which is gone with the process, or fails at once with errTaken.
func lockFolder(name string) (*os.File, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errTaken
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errTaken
		}
		return nil, errors.Join(err, f.Close())
	}
	here, err := f.Stat()
	there, lerr := os.Stat(name)
	if err != nil || lerr != nil || !os.SameFile(here, there) {
		return nil, errors.Join(errTaken, f.Close())
	}
	return f, nil
}

// private tells whether something is a folder of this user's that no other one can write.
func private(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(owner.Uid) == os.Getuid() && info.Mode().Perm()&0o022 == 0
}
