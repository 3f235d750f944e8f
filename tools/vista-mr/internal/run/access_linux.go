package run

import "golang.org/x/sys/unix"

// writable tells why nothing can be made in a folder. In the kernel's own file systems root seems to have the right to.
func writable(dir string) error {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && (fs.Type == unix.PROC_SUPER_MAGIC || fs.Type == unix.SYSFS_MAGIC) {
		return unix.EPERM
	}
	return unix.Access(dir, unix.W_OK|unix.X_OK)
}
