//go:build unix

package run

import (
	"os"
	"syscall"
)

// mapFile maps a file for reading. Where it gets shorter meanwhile, reading it is a fault: see Bundle.guard.
func mapFile(f *os.File, size int64) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_PRIVATE)
}

func unmapFile(b []byte) error { return syscall.Munmap(b) }
