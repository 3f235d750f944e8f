package hdfs

import (
	"fmt"
	"os"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// TestCommitsAreExact on HDFS. VISTA_COMMITS=5000 VISTA_COMMIT_FILES=10 is the counted run.
func TestCommitsAreExact(t *testing.T) {
	c := start(t, "start")
	root := fmt.Sprintf("/tests-%d/exact", os.Getpid())
	mrtest.Exact{Usual: 60, Open: func(t testing.TB) dfs.FS { return c.clientAt(t, c.options(), root) }}.Run(t)
}
