package dfs

import (
	"context"
	"iter"
	"strings"
)

// Sub returns the part of a file system below a folder, as a file system of its own. Its errors are those of the whole:
// they name files from its root.
func Sub(fs FS, dir Path) FS {
	if dir == "" {
		return fs
	}
	switch f := fs.(type) {
	case interface{ Sub(Path) FS }: // an adapter that has a way of its own
		return f.Sub(dir)
	case *sub:
		return &sub{f.fs, f.dir.Join(string(dir))}
	}
	return &sub{fs, dir}
}

// Folder opens the folder that a URI names as a file system.
func (m *Mux) Folder(ctx context.Context, uri string) (FS, error) {
	fs, dir, err := m.Resolve(ctx, uri)
	if err != nil {
		return nil, err
	}
	dir = Path(strings.Trim(string(dir), "/"))
	if err := dir.Check(); err != nil {
		return nil, err
	}
	return Sub(fs, dir), nil
}

// URI names a file of the file system that a URI leads to.
func URI(base string, p Path) string {
	if !HasScheme(base) || len(base) > 4 && strings.EqualFold(base[:5], "file:") {
		return "/" + string(p)
	}
	scheme, rest, _ := strings.Cut(base, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host + "/" + string(p)
}

// unwrap is a folder in the file system that it is a part of.
func unwrap(fs FS, dir Path) (FS, Path) {
	if s, ok := fs.(*sub); ok {
		return s.fs, s.dir.Join(string(dir))
	}
	return fs, dir
}

type sub struct {
	fs  FS
	dir Path
}

var _ FS = (*sub)(nil)

// at is the path in the whole. What is no path of a file here is none there either: the root becomes the whole's, which
// is no file, and what is not clean stays so.
func (s *sub) at(p Path) Path {
	if p == "" {
		return ""
	}
	return s.dir + "/" + p
}

func (s *sub) Open(ctx context.Context, p Path) (File, error)     { return s.fs.Open(ctx, s.at(p)) }
func (s *sub) Create(ctx context.Context, p Path) (Writer, error) { return s.fs.Create(ctx, s.at(p)) }
func (s *sub) Claim(ctx context.Context, p Path) error            { return s.fs.Claim(ctx, s.at(p)) }
func (s *sub) Remove(ctx context.Context, p Path) error           { return s.fs.Remove(ctx, s.at(p)) }
func (s *sub) Caps() Caps                                         { return s.fs.Caps() }
func (s *sub) Name(p Path) string                                 { return Name(s.fs, s.dir.Join(string(p))) }

func (s *sub) Stat(ctx context.Context, p Path) (Info, error) {
	i, err := s.fs.Stat(ctx, s.at(p))
	i.Path = s.below(i.Path)
	return i, err
}

func (s *sub) List(ctx context.Context, dir Path) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for i, err := range s.fs.List(ctx, s.dir.Join(string(dir))) {
			i.Path = s.below(i.Path)
			if !yield(i, err) {
				return
			}
		}
	}
}

func (s *sub) below(p Path) Path { return Path(strings.TrimPrefix(string(p), string(s.dir)+"/")) }
