package task

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// slow is a store that creates no file before it is let, or that refuses.
type slow struct {
	dfs.FS
	let  chan struct{}
	fail error
}

func (s *slow) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	<-s.let
	if s.fail != nil {
		return nil, s.fail
	}
	return s.FS.Create(ctx, p)
}

func TestBegunTakesBytesBeforeTheFileIsThere(t *testing.T) {
	s := &slow{FS: mem.New(), let: make(chan struct{})}
	b := begin(t.Context(), s, "a/b")
	want := bytes.Repeat([]byte("0123456789"), begunRoom/10)
	for _, part := range [][]byte{want[:7], want[7:100], want[100:]} { // returns although the store has not answered
		if n, err := b.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	wrote := make(chan error)
	go func() {
		_, err := b.Write(make([]byte, begunRoom)) // has no room, and waits
		wrote <- err
	}()
	close(s.let)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := dfs.ReadFile(t.Context(), s.FS, "a/b", 1<<20)
	if err != nil || !bytes.Equal(got, append(want, make([]byte, begunRoom)...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBegunTellsThatTheFileCannotBe(t *testing.T) {
	refused := errors.New("no room")
	s := &slow{FS: mem.New(), let: make(chan struct{}), fail: refused}
	b := begin(t.Context(), s, "a/b")
	if _, err := b.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	close(s.let)
	if err := b.Commit(t.Context()); !errors.Is(err, refused) {
		t.Errorf("commit: %v", err)
	}
	if _, err := b.Write([]byte("late")); !errors.Is(err, refused) {
		t.Errorf("write: %v", err)
	}
	if err := b.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
}

func TestBegunIsAborted(t *testing.T) {
	s := &slow{FS: mem.New(), let: make(chan struct{})}
	b := begin(t.Context(), s, "a/b")
	if _, err := b.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	close(s.let)
	if err := b.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); err == nil {
		t.Error("the file is there")
	}
}

// wild is a store whose files cannot be written to without a panic.
type wild struct{ dfs.FS }

func (s wild) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	w, err := s.FS.Create(ctx, p)
	return wildWriter{w}, err
}

type wildWriter struct{ dfs.Writer }

func (wildWriter) Write([]byte) (int, error) { panic("no") }

// TestBegunSurvivesAPanic of the store's, where it writes what came before the file was there.
func TestBegunSurvivesAPanic(t *testing.T) {
	s := &slow{FS: wild{mem.New()}, let: make(chan struct{})}
	b := begin(t.Context(), s, "a/b")
	if _, err := b.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	close(s.let)
	if err := b.Commit(t.Context()); !errs.Is(err, errs.Internal) {
		t.Errorf("commit: %v", err)
	}
	if err := b.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
}

// asks is a file of an attempt's that asks the attempt for something when it is committed.
type asks struct{ a *attempt }

func (f asks) commit(context.Context) (mr.PartFile, error) {
	if !f.a.mu.TryLock() {
		return mr.PartFile{}, errors.New("the attempt is locked")
	}
	f.a.mu.Unlock()
	return mr.PartFile{Channel: "x"}, nil
}

func (f asks) abort() error { return nil }

func TestFilesAreCommittedUnlocked(t *testing.T) {
	a := &attempt{spec: &mr.TaskSpec{}, moves: new(atomic.Int64)}
	a.parts = map[string]output{"x": asks{a}}
	if _, err := a.commitFiles(t.Context()); err != nil {
		t.Error(err)
	}
}
