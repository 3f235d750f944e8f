package local

import (
	"os"

	"golang.org/x/sys/unix"
)

func openUnnamed(string) *os.File { return nil } // the system has no files without names

func linkUnnamed(_ *os.File, name string) error { return os.NewSyscallError("link", unix.ENOTSUP) }

// renameExclusive renames unless the new name is taken.
func renameExclusive(from, to string) error {
	return os.NewSyscallError("rename", unix.RenamexNp(from, to, unix.RENAME_EXCL))
}
