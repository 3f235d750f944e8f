//go:build !unix

package run

import "os"

// lockFile does nothing where files cannot be locked this way; there, starting the same job twice at the
// same time is the user's to avoid.
func lockFile(*os.File) error { return nil }
