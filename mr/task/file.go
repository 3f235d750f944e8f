package task

import (
	"context"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// output is a file that an attempt writes.
type output interface {
	commit(ctx context.Context) (mr.PartFile, error)
	abort() error
}

var _, _ output = (*part)(nil), (*file)(nil)

// file is a file in a format that only its kind knows.
type file struct {
	channel string
	path    dfs.Path
	dst     *begun
	sum     *checksum.Writer
	rows    int64
	ended   bool
}

var _ mr.FileWriter = (*file)(nil)

func newFile(ctx context.Context, fs dfs.FS, path dfs.Path, channel string) *file {
	dst := begin(ctx, fs, path)
	return &file{channel: channel, path: path, dst: dst, sum: checksum.NewWriter(dst)}
}

func (f *file) Write(b []byte) (int, error) { return f.sum.Write(b) }

func (f *file) SetRows(n int64) { f.rows = n }

func (f *file) commit(ctx context.Context) (mr.PartFile, error) {
	if err := f.dst.Commit(ctx); err != nil {
		return mr.PartFile{}, err
	}
	f.ended = true
	return mr.PartFile{Channel: f.channel, Path: f.path, Rows: f.rows, Bytes: f.sum.N(), CRC: f.sum.Sum()}, nil
}

func (f *file) abort() error {
	if f.ended {
		return nil
	}
	f.ended = true
	return f.dst.Abort()
}
