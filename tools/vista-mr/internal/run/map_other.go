//go:build !unix

package run

import (
	"io"
	"os"
)

// mapFile reads the file: nothing is mapped on this system.
func mapFile(f *os.File, size int64) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(f, b)
	return b, err
}

func unmapFile([]byte) error { return nil }
