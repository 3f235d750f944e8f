//go:build !unix

package cluster

import "os"

// lockFolder takes nothing where folders cannot be locked; that they are held by somebody is said of all but empty ones, so that none
// that is in use is removed.
func lockFolder(name string) (*os.File, error) {
	all, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		return nil, errTaken
	}
	return os.Open(os.DevNull)
}

// private tells whether something is a folder: elsewhere the folder for temporary files is the user's own.
func private(info os.FileInfo) bool { return info.IsDir() }
