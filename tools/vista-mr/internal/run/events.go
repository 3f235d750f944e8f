package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// EventsFile is the job's event log in its output.
const EventsFile = "events.jsonl"

// events is the event log of a run.
type events struct {
	f log
	w *journal.Writer
}

// log is where events go: a file, or pieces of one.
type log interface {
	io.Writer // of whole lines; it does not wait for a store
	Sync() error
	Close() error
}

func (e *events) begin(j *conf.Job, p *prepared) {
	e.w.Append(journal.Event{Schema: journal.SchemaVersion, Kind: started, Job: string(p.Spec.ID), Plan: p.Plan.String()})
}

func (e *events) end(err error) {
	ev := journal.Event{Kind: "job-done"}
	if err != nil {
		ev.Error, ev.Cause = err.Error(), errs.KindOf(err).String()
	}
	_, ev.Resident = machine.Resident()
	e.w.Append(ev)
}

// started is the kind of a run's first event.
const started = "job-started"

// Sync makes the log durable.
func (e *events) Sync() error { return errors.Join(e.w.Err(), e.f.Sync()) }

// Close makes the log durable and lets go of it.
func (e *events) Close() error { return errors.Join(e.Sync(), e.f.Close()) }

// open goes on with the log of an interrupted run, which tells what the phases have taken so far.
func (w *watch) open(ctx context.Context, c *Claim, now func() time.Time) error {
	at := c.place
	if at.dir == "" {
		p := newPieces(ctx, at.store, at.out, c.epoch)
		p.claim = c
		if err := p.replay(w.take); err != nil {
			return err
		}
		p.start()
		w.events = &events{f: p, w: journal.NewWriter(p, now)}
		return nil
	}
	name := filepath.Join(at.dir, EventsFile)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		w.take(io.NewSectionReader(f, 0, info.Size()))
		var whole bool
		if whole, err = journal.EndsWhole(f, info.Size()); err == nil && !whole {
			_, err = f.WriteString("\n")
		}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.events = &events{f: f, w: journal.NewWriter(f, now)}
	return nil
}

// take takes the times from a log, if it can be understood: what a damaged one says of times is not worth a job.
func (w *watch) take(log io.Reader) {
	if w.replay(log) != nil {
		w.phases, w.before = nil, 0
	}
}

// piecesFolder holds the event log of a run in a store that cannot append: files of whole lines, in the order of their
// names, which no other run uses.
const piecesFolder dfs.Path = "events"

// pieces is an event log in such a store. What is written is held in memory and goes to the store now and then, at
// first every pieceTime and later more rarely; Sync joins all pieces into one file.
type pieces struct {
	ctx        context.Context // of the run, beyond its end: what has happened is to be read
	store, out dfs.FS
	epoch      int64
	claim      *Claim // under which EventsFile may be written; nil: there is nobody else
	begun      time.Time
	stop       chan struct{}
	stopped    chan struct{}

	mu      sync.Mutex
	pending bytes.Buffer

	writing sync.Mutex // held by who writes to the store
	piece   []byte     // that has a number already
	number  int
	joined  bool // EventsFile has all
}

const (
	pieceTime = 10 * time.Second
	// pieceShare is how often at most, as a part of the time so far: a job of ten hours has some 300 pieces.
	pieceShare = 50
)

func newPieces(ctx context.Context, store, out dfs.FS, epoch int64) *pieces {
	return &pieces{ctx: context.WithoutCancel(ctx), store: store, out: out, epoch: epoch, begun: time.Now(), stop: make(chan struct{}), stopped: make(chan struct{})}
}

// start begins to write in the background.
func (p *pieces) start() {
	go func() {
		defer close(p.stopped)
		for {
			t := time.NewTimer(max(pieceTime, time.Since(p.begun)/pieceShare))
			select {
			case <-t.C:
				_ = p.flush() // what cannot be written now is tried again, at the latest when the run ends
			case <-p.stop:
				t.Stop()
				return
			}
		}
	}()
}

func (p *pieces) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending.Write(b)
}

// flush writes what is pending. A piece keeps its number until it is there: after a failure nobody knows whether it is.
func (p *pieces) flush() error {
	p.writing.Lock()
	defer p.writing.Unlock()
	for {
		if p.piece == nil {
			p.mu.Lock()
			if p.pending.Len() > 0 {
				p.piece, p.joined = bytes.Clone(p.pending.Bytes()), false
				p.pending.Reset()
				p.number++
			}
			p.mu.Unlock()
		}
		if p.piece == nil {
			return nil
		}
		name := piecesFolder.Join(fmt.Sprintf("%010d-%06d", p.epoch, p.number))
		if err := dfs.WriteFile(p.ctx, p.store, name, p.piece); err != nil && !errs.Is(err, errs.Exist) {
			return err
		}
		p.piece = nil
	}
}

// Sync writes everything, and the file that users read.
func (p *pieces) Sync() error {
	if err := p.flush(); err != nil {
		return err
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.joined {
		return nil
	}
	err := p.claim.replace(p.ctx, p.out, EventsFile, nil, p.join)
	p.joined = err == nil
	return err
}

// join writes the file that users read.
func (p *pieces) join() error {
	w, err := p.out.Create(p.ctx, EventsFile)
	if err != nil {
		return err
	}
	if err = p.copyTo(w); err == nil {
		err = w.Commit(p.ctx)
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// Close ends the writing in the background; what was not synced stays in pieces.
func (p *pieces) Close() error {
	close(p.stop)
	<-p.stopped
	return nil
}

// copyTo writes the whole log.
func (p *pieces) copyTo(w io.Writer) error {
	for i, err := range p.store.List(p.ctx, piecesFolder) {
		if err != nil {
			return err
		}
		f, err := p.store.Open(p.ctx, i.Path)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, io.NewSectionReader(f, 0, f.Size()))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// replay shows the log that earlier runs have left.
func (p *pieces) replay(take func(io.Reader)) error {
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		err := p.copyTo(w)
		copied <- err
		_ = w.CloseWithError(err) // never fails
	}()
	take(r)
	_ = r.Close() // never fails
	if err := <-copied; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}
