package local

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// ErrNotRegular says that a path names something that is neither a file nor a folder.
var ErrNotRegular = errors.New("not a regular file")

const errInvalid = syscall.EINVAL

// kindOf knows a few errors of the operating system beyond those that errs knows.
func kindOf(err error) errs.Kind {
	var no syscall.Errno
	if errors.Is(err, ErrNotRegular) || errors.Is(err, errFileAbove) || errors.Is(err, errNoExclusive) {
		return errs.Invalid
	}
	if errors.As(err, &no) {
		switch no {
		case syscall.ENOTDIR: // a file where the path wants a folder: other stores see no such file
			return errs.NotExist
		case syscall.ENAMETOOLONG, syscall.ELOOP:
			return errs.Invalid
		case syscall.EROFS:
			return errs.Unauthorized
		case syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.EINTR, syscall.ESTALE, syscall.ETIMEDOUT,
			syscall.EIO: // another try may go to another disk or machine, and is counted
			return errs.Transient
		case syscall.EFBIG:
			return errs.NoSpace
		}
	}
	return errs.KindOf(err)
}

// wrap gives an error of the operating system our path instead of its own, which may be that
// of a hidden file.
func wrap(op string, p dfs.Path, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	return errs.E(op, kind, string(p), err)
}

// unlink removes a name that is no folder. (os.Remove would remove an empty folder too.)
func unlink(name string) error {
	for {
		if err := syscall.Unlink(name); err != syscall.EINTR {
			return os.NewSyscallError("unlink", err)
		}
	}
}

const nonblock = syscall.O_NONBLOCK
