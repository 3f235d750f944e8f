package cluster

import (
	"context"
	"io"
	"net/url"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// manyLogs is a store in which the logs of a job's attempts are a file that is larger than a tracker has room for.
type manyLogs struct{ dfs.FS }

const manyBytes = 130 << 20

func (m manyLogs) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if p.Base() != run.AttemptsFile {
		return m.FS.Open(ctx, p)
	}
	return manyFile{}, nil
}

type manyFile struct{}

var first = "==> extract/00003/1 epoch 1 <==\nit said this\n\n==> extract/00004/1 epoch 1 <==\n"

func (manyFile) Size() int64  { return manyBytes }
func (manyFile) Close() error { return nil }
func (manyFile) ReadAt(b []byte, at int64) (int, error) {
	if at >= manyBytes {
		return 0, io.EOF
	}
	n := min(len(b), int(manyBytes-at))
	clear(b[:n])
	for i := 0; i < n; i += 100 {
		b[i] = '\n'
	}
	if at < int64(len(first)) {
		copy(b[:n], first[at:])
	}
	return n, nil
}

// TestLogsOfALargeJob are found however large the file is that they are in.
func TestLogsOfALargeJob(t *testing.T) {
	store := manyLogs{mem.New()}
	mux := dfs.NewMux(map[string]dfs.OpenFunc{"file": func(context.Context, *url.URL) (dfs.FS, dfs.Path, error) { return store, "out", nil }})
	d := &daemon{o: TrackerOptions{Stores: mux}}
	logs, err := d.joinedLogs(t.Context(), "/out", mr.TaskID{Phase: "extract", Index: 3}, 0)
	if err != nil || len(logs) != 1 || string(logs[0].Text) != "it said this\n" {
		t.Errorf("%d logs, %v", len(logs), err)
	}
}
