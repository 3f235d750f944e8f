//go:build !unix

package local

import "io/fs"

func inodeOf(fs.FileInfo) (inode, bool) { return inode{}, false }
