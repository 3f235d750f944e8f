package progress

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }
func newClock() *clock                   { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func lines(b *bytes.Buffer) []string {
	s := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(s) == 1 && s[0] == "" {
		return nil
	}
	return s
}

func TestPlainIsSparse(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Now: c.now})
	// 20,000 images at 55 a second take six minutes: ten lines for the percents, twelve for the half minutes.
	for i := int64(0); i <= 20000; i++ {
		r.Update(Update{Stage: "extract", Done: i, Total: 20000, Unit: "images", Memory: 412 << 20, MemoryLimit: 1 << 30})
		c.advance(time.Second / 55)
	}
	r.Close()
	got := lines(&b)
	if len(got) < 11 || len(got) > 24 {
		t.Errorf("%d lines:\n%s", len(got), b.String())
	}
	if want := "extract   10 %  2,0"; !strings.HasPrefix(got[1], want) && !strings.HasPrefix(got[0], want) {
		t.Errorf("no line at 10 %%:\n%s", b.String())
	}
	if want := "extract  20,000 images in 6m04s  55.0 images/s  memory 412 MiB of 1.0 GiB"; got[len(got)-1] != want {
		t.Errorf("last line %q, want %q", got[len(got)-1], want)
	}
	if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\r") {
		t.Error("control characters in plain output")
	}
}

func TestPlainQuickStageIsOneLine(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Now: c.now})
	for i := int64(0); i <= 100; i++ {
		r.Update(Update{Stage: "join", Done: i, Total: 100, Unit: "rows"})
		c.advance(5 * time.Millisecond)
	}
	if got := lines(&b); len(got) != 1 || !strings.HasPrefix(got[0], "join  100 rows in 0.5s") {
		t.Errorf("got %q", got)
	}
}

// One of a thing is called one, and a stage that counts nothing has a time alone.
func TestFewThings(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Now: c.now})
	r.Update(Update{Stage: "table", Total: 1, Unit: "tasks"})
	r.Update(Update{Stage: "plan"})
	c.advance(500 * time.Millisecond)
	r.Update(Update{Stage: "table", Done: 1, Total: 1, Unit: "tasks"})
	r.Update(Update{Stage: "plan", End: true})
	if got := b.String(); got != "table  1 task in 0.5s  2.00 tasks/s\nplan  0.5s\n" {
		t.Errorf("got %q", got)
	}
}

func TestPlainSlowStageEvery30s(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Now: c.now})
	for range 600 { // ten minutes without getting anywhere near 10 %
		r.Update(Update{Stage: "read", Done: 1, Unit: "rows"})
		c.advance(time.Second)
	}
	if n := len(lines(&b)); n != 19 {
		t.Errorf("%d lines in ten minutes, want 19:\n%s", n, b.String())
	}
	r.Update(Update{Stage: "read", Done: 7, Unit: "rows", End: true})
	if got := lines(&b); got[len(got)-1] != "read  7 rows in 10m00s  0.01 rows/s" {
		t.Errorf("last line %q", got[len(got)-1])
	}
}

func TestETAFollowsRecentRate(t *testing.T) {
	c := newClock()
	s := &stage{start: c.now()}
	s.Total, s.Unit, s.Stage = 1000, "images", "extract"
	for i := range 10 { // slow start: 1 a second
		s.Done = int64(i)
		s.sample(c.now())
		c.advance(time.Second)
	}
	for i := range 60 { // then 10 a second
		s.Done = int64(10 + 10*i)
		s.sample(c.now())
		c.advance(time.Second)
	}
	if r := s.rate(); r < 9.5 || r > 10.5 {
		t.Errorf("rate %.2f, want about 10", r)
	}
	if line := s.line(c.now(), true); !strings.Contains(line, "ETA 40s") || !strings.Contains(line, "10.0 images/s") || !strings.Contains(line, "[############........]") {
		t.Errorf("line %q", line)
	}
	if len(s.samples) > 100 {
		t.Errorf("%d samples kept", len(s.samples))
	}
	s.Rate = 80 // what the work itself says goes first
	if line := s.line(c.now(), false); !strings.Contains(line, "80.0 images/s  ETA 5.0s") {
		t.Errorf("line %q", line)
	}
}

// screen plays a live output and returns what is seen at its end.
func screen(t *testing.T, out string) []string {
	t.Helper()
	rows := []string{}
	for len(out) > 0 {
		if strings.HasPrefix(out, "\x1b[") {
			var n int
			if _, err := fmt.Sscanf(out, "\x1b[%dA\x1b[J", &n); err != nil || n > len(rows) {
				t.Fatalf("unknown or too long cursor movement at %q", out[:min(len(out), 20)])
			}
			rows = rows[:len(rows)-n]
			out = out[strings.Index(out, "J")+1:]
			continue
		}
		line, rest, _ := strings.Cut(out, "\n")
		rows, out = append(rows, line), rest
	}
	return rows
}

func TestLive(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Live: true, Now: c.now, Width: func() int { return 60 }})
	redraws := 0
	for i := int64(0); i < 1000; i++ {
		before := b.Len()
		r.Update(Update{Stage: "extract", Done: i, Total: 1000, Unit: "images", Memory: 3 << 29})
		if b.Len() > before {
			redraws++
		}
		if i == 500 {
			r.Update(Update{Stage: "train", Done: 1, Total: 10, Unit: "rounds"})
			if _, err := r.Write([]byte("a line of log\n")); err != nil {
				t.Fatal(err)
			}
		}
		c.advance(10 * time.Millisecond)
	}
	if redraws > 101 {
		t.Errorf("%d redraws in 10 s", redraws)
	}
	seen := screen(t, b.String())
	if len(seen) != 3 || seen[0] != "a line of log" || !strings.HasPrefix(seen[1], "extract  [####") || !strings.HasPrefix(seen[2], "train") {
		t.Errorf("screen:\n%s", strings.Join(seen, "\n"))
	}
	for _, l := range seen {
		if len(l) > 59 {
			t.Errorf("line wraps: %q", l)
		}
	}
	r.Update(Update{Stage: "extract", Done: 1000, Total: 1000, Unit: "images"})
	r.Update(Update{Stage: "train", Done: 4, Total: 10, Unit: "rounds", End: true})
	r.Close()
	seen = screen(t, b.String())
	if len(seen) != 3 || !strings.HasPrefix(seen[1], "extract  1,000 images in 10s") || !strings.HasPrefix(seen[2], "train  stopped at 4 of 10 rounds after 5.0s") {
		t.Errorf("screen at the end:\n%s", strings.Join(seen, "\n"))
	}
}

// TestAStageThatWasOver when it was first seen took what it says, not the time of the looking.
func TestAStageThatWasOver(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	New(&b, Options{Now: func() time.Time { return now }}).Update(Update{Stage: "extract", Done: 72, Total: 72, Kept: 10, Unit: "images", Seconds: 36, End: true})
	if got := b.String(); got != "extract  72 images in 36s  2.00 images/s\n" {
		t.Errorf("%q", got)
	}
}

func TestManyGoroutines(t *testing.T) {
	var b bytes.Buffer
	c := newClock()
	r := New(&b, Options{Live: true, Now: c.now})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range int64(100) {
				r.Update(Update{Stage: fmt.Sprint(g), Done: i + 1, Total: 100, Unit: "rows"})
			}
		})
	}
	wg.Wait()
	r.Close()
	if seen := screen(t, b.String()); len(seen) != 8 {
		t.Errorf("%d lines, want one for each stage", len(seen))
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0.4s", 36 * time.Second: "36s", 200 * time.Second: "3m20s", 2*time.Hour + 5*time.Minute: "2h05m", 59*time.Minute + 59900*time.Millisecond: "1h00m", 59900 * time.Millisecond: "1m00s", 0: "0.0s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %s, want %s", d, got, want)
		}
	}
}
