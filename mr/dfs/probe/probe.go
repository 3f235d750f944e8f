// Package probe finds out whether a store does what the engine relies on, by doing it: in a folder of its
// own, for a bounded time, with many writers at once.
//
// Invariant: a property is said to hold only if it was seen to hold, as often as the result says; what could
// not be tried is skipped and says why. Whatever is found, the probe's files are removed.
//
// vista-mr doctor shows what it finds. It is no conformance suite (dfstest is): it looks for what stores that
// call themselves compatible lack, and for settings that are wrong.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options are how much is tried. The zero value is what an engine's store should stand.
type Options struct {
	Races   int           // for claims; 0: 1,000
	Writers int           // in each; 0: 8
	Large   int64         // bytes of the large file; 0: 9 MiB and one, which is two parts on S3
	Budget  time.Duration // 0: 50 s; races and repetitions end when a part of it is used up
}

// State is the outcome of a check.
type State string

// The outcomes.
const (
	OK      State = "ok"
	Failed  State = "failed"
	Skipped State = "skipped"
)

// Check is what was found about a property.
type Check struct {
	Name    string  `json:"name"`
	State   State   `json:"state"`
	Detail  string  `json:"detail"`
	Next    string  `json:"next,omitempty"` // what to do if it has failed
	Seconds float64 `json:"seconds"`
	Err     error   `json:"-"`
}

// cloner is a store of which there can be a second client, as another process has it.
type cloner interface{ Again() (dfs.FS, error) }

// loser is a store of which there can be a client that loses replies.
type loser interface{ Losing() (dfs.FS, error) }

// skewer is a store that tells what time it has.
type skewer interface{ Skew() (time.Duration, bool) }

// probe is one run. It lives as long as Run.
type probe struct {
	Options
	fs, other dfs.FS
	dir       dfs.Path
	end       time.Time
}

// property is one that is looked at. share is the part of the budget that its repetitions may use.
type property struct {
	name  string
	share float64
	next  string // what to do without it
	check func(ctx context.Context) (string, error)
}

const otherStore = "use another store for output and phases; this one will do for input alone"

func (p *probe) properties() []property {
	return []property{
		{"write", 0.1, "", p.write},
		{"claim", 0.7, "the store lets several writers take one name, so results could be lost or mixed: " + otherStore, p.claim},
		{"commit", 0.2, "the store lets a file be written over: " + otherStore, p.commit},
		{"list", 0.1, "listings are behind what was written: " + otherStore, p.list},
		{"large", 0.2, "files of several parts do not come out as they should: " + otherStore, p.large},
		{"replies", 0.1, "an operation whose reply was lost is taken for another's: " + otherStore, p.replies},
		{"remove", 0.1, "", p.remove},
		{"clock", 0, "set the clock of this machine, or the store's", p.clock},
	}
}

// skip is why a property could not be looked at.
type skip string

func (s skip) Error() string { return string(s) }

// Prefix is how the names of the folders begin that probes work in.
const Prefix = "vista-mr-doctor-"

// fresh is a name that nobody has used.
func fresh() string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on the systems that Go runs on
	}
	return Prefix + hex.EncodeToString(b[:])
}

// Run looks at a store, in a new folder below dir, and tells each finding as soon as it is there. If the
// store cannot be written to, the rest is skipped. The error is that of ctx.
func Run(ctx context.Context, fs dfs.FS, dir dfs.Path, o Options, tell func(Check)) ([]Check, error) {
	if o.Races == 0 {
		o.Races = 1000
	}
	if o.Writers == 0 {
		o.Writers = 8
	}
	if o.Large == 0 {
		o.Large = 9<<20 + 1
	}
	if o.Budget == 0 {
		o.Budget = 50 * time.Second
	}
	p := &probe{Options: o, fs: fs, other: fs, dir: dir.Join(fresh())}
	if c, ok := fs.(cloner); ok {
		if other, err := c.Again(); err == nil {
			p.other = other
		}
	}
	var out []Check
	dead, last := false, time.Now().Add(o.Budget)
	add := func(c Check) {
		out = append(out, c)
		if tell != nil {
			tell(c)
		}
	}
	for _, k := range p.properties() {
		if ctx.Err() != nil {
			break
		}
		if dead {
			add(Check{Name: k.name, State: Skipped, Detail: "the store cannot be written to"})
			continue
		}
		begun := time.Now()
		if p.end = begun.Add(time.Duration(k.share * float64(o.Budget))); p.end.After(last) {
			p.end = last
		}
		detail, err := k.check(ctx)
		c := Check{Name: k.name, State: OK, Detail: detail, Seconds: time.Since(begun).Seconds()}
		var s skip
		switch {
		case errors.As(err, &s):
			c.State, c.Detail = Skipped, string(s)
		case err != nil:
			c.State, c.Detail, c.Err, c.Next = Failed, err.Error(), err, k.next
			var hint interface{ Hint() string }
			if errors.As(err, &hint) && hint.Hint() != "" {
				c.Next = hint.Hint()
			}
			dead = k.name == "write"
		}
		if ctx.Err() == nil {
			add(c)
		}
	}
	begun := time.Now()
	c := Check{Name: "tidy", State: OK, Detail: "the probe's files are removed"}
	if err := p.tidy(ctx); err != nil && !dead {
		c.State, c.Detail, c.Err, c.Next = Failed, err.Error(), err, "remove "+dfs.Name(fs, p.dir)
	}
	if c.Seconds = time.Since(begun).Seconds(); !dead && ctx.Err() == nil {
		add(c)
	}
	return out, ctx.Err()
}

func (p *probe) late() bool { return !time.Now().Before(p.end) }

// same reports content that is not what was written.
func same(ctx context.Context, fs dfs.FS, name dfs.Path, want []byte) error {
	got, err := dfs.ReadFile(ctx, fs, name, int64(len(want))+1)
	if err != nil {
		return fmt.Errorf("what was written cannot be read: %w", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s has %d bytes that are not those that were written", dfs.Name(fs, name), len(got))
	}
	return nil
}

// pattern is content that two writers do not share.
func pattern(n int64, seed byte) []byte {
	b := make([]byte, n)
	_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// write: what was written is there at once, for everybody.
func (p *probe) write(ctx context.Context) (string, error) {
	const times = 50
	i := 0
	for ; i < times && (i == 0 || !p.late()); i++ {
		name, data := p.dir.Join("write", fmt.Sprint(i)), pattern(int64(i)*97, byte(i))
		// Asked for before it is there: some caches remember that it is not.
		if _, err := p.other.Stat(ctx, name); !errs.Is(err, errs.NotExist) {
			if err == nil {
				err = fmt.Errorf("%s is there before it was written", dfs.Name(p.fs, name))
			}
			return "", err
		}
		if err := dfs.WriteFile(ctx, p.fs, name, data); err != nil {
			return "", err
		}
		if err := same(ctx, p.other, name, data); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d files read back as soon as they were written", i), nil
}

// claim: of any number that want a name, one gets it.
func (p *probe) claim(ctx context.Context) (string, error) {
	done, err := p.races(ctx, p.Races, func(ctx context.Context, i int) error {
		name := p.dir.Join("claim", fmt.Sprintf("%d/%d", i%16, i))
		_, err := p.race(func(fs dfs.FS, _ int) error { return fs.Claim(ctx, name) })
		if err != nil {
			return err
		}
		if err := p.other.Claim(ctx, name); !errs.Is(err, errs.Exist) {
			return orWrong(err, "a name that was taken could be taken again")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return told(done, p.Races, fmt.Sprintf("of %d writers one has won in each", p.Writers)), nil
}

func orWrong(err error, text string) error {
	if err == nil {
		return &errWrong{text}
	}
	return err
}

// commit: of writers of one file one succeeds, and it has that one's content.
func (p *probe) commit(ctx context.Context) (string, error) {
	n := max(p.Races/10, 1)
	done, err := p.races(ctx, n, func(ctx context.Context, i int) error {
		name := p.dir.Join("commit", fmt.Sprint(i))
		content := func(writer int) []byte { return pattern(1000+int64(writer), byte(writer)) }
		winner, err := p.race(func(fs dfs.FS, writer int) error { return put(ctx, fs, name, content(writer)) })
		if err != nil {
			return err
		}
		return same(ctx, p.other, name, content(winner))
	})
	if err != nil {
		return "", err
	}
	return told(done, n, "the file is the winner's in each"), nil
}

// put writes a file, and leaves nothing of it behind if it cannot.
func put(ctx context.Context, fs dfs.FS, name dfs.Path, data []byte) error {
	w, err := fs.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err = w.Write(data); err == nil {
		err = w.Commit(ctx)
	}
	if err != nil {
		if aerr := w.Abort(); aerr != nil {
			return errors.Join(err, aerr)
		}
	}
	return err
}

// list: a listing shows all that was written, in order, and nothing that was removed.
func (p *probe) list(ctx context.Context) (string, error) {
	const times = 30
	dir := p.dir.Join("list")
	var have []dfs.Path
	i := 0
	for ; i < times && (i == 0 || !p.late()); i++ {
		name := dir.Join(fmt.Sprintf("%02d", i))
		if i%4 == 3 { // around the slash there are bytes before and behind it
			name = dir.Join(fmt.Sprintf("%02d", i), "x")
		}
		if err := p.fs.Claim(ctx, name); err != nil {
			return "", err
		}
		have = append(have, name)
		if i%5 == 4 {
			if err := p.fs.Remove(ctx, have[0]); err != nil {
				return "", err
			}
			have = have[1:]
		}
		n := 0
		for info, err := range p.other.List(ctx, dir) {
			if err != nil {
				return "", err
			}
			if n >= len(have) || info.Path != have[n] {
				return "", &errWrong{fmt.Sprintf("after %d changes the listing shows %s where it should not", i+1, info.Path.Base())}
			}
			n++
		}
		if n != len(have) {
			return "", &errWrong{fmt.Sprintf("after %d changes the listing shows %d files of %d", i+1, n, len(have))}
		}
	}
	return fmt.Sprintf("%d listings, each of all that was written just before", i), nil
}

// large: a file of several parts appears at once, whole, and only if the name is free.
func (p *probe) large(ctx context.Context) (string, error) {
	name, data := p.dir.Join("large"), pattern(p.Large, 7)
	w, err := p.fs.Create(ctx, name)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(data); err != nil {
		return "", errors.Join(err, w.Abort())
	}
	if _, err := p.other.Stat(ctx, name); !errs.Is(err, errs.NotExist) {
		return "", errors.Join(orWrong(err, "a file that is being written can be seen"), w.Abort())
	}
	begun := time.Now()
	if err := w.Commit(ctx); err != nil {
		return "", errors.Join(err, w.Abort())
	}
	if err := same(ctx, p.other, name, data); err != nil {
		return "", err
	}
	took := time.Since(begun)
	if err := put(ctx, p.other, name, data); !errs.Is(err, errs.Exist) {
		return "", orWrong(err, "a large file was written over by another")
	}
	n := max(p.Races/200, 1)
	done, err := p.races(ctx, n, func(ctx context.Context, i int) error {
		name := p.dir.Join("parts", fmt.Sprint(i))
		content := func(writer int) []byte { return pattern(p.Large+int64(writer), byte(writer)) }
		few := *p
		few.Writers = min(p.Writers, 2) // each holds two parts
		winner, err := few.race(func(fs dfs.FS, writer int) error { return put(ctx, fs, name, content(writer)) })
		if err != nil {
			return err
		}
		return same(ctx, p.other, name, content(winner))
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%.0f MiB whole, read back in %.1f s; ", float64(p.Large)/(1<<20), took.Seconds()) + told(done, n, "the file is the winner's in each"), nil
}

// replies: who hears nothing and asks again is not told that he has lost to himself.
func (p *probe) replies(ctx context.Context) (string, error) {
	l, ok := p.fs.(loser)
	if !ok {
		return "", skip("no reply can be lost between the program and this store, or not on purpose")
	}
	losing, err := l.Losing()
	if err != nil {
		return "", err
	}
	const times = 5
	dir := p.dir.Join("replies")
	i := 0
	for ; i < times && (i == 0 || !p.late()); i++ {
		size := int64(i) * 100
		if i == 1 {
			size = p.Large
		}
		claim, file := dir.Join(fmt.Sprintf("claim-%d", i)), dir.Join(fmt.Sprintf("file-%d", i))
		if err := losing.Claim(ctx, claim); err != nil {
			return "", fmt.Errorf("a claim whose reply was lost: %w", err)
		}
		if err := losing.Claim(ctx, claim); !errs.Is(err, errs.Exist) {
			return "", orWrong(err, "a name could be claimed twice")
		}
		if err := put(ctx, losing, file, pattern(size, byte(i))); err != nil {
			return "", fmt.Errorf("a file of %d bytes whose commit's reply was lost: %w", size, err)
		}
		if err := put(ctx, losing, file, pattern(size, byte(i))); !errs.Is(err, errs.Exist) {
			return "", orWrong(err, "a file could be written twice")
		}
		if err := same(ctx, p.other, file, pattern(size, byte(i))); err != nil {
			return "", err
		}
		if err := losing.Remove(ctx, claim); err != nil {
			return "", fmt.Errorf("a removal whose reply was lost: %w", err)
		}
	}
	return fmt.Sprintf("%d claims and files whose replies were lost are known for our own", 2*i), nil
}

// remove: what is removed is gone, and the name is free.
func (p *probe) remove(ctx context.Context) (string, error) {
	name := p.dir.Join("remove", "a")
	for i := range 5 {
		if err := p.fs.Claim(ctx, name); err != nil {
			return "", err
		}
		if err := p.fs.Remove(ctx, name); err != nil {
			return "", err
		}
		if _, err := p.other.Stat(ctx, name); !errs.Is(err, errs.NotExist) {
			return "", orWrong(err, fmt.Sprintf("after removal %d the file is still there", i+1))
		}
	}
	if err := p.fs.Remove(ctx, name); err != nil {
		return "", fmt.Errorf("removing what is absent: %w", err)
	}
	return "what was removed is gone at once", nil
}

// A store refuses requests whose time is 15 minutes from its own.
const (
	skewMost = 5 * time.Minute
	skewSeen = 2 * time.Second
)

// clock: the store's time is ours.
func (p *probe) clock(context.Context) (string, error) {
	s, ok := p.fs.(skewer)
	if !ok {
		return "", skip("the store does not tell its time")
	}
	d, ok := s.Skew()
	switch {
	case !ok:
		return "", skip("the store does not tell its time")
	case d.Abs() > skewMost:
		return "", &errWrong{fmt.Sprintf("the store's clock differs from this machine's by %v", d.Round(time.Second))}
	case d.Abs() > skewSeen:
		return fmt.Sprintf("the store's clock differs from this machine's by %v", d.Round(time.Second)), nil
	}
	return "within 2 s of this machine's", nil
}

// tidy removes all files, several at once, whatever has become of ctx.
func (p *probe) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	names := make(chan dfs.Path)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for name := range names {
				_ = p.fs.Remove(ctx, name) // what stays is met again below
			}
		})
	}
	for info, err := range p.fs.List(ctx, p.dir) {
		if err != nil {
			break // and here, too
		}
		names <- info.Path
	}
	close(names)
	wg.Wait()
	return dfs.RemoveAll(ctx, p.fs, p.dir)
}
