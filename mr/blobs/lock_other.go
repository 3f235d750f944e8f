//go:build !unix

package blobs

import "os"

// Where files cannot be locked this way, open files cannot be removed either.
func lockShared(*os.File) error { return nil }
func lockAlone(*os.File) error  { return nil }
func lockWait(*os.File) error   { return nil }
