//go:build unix

package onnx

import (
	"os"
	"syscall"
)

// links returns the number of names that a file has.
func links(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 1
}
