package dfs

import "context"

// locator is a file system that knows where the blocks of its files are (Caps.BlockHosts).
type locator interface {
	Hosts(ctx context.Context, p Path, off, length int64) ([]string, error)
}

var _ locator = (*sub)(nil)

// Hosts are the machines that hold a range of a file, those with most of it first; none where the file system does not know.
func Hosts(ctx context.Context, fs FS, p Path, off, length int64) ([]string, error) {
	l, ok := fs.(locator)
	if !ok {
		return nil, nil
	}
	return l.Hosts(ctx, p, off, length)
}

func (s *sub) Hosts(ctx context.Context, p Path, off, length int64) ([]string, error) {
	return Hosts(ctx, s.fs, s.at(p), off, length)
}
