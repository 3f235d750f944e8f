package commit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// readers bounds how many segments are read or removed at a time.
const readers = 8

const (
	// maxGroup bounds the bytes that are gathered before they are written.
	maxGroup = 1 << 20
	// A group that follows on one of busyGroup results or more, within linger of its end, waits for others to join it: as long
	// as one comes every lingerStep, and for linger at most. An idle journal never waits.
	busyGroup  = 4
	linger     = 20 * time.Millisecond
	lingerStep = time.Millisecond
	// createTries bounds how often another name is tried for a segment, if there is one of that name.
	createTries = 10
)

// journal is the state of a publisher's segments: what waits to be written, and what is known of what was.
type journal struct {
	mu      sync.Mutex
	books   map[mr.PhaseID]*book
	epoch   int64 // that was claimed; else the highest that was kept
	claimed bool
	seq     int // of the last segment

	pending []*entry
	bytes   int  // of pending
	writing bool // a goroutine writes groups until none is pending
	last    int  // results in the group before
	ended   time.Time

	compacting bool
	pause      int // compaction failed: groups until it is tried again
	stop       context.CancelFunc
	work       sync.WaitGroup
}

// entry is what waits for a group: a record, or nothing but the question whether another coordinator has taken over.
type entry struct {
	phase mr.PhaseID
	data  []byte
	epoch int64
	done  chan error
	group *group // nil as long as it is pending
}

// group is entries that are written together.
type group struct {
	entries []*entry
	waiting int // for it
	cancel  context.CancelFunc
}

// segment is a file of records.
type segment struct {
	epoch int64
	seq   int
	size  int64
	bad   bool // damaged: it is left as it is
}

func (s segment) name() string { return fmt.Sprintf("%010d-%010d", s.epoch, s.seq) }

// label is what the segment's checksums begin with.
func (s segment) label(phase mr.PhaseID) string { return string(phase) + "/" + s.name() }

func parseSegment(base string) (segment, bool) {
	e, n, _ := strings.Cut(base, "-")
	epoch, err := strconv.ParseInt(e, 10, 64)
	seq, nerr := strconv.Atoi(n)
	s := segment{epoch: epoch, seq: seq}
	return s, err == nil && nerr == nil && s.name() == base
}

func (j *journal) book(phase mr.PhaseID) *book {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bookLocked(phase)
}

func (j *journal) bookLocked(phase mr.PhaseID) *book {
	b := j.books[phase]
	if b == nil {
		if j.books == nil {
			j.books = map[mr.PhaseID]*book{}
		}
		b = &book{}
		j.books[phase] = b
	}
	return b
}

// claim notes the epoch that segments are written in from now on.
func (j *journal) claim(epoch int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.claimed || epoch > j.epoch {
		j.epoch, j.claimed, j.books = epoch, true, nil
	}
}

// await has an entry written with others, and waits for that or for ctx.
func (p *Publisher) await(ctx context.Context, e *entry) error {
	if err := ctx.Err(); err != nil {
		return errs.E("journal", errs.Canceled, "", err)
	}
	j := &p.journal
	e.done = make(chan error, 1)
	j.mu.Lock()
	j.pending = append(j.pending, e)
	j.bytes += len(e.data)
	if !j.claimed {
		j.epoch = max(j.epoch, e.epoch)
	}
	if !j.writing {
		j.writing = true
		j.work.Go(func() { p.writeGroups(context.WithoutCancel(ctx)) })
	}
	j.mu.Unlock()
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		j.leave(e)
		return errs.E("journal", errs.Canceled, "", ctx.Err())
	}
}

// leave says that nobody waits for an entry any more. A group for which nobody waits is given up.
func (j *journal) leave(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if g := e.group; g != nil {
		if g.waiting--; g.waiting == 0 {
			g.cancel()
		}
		return
	}
	for i, o := range j.pending {
		if o == e {
			j.pending = append(j.pending[:i:i], j.pending[i+1:]...)
			j.bytes -= len(e.data)
		}
	}
}

// writeGroups writes what is pending until nothing is.
func (p *Publisher) writeGroups(base context.Context) {
	j := &p.journal
	for {
		j.gather()
		j.mu.Lock()
		if len(j.pending) == 0 {
			j.writing = false
			j.mu.Unlock()
			return
		}
		g := &group{entries: j.pending, waiting: len(j.pending)}
		j.pending, j.bytes = nil, 0
		for _, e := range g.entries {
			e.group = g
		}
		ctx, cancel := context.WithCancel(base)
		g.cancel = cancel
		epoch := j.epoch
		j.mu.Unlock()
		p.writeGroup(ctx, g, epoch)
		cancel()
		j.mu.Lock()
		j.last, j.ended = len(g.entries), time.Now()
		j.mu.Unlock()
	}
}

// gather waits for more to join what is pending, if much has come just before.
func (j *journal) gather() {
	j.mu.Lock()
	busy, n := j.last >= busyGroup && time.Since(j.ended) < linger, len(j.pending)
	j.mu.Unlock()
	if !busy || n == 0 {
		return
	}
	for until := time.Now().Add(linger); time.Now().Before(until); {
		time.Sleep(lingerStep)
		j.mu.Lock()
		more, bytes := len(j.pending), j.bytes
		j.mu.Unlock()
		if more <= n || bytes >= maxGroup {
			return
		}
		n = more
	}
}

// writeGroup writes a segment for each phase, then looks for a higher epoch, and only then says that anything is durable. A
// coordinator that took over before the look is found by it; one that does so later finds the segments.
func (p *Publisher) writeGroup(ctx context.Context, g *group, epoch int64) {
	var order []mr.PhaseID
	records := map[mr.PhaseID][][]byte{}
	looks := false // somebody only asks
	for _, e := range g.entries {
		if e.data == nil {
			looks = true
			continue
		}
		if records[e.phase] == nil {
			order = append(order, e.phase)
		}
		records[e.phase] = append(records[e.phase], e.data)
	}
	failed := map[mr.PhaseID]error{}
	for _, phase := range order {
		s, err := p.writeSegment(ctx, phase, epoch, records[phase])
		if err != nil {
			failed[phase] = err
			p.journal.book(phase).lost(s)
			continue
		}
		p.journal.book(phase).add(s)
	}
	var lost error
	if len(failed) < len(order) || looks {
		lost = p.overtaken(ctx, epoch)
	}
	for _, e := range g.entries {
		err := lost
		if e.data != nil && failed[e.phase] != nil {
			err = failed[e.phase]
		}
		e.done <- err
	}
	if lost == nil {
		for _, phase := range order {
			p.tidy(ctx, phase, epoch)
		}
	}
}

// overtaken is errs.Lost if another coordinator has taken over.
func (p *Publisher) overtaken(ctx context.Context, epoch int64) error {
	highest, err := p.Epoch(ctx)
	if err == nil && highest > epoch {
		err = errs.E("journal", errs.Lost, "", fmt.Errorf("epoch %d has taken over from %d", highest, epoch))
	}
	return err
}

// writeSegment writes records under the next name that is free. After an error the segment may be there.
func (p *Publisher) writeSegment(ctx context.Context, phase mr.PhaseID, epoch int64, records [][]byte) (segment, error) {
	j := &p.journal
	for try := 1; ; try++ {
		j.mu.Lock()
		j.seq++
		s := segment{epoch: epoch, seq: j.seq}
		j.mu.Unlock()
		data := encodeSegment(s.label(phase), records)
		s.size = int64(len(data))
		err := dfs.WriteFile(ctx, p.FS, p.tasks(phase).Join(s.name()), data)
		if !errs.Is(err, errs.Exist) || try == createTries {
			return s, err
		}
		// Another publisher has written in this epoch.
		live, dead, err := p.segments(ctx, phase)
		if err != nil {
			return s, err
		}
		j.mu.Lock()
		for _, o := range append(live, dead...) {
			if o.epoch == epoch {
				j.seq = max(j.seq, o.seq)
			}
		}
		j.mu.Unlock()
	}
}

func (b *book) add(s segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live = append(b.live, s)
}

func (b *book) lost(s segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead = append(b.dead, s)
}

// Settle ends what goes on in the background: compaction, which may be ended anywhere, and removing what was published. It is
// called when nothing is kept or forgotten any more.
func (p *Publisher) Settle() {
	j := &p.journal
	j.mu.Lock()
	if j.stop != nil {
		j.stop()
	}
	j.mu.Unlock()
	j.work.Wait()
}
