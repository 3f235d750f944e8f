package host

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/task"
)

// InPlace tells where a file of a store lies on this machine; false: it has to be fetched.
func InPlace(store dfs.FS, p dfs.Path) (name string, ok bool) {
	f, ok := store.(*local.FS)
	if !ok {
		return "", false
	}
	return f.Name(p), true
}

// programs opens the CNN programs of a job.
type programs struct {
	runtime func() (*ort.Runtime, func() error, error)
	store   dfs.FS
	blobs   *blobs.Cache
}

// Open starts a session. A file that was fetched is known by its content, whatever digest the job gives it: sessions and
// prepared models are shared between jobs.
func (e *programs) Open(ctx context.Context, m extract.Model) (extract.Session, error) {
	p := dfs.Path(m.URI)
	if err := p.Check(); err != nil || p == "" {
		return nil, errs.E("open program", errs.Invalid, m.URI, errors.Join(errors.New("it is no path in the job's store"), err))
	}
	rt, release, err := e.runtime()
	if err != nil {
		return nil, err
	}
	s, err := e.open(ctx, rt, p, m)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	s.release = release
	return s, nil
}

func (e *programs) open(ctx context.Context, rt *ort.Runtime, p dfs.Path, m extract.Model) (*session, error) {
	if name, ok := InPlace(e.store, p); ok {
		s, err := Open(ctx, rt, name, m)
		if err != nil {
			return nil, err
		}
		return &session{Session: s}, nil
	}
	if len(m.Files) == 0 || e.blobs == nil {
		return nil, errs.E("open program", errs.Invalid, m.URI, fmt.Errorf("it has to be fetched, and %d files are named (a place to keep them: %v)", len(m.Files), e.blobs != nil))
	}
	// A slow link takes longer than an attempt may be silent.
	held, err := e.blobs.Get(blobs.Watched(ctx, func() { task.Moved(ctx) }), e.store, m.Files)
	if err != nil {
		return nil, err
	}
	m.Digest = m.Files.Digest()
	s, err := Open(ctx, rt, held.Path(p.Base()), m)
	if err != nil {
		return nil, errors.Join(err, held.Release())
	}
	return &session{Session: s, files: held}, nil
}

// Open starts a session of a program in a file.
func Open(ctx context.Context, rt *ort.Runtime, name string, m extract.Model) (*ort.Session, error) {
	in, out := ports(m)
	return rt.Open(ctx, name, m.Digest, in, out)
}

func ports(m extract.Model) (in ort.Port, out []ort.Port) {
	out = make([]ort.Port, len(m.Out))
	for i, p := range m.Out {
		out[i] = ort.Port{Name: p.Name, Shape: p.Shape}
	}
	return ort.Port{Name: m.In.Name, U8: m.In.Bytes, Shape: m.In.Shape}, out
}

// Entry is what the cache of prepared models calls a program of a store, with a version of the library.
func Entry(version string, store dfs.FS, m extract.Model) string {
	digest := m.Digest
	if _, here := InPlace(store, dfs.Path(m.URI)); !here {
		digest = m.Files.Digest() // as programs.open knows it
	}
	in, out := ports(m)
	return ort.Entry(version, digest, in, out)
}

// session is a program with what keeps its files.
type session struct {
	*ort.Session
	files   releaser
	release func() error // of the runtime
}

type releaser interface{ Release() error }

// NewRunner returns buffers for one slot.
func (s *session) NewRunner(n int, pixels []byte) (extract.Runner, error) {
	r, err := s.NewRunnerOn(n, pixels)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Close ends the session and lets go of its files.
func (s *session) Close() error {
	err := s.Session.Close()
	if s.files != nil {
		err = errors.Join(err, s.files.Release())
	}
	return errors.Join(err, s.release())
}

var _ io.Closer = (*session)(nil)
