//go:build unix

package machine

import "golang.org/x/sys/unix"

// Free is the room in bytes that a user may take on the disk of a folder; false: not known.
func Free(dir string) (int64, bool) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
