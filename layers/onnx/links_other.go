//go:build !unix

package onnx

import "os"

// links returns 1 where the system does not tell how many names a file has.
func links(os.FileInfo) uint64 { return 1 }
