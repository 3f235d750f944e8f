//go:build unix && !linux

package run

import "golang.org/x/sys/unix"

// writable tells why nothing can be made in a folder.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
