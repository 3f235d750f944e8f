package run

import (
	"os"
	"path/filepath"

	"github.com/vista-mr/vista-mr/mr/blobs"
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

// programsLimit bounds the programs that are kept of stores elsewhere. VGG16 takes 530 MiB.
const programsLimit = 6 << 30

// programCache is where programs of stores elsewhere are kept between jobs, or, without a cache, until scratch is removed.
func programCache(scratch string) *blobs.Cache {
	dir := cacheDir()
	if dir == "" {
		dir = scratch
	}
	return blobs.New(filepath.Join(dir, "programs"), programsLimit)
}
