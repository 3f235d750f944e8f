package run

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// cacheDir is where the runtime keeps prepared models between runs: VISTA_MR_CACHE, or the
// user's cache folder; "" (no cache) where there is none.
func cacheDir() string {
	if dir := os.Getenv("VISTA_MR_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "vista-mr", "ort")
}

// triedCaches are the cache folders in which this process has tried to make a file.
var triedCaches = struct {
	sync.Mutex
	cause map[string]error // by folder; nil: it can be written
	said  map[string]bool
}{cause: map[string]error{}, said: map[string]bool{}}

// cacheFails says why nothing can be kept in the cache; nil: it can be. A folder is tried once.
func cacheFails() error {
	dir := cacheDir()
	if dir == "" {
		return errors.New("neither VISTA_MR_CACHE nor the user's cache folder is set")
	}
	triedCaches.Lock()
	defer triedCaches.Unlock()
	err, known := triedCaches.cause[dir]
	if !known {
		err = tryCache(dir)
		triedCaches.cause[dir] = err
	}
	return err
}

// Keeps tells whether this process has a cache that can be written, from which the runtime maps weights.
func Keeps() bool { return cacheFails() == nil }

// tryCache makes a folder with a file in the cache, or where the cache would be made, and removes both: whoever explains a job leaves
// nothing behind.
func tryCache(dir string) error {
	at := dir
	for {
		_, err := os.Stat(at)
		if up := filepath.Dir(at); errors.Is(err, os.ErrNotExist) && up != at {
			at = up
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	tmp, err := os.MkdirTemp(at, ".new-*") // a name that the cache clears away if this process is killed
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(tmp, "file"), make([]byte, 4096), 0o600), os.RemoveAll(tmp))
}

// warnOfCaches says that models are held in memory where attempts run because a cache there cannot be written.
func warnOfCaches(o *Options, m vistaopt.Machine) {
	if _, here := o.Engine.(*inProcess); here {
		warnOfCache(o.Log)
	} else if m.Unmapped {
		o.Log.Warn("the plan counts on weights in memory: not all workers say that their cache can be written; the logs of those that cannot write theirs have the cause")
	}
}

// warnOfCache says, once in a process, that models are held in memory because the cache cannot be written.
func warnOfCache(log *zap.Logger) {
	err := cacheFails()
	if err == nil {
		return
	}
	dir := cacheDir()
	triedCaches.Lock()
	defer triedCaches.Unlock()
	if !triedCaches.said[dir] {
		triedCaches.said[dir] = true
		log.Warn("the cache cannot be written: models are made ready anew for each job, and their weights are held in memory", zap.String("folder", dir), zap.Error(err))
	}
}

// cacheFile is where something small is kept that was found out, by what it is of; "" without a cache.
func cacheFile(folder, key string) string {
	dir := cacheDir()
	if dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(dir, folder, hex.EncodeToString(sum[:16])+".json")
}

// keepFile makes such a file, or takes the place of the one that is there.
func keepFile(file string, b []byte) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// maxRecalled bounds such a file, in bytes: calibrations, shares and names of programs take kilobytes.
const maxRecalled = 1 << 20

// recallFile reads what was kept in such a file. False: there is none, or it cannot be read.
func recallFile(file string, v any) bool {
	b, err := ReadFile(file, maxRecalled)
	return err == nil && json.Unmarshal(b, v) == nil
}

// programsLimit bounds the programs that are kept of stores elsewhere. VGG16 takes 530 MiB.
const programsLimit = 6 << 30

// programCache is where programs of stores elsewhere are kept between jobs, or, without a cache that can be written, until scratch is removed.
func programCache(scratch string) *blobs.Cache {
	dir := cacheDir()
	if cacheFails() != nil {
		dir = scratch
	}
	return blobs.New(filepath.Join(dir, "programs"), programsLimit)
}
