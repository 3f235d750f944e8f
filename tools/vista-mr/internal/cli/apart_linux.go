package cli

import "syscall"

// apart starts a process in a group of its own, which ends with this one however that ends.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
