// Package progress shows how far a running command has come: lines that are redrawn on a terminal,
// or few plain lines anywhere else.
//
// Invariant: what goes out is bounded. On a terminal nothing is redrawn more often than ten times a
// second; elsewhere a stage prints its end, and before it at most one line each 30 s or 10 % of the way, and never
// two within a second. No escape sequence is written unless Options.Live is set.
//
// Callers: the commands that take long. Whoever does the work gets a Sink and calls it as often as it
// likes; calls are cheap and may come from any goroutine. The package starts no goroutine and reads
// no clock but the one it is given.
package progress

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// Update tells how far one stage has come.
type Update struct {
	Stage       string  // what is being done; updates with the same name belong together
	Done, Total int64   // Total 0: not known
	Kept        int64   // of Done, what was there before the stage began
	Unit        string  // what is counted, in the plural: "images", "rows"; "": nothing is
	Rate        float64 // units a second; 0: worked out from the updates
	Memory      int64   // resident memory in bytes; 0: not known
	MemoryLimit int64   // what may be used; 0: not known
	Left        float64 // seconds until the whole work of which this is a stage is done; 0: not known
	Retries     int64   // attempts that had to be repeated
	Seconds     float64 // that a stage which is over has taken, in all; 0: as long as it was seen
	End         bool    // the stage is over, even if Total is not known or not reached
}

// Sink takes updates.
type Sink interface {
	Update(Update)
}

// Discard is a Sink that shows nothing.
var Discard Sink = discard{}

type discard struct{}

func (discard) Update(Update) {}

// Options says how to show progress.
type Options struct {
	Live  bool             // the writer is a terminal that understands cursor movements
	Width func() int       // its width in characters; nil: 80
	Now   func() time.Time // the clock
}

const (
	redrawEvery = 100 * time.Millisecond
	plainEvery  = 30 * time.Second
	plainPause  = time.Second
	rateWindow  = 30 * time.Second
)

// Reporter shows the progress of several stages on one writer.
type Reporter struct {
	mu     sync.Mutex
	w      io.Writer
	o      Options
	stages []*stage // running, in order of their start
	drawn  int      // lines of the live region
	last   time.Time
}

var _ Sink = (*Reporter)(nil)

type stage struct {
	Update
	start   time.Time
	samples []sample // of the last rateWindow
	printed time.Time
	percent int64 // at the last plain line
}

type sample struct {
	at   time.Time
	done int64
}

// New returns a reporter that writes to w. Errors of w are ignored: progress is not worth a failed job.
func New(w io.Writer, o Options) *Reporter {
	if o.Width == nil {
		o.Width = func() int { return 80 }
	}
	return &Reporter{w: w, o: o}
}

// Update takes an update and shows it if it is time.
func (r *Reporter) Update(u Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	s, i := r.find(u.Stage)
	if s == nil {
		s = &stage{start: now, printed: now}
		r.stages, i = append(r.stages, s), len(r.stages)
	}
	s.Update = u
	s.sample(now)
	if u.End || u.Total > 0 && u.Done >= u.Total {
		r.stages = append(r.stages[:i:i], r.stages[i+1:]...)
		r.erase()
		fmt.Fprintln(r.w, s.final(now))
		r.draw(now)
		return
	}
	if r.o.Live {
		if now.Sub(r.last) >= redrawEvery {
			r.erase()
			r.draw(now)
		}
		return
	}
	r.plain(s, now)
}

// Write puts whole lines above the live region; loggers use it so that they do not tear it.
func (r *Reporter) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
	n, err := r.w.Write(p)
	r.draw(r.o.Now())
	return n, err
}

// Close leaves the lines of stages that did not end as they are and forgets them.
func (r *Reporter) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.Live && len(r.stages) > 0 {
		r.erase()
		r.draw(r.o.Now())
	}
	r.drawn, r.stages = 0, nil
}

func (r *Reporter) find(name string) (*stage, int) {
	for i, s := range r.stages {
		if s.Stage == name {
			return s, i
		}
	}
	return nil, -1
}

// erase removes the live region.
func (r *Reporter) erase() {
	if r.drawn > 0 {
		fmt.Fprintf(r.w, "\x1b[%dA\x1b[J", r.drawn)
		r.drawn = 0
	}
}

// draw writes the live region: a line for each running stage.
func (r *Reporter) draw(now time.Time) {
	if !r.o.Live {
		return
	}
	width := max(20, r.o.Width()-1)
	for _, s := range r.stages {
		line := []rune(s.line(now, true))
		if len(line) > width {
			line = line[:width]
		}
		fmt.Fprintln(r.w, string(line))
	}
	r.drawn, r.last = len(r.stages), now
}

// plain writes a line if the stage has come far enough since its last one.
func (r *Reporter) plain(s *stage, now time.Time) {
	percent := s.percentDone()
	since := now.Sub(s.printed)
	if since < plainPause || since < plainEvery && percent < s.percent+10 {
		return
	}
	s.printed, s.percent = now, percent-percent%10
	fmt.Fprintln(r.w, s.line(now, false))
}

func (s *stage) percentDone() int64 {
	if s.Total <= 0 {
		return 0
	}
	return int64(float64(s.Done) / float64(s.Total) * 100)
}

// sample remembers the state and forgets what lies before the window.
func (s *stage) sample(now time.Time) {
	if n := len(s.samples); n > 1 && now.Sub(s.samples[n-2].at) < rateWindow/60 {
		s.samples = s.samples[:n-1]
	}
	s.samples = append(s.samples, sample{now, s.Done})
	for len(s.samples) > 2 && now.Sub(s.samples[1].at) >= rateWindow {
		s.samples = s.samples[1:]
	}
}

// rate returns units a second, 0 if not known yet.
func (s *stage) rate() float64 {
	if s.Rate > 0 {
		return s.Rate
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	if d := last.at.Sub(first.at).Seconds(); d > 0 {
		return float64(last.done-first.done) / d
	}
	return 0
}

// line describes a running stage: stage, done/total, rate, ETA, retries, memory.
func (s *stage) line(now time.Time, bar bool) string {
	parts := []string{s.Stage}
	if s.Total > 0 {
		if bar {
			parts = append(parts, drawBar(float64(s.Done)/float64(s.Total)))
		}
		parts = append(parts, fmt.Sprintf("%3d %%", s.percentDone()), fmt.Sprintf("%s/%s %s", results.Count(s.Done), results.Count(s.Total), s.unit(s.Total)))
	} else if s.Unit != "" {
		parts = append(parts, fmt.Sprintf("%s %s", results.Count(s.Done), s.unit(s.Done)))
	}
	rate := s.rate()
	if rate > 0 {
		parts = append(parts, fmt.Sprintf("%s %s/s", short(rate), s.Unit))
	}
	if rate > 0 && s.Total > 0 {
		left := float64(s.Total-s.Done) / rate
		if left < float64(1000*time.Hour/time.Second) {
			parts = append(parts, "ETA "+Duration(time.Duration(left*float64(time.Second))))
			if s.Left > left*1.1+1 { // the stage is not all that is left
				parts = append(parts, "job "+Duration(time.Duration(s.Left*float64(time.Second))))
			}
		}
	} else {
		parts = append(parts, "since "+Duration(now.Sub(s.start)))
	}
	return strings.Join(append(parts, s.extras()...), "  ")
}

// final describes a stage that is over.
func (s *stage) final(now time.Time) string {
	took, done := now.Sub(s.start), s.Done-s.Kept
	if s.Seconds > 0 { // it was seen for a part of it, or when it was over
		took, done = time.Duration(s.Seconds*float64(time.Second)), s.Done
	}
	parts := []string{s.Stage, fmt.Sprintf("%s %s in %s", results.Count(s.Done), s.unit(s.Done), Duration(took))}
	switch {
	case s.Unit == "":
		parts[1] = Duration(took)
	case s.Total > 0 && s.Done < s.Total:
		parts[1] = fmt.Sprintf("stopped at %s of %s %s after %s", results.Count(s.Done), results.Count(s.Total), s.unit(s.Total), Duration(took))
	}
	if rate := float64(done) / took.Seconds(); done > 0 && took > 0 {
		parts = append(parts, fmt.Sprintf("%s %s/s", short(rate), s.Unit))
	}
	return strings.Join(append(parts, s.extras()...), "  ")
}

// unit is what is counted, for so many of it.
func (s *stage) unit(n int64) string {
	if n == 1 {
		return strings.TrimSuffix(s.Unit, "s")
	}
	return s.Unit
}

func (s *stage) extras() []string {
	var parts []string
	if s.Retries > 0 {
		parts = append(parts, fmt.Sprintf("%s retried", results.Count(s.Retries)))
	}
	switch {
	case s.Memory > 0 && s.MemoryLimit > 0:
		parts = append(parts, fmt.Sprintf("memory %s of %s", bytesize.Nearest(s.Memory), bytesize.Nearest(s.MemoryLimit)))
	case s.Memory > 0:
		parts = append(parts, "memory "+bytesize.Nearest(s.Memory))
	}
	return parts
}

func drawBar(share float64) string {
	const cells = 20
	full := int(math.Round(min(1, max(0, share)) * cells))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

// short writes a rate with three digits or so.
func short(f float64) string {
	switch {
	case f >= 100:
		return results.Count(int64(math.Round(f)))
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// Duration writes a length of time for people: 0.4s, 36s, 3m20s, 2h05m.
func Duration(d time.Duration) string {
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	}
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
