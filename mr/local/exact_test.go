package local_test

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// TestCommitsAreExact on the local disk. VISTA_COMMITS=5000 VISTA_COMMIT_FILES=10 is the counted run.
func TestCommitsAreExact(t *testing.T) {
	dir := t.TempDir()
	mrtest.Exact{Usual: 500, Open: func(testing.TB) dfs.FS { return local.New(dir, true) }}.Run(t)
}
