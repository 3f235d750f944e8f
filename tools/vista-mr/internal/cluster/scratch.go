package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// ScratchFolder makes a worker's own folder below dir, and returns what removes it. What workers of this machine have left there
// that were killed is removed before: a folder is its worker's for as long as that holds its lock.
func ScratchFolder(dir string) (string, func() error, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	prefix := scratchPrefix()
	sweepScratch(dir, prefix)
	for {
		own, err := os.MkdirTemp(dir, prefix+"*")
		if err != nil {
			return "", nil, err
		}
		lock, err := lockFolder(own)
		if err != nil && !errors.Is(err, errTaken) {
			return "", nil, errors.Join(err, os.Remove(own))
		}
		if err == nil { // else somebody sweeps it, who may have found it before it was locked
			return own, func() error { return errors.Join(os.RemoveAll(own), lock.Close()) }, nil
		}
	}
}

// TrackerScratch makes a tracker's local folder, and makes sure that it can be written; "" stands for this user's own in the folder for
// temporary files. There, where everybody can make folders, it takes none that another user has made or can write.
func TrackerScratch(dir string) (string, error) {
	shared := dir == ""
	if shared {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("vista-mr-tracker-%d", os.Getuid()))
	}
	dir, err := filepath.Abs(dir) // drivers and the tracker must agree on it
	if err != nil {
		return "", ScratchError(dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", ScratchError(dir, err)
	}
	if shared {
		if info, err := os.Lstat(dir); err != nil || !private(info) {
			return "", ScratchError(dir, errors.Join(errors.New("it is another user's, or others can write it"), err))
		}
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return "", ScratchError(dir, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return "", ScratchError(dir, err)
	}
	return dir, nil
}

// ScratchError says that a daemon cannot use its local folder.
func ScratchError(dir string, err error) error {
	e := &errs.Error{Op: "--scratch", Kind: errs.Invalid, ID: "E-SCRATCH", Path: dir, Err: err, Fix: "choose another --scratch: a local folder that this user can write, with room"}
	if errs.Is(err, errs.NoSpace) {
		e.Kind, e.ID = errs.NoSpace, ""
	}
	return exit.As(exit.Invalid, e)
}

// scratchPrefix begins the names of folders of this machine's workers. Others may share dir with it, and their locks need not be
// seen here.
func scratchPrefix() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	clean := func(r rune) rune {
		if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}
	return "worker-" + strings.Map(clean, host) + "-"
}

// sweepScratch removes folders that no worker holds. What cannot be removed costs room and nothing else, and is tried again
// by the next one.
func sweepScratch(dir, prefix string) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, d := range all {
		digits, ours := strings.CutPrefix(d.Name(), prefix)
		if !ours || !d.IsDir() || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		name := filepath.Join(dir, d.Name())
		lock, err := lockFolder(name)
		if err != nil {
			continue // it is in use
		}
		_ = os.RemoveAll(name)
		_ = lock.Close() // nothing was written
	}
}

// errTaken says that somebody else holds a folder, or has removed it.
var errTaken = errors.New("the folder is in use")
