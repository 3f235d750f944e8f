package local

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file that has no name yet, or returns nil where that cannot be done and
// a hidden file must do: some file systems have no such files, and without /proc they could
// not be given a name later.
func openUnnamed(dir string) *os.File {
	for {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil // a real failure is met again, and reported, by the hidden file
		}
		if unix.Access(procName(fd), unix.F_OK) != nil {
			_ = unix.Close(fd) // nothing was written
			return nil
		}
		return os.NewFile(uintptr(fd), dir)
	}
}

func procName(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// linkUnnamed gives the file its name. (AT_EMPTY_PATH would need a capability.)
func linkUnnamed(f *os.File, name string) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var linkErr error
	err = c.Control(func(fd uintptr) {
		for {
			linkErr = unix.Linkat(unix.AT_FDCWD, procName(int(fd)), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
			if linkErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("link", linkErr)
}

// renameExclusive renames unless the new name is taken.
func renameExclusive(from, to string) error {
	return os.NewSyscallError("rename", unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE))
}
