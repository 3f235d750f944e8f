package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
)

// ErrNotFile is met where a file is named and something else is there: a folder, a pipe, a device, a socket.
var ErrNotFile = errors.New("it is not a file")

// OpenFile opens a regular file for reading, as the store does.
func OpenFile(path string) (*os.File, os.FileInfo, error) {
	f, info, err := local.OpenFile(path)
	if err != nil {
		if info, serr := os.Stat(path); serr == nil && !info.Mode().IsRegular() { // to the store, a folder is just no file
			err = ErrNotFile
		}
		return nil, nil, err
	}
	return f, info, nil
}

// ReadFile reads a regular file of up to limit bytes: its size decides before anything is allocated.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, info, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	if info.Size() > limit {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), limit)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF || err == io.EOF { // it was shortened meanwhile
		err = nil
	}
	return b[:n], err
}

// readBounded reads a file of up to limit bytes that a job names by its URI: its size decides before anything is allocated.
func readBounded(ctx context.Context, uri string, limit int64) ([]byte, error) {
	if conf.URI(uri).Scheme() != "file" {
		fs, p, err := stores().Resolve(ctx, uri)
		if err != nil {
			return nil, err
		}
		return dfs.ReadFile(ctx, fs, p, limit)
	}
	return ReadFile(conf.URI(uri).LocalPath(), limit)
}
