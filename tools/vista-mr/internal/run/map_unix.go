//go:build unix

package run

import (
	"os"
	"syscall"
)

// mapFile maps a file for reading. It must not get shorter while it is mapped.
func mapFile(f *os.File, size int64) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_PRIVATE)
}

func unmapFile(b []byte) error { return syscall.Munmap(b) }
