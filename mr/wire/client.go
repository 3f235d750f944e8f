package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// WorkerPath is where workers dial a tracker.
const WorkerPath = "/api/v1/worker"

// Client is a worker's side: it keeps one connection to a tracker. Fields are set before Run; Client and Log may be nil.
type Client struct {
	URL    string // of the tracker: http://HOST:PORT or https://HOST:PORT
	Token  string
	HTTP   *http.Client
	Hello  Hello // without Running and Jobs
	Timing Timing
	// Hopeless, if not nil, tells why dialling again would not help after a failure to dial, such as a *StatusError; nil: it may. A worker that
	// has been welcomed once goes on all the same: what was right may be mended, and what it runs is not lost meanwhile.
	Hopeless func(error) error
	Log      *zap.Logger

	mu      sync.Mutex
	seq     uint64
	conn    *conn
	worker  *worker.Worker
	drains  bool
	pending []pending // reports of ended attempts, in their order
}

// pending is a report that is not known to be durable.
type pending struct {
	seq  uint64
	end  sched.Progress
	f    *frame
	over bool // the tracker has closed its job: if it does not take the report, only another one will
}

// RefusedError says that the tracker does not want this worker: dialling again would not help.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "the tracker refuses this worker: " + e.Why }

// StatusError is an answer that is none of a tracker's, or none that was hoped for.
type StatusError struct {
	Code int    // of HTTP
	Says string // the status in words, and the first line of an answer that is text for people
}

func (e *StatusError) Error() string { return "it answers " + e.Says }

// NewStatusError is made of an answer and its body, of which a page of HTML says less than the status.
func NewStatusError(resp *http.Response, body []byte) *StatusError {
	e := &StatusError{resp.StatusCode, resp.Status}
	switch t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t {
	case "text/plain", "application/json":
	case "": // as Go's server says that it speaks TLS
		if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
			return e
		}
	default:
		return e
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if r := []rune(line); len(r) > 200 {
		line = string(r[:200]) + "..."
	}
	if line = strings.TrimSpace(line); line != "" {
		e.Says += ": " + line
	}
	return e
}

// Report sends a report, now or, if it ends an attempt, when there is a connection. It does not block.
func (c *Client) Report(r worker.Report) {
	f, err := encodeReport(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.log().Error("a report that cannot be sent", zap.Error(err))
		return
	}
	if end, ok := ends(r.Event); ok {
		c.seq++
		f.Seq = c.seq
		c.pending = append(c.pending, pending{seq: c.seq, end: end, f: f})
	}
	if c.conn != nil {
		c.conn.send(f)
	}
}

// Drain tells the tracker to send no new attempts.
func (c *Client) Drain() {
	c.mu.Lock()
	c.drains = true
	cn, w := c.conn, c.worker
	c.mu.Unlock()
	if cn == nil {
		return
	}
	running, jobs := w.Running(), w.Jobs() // with our lock held they might wait for one that waits for ours
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, err := c.hello(running, jobs); err == nil {
		f.Kind = kindDrain
		cn.send(f)
	}
}

// Leave tells the tracker that the worker will not come back, if there is a connection.
func (c *Client) Leave() {
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(cn.ctx, time.Second)
	defer cancel()
	cn.send(&frame{header: header{Kind: kindBye}})
	<-cn.flushed(ctx)
}

// Pending is how many reports are not known to be durable, and may be, on this connection. One of a job that another tracker has taken over
// is kept for that, and not waited for.
func (c *Client) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.pending {
		if !p.over {
			n++
		}
	}
	return n
}

func (c *Client) log() *zap.Logger {
	if c.Log == nil {
		return zap.NewNop()
	}
	return c.Log
}

// Run keeps a connection for a worker until ctx ends, the tracker refuses it, or there is no hope for one.
func (c *Client) Run(ctx context.Context, w *worker.Worker) error {
	t := c.Timing.filled()
	pause, joined := t.Redial, false
	for {
		welcomed, err := c.connect(ctx, w, t)
		joined = joined || welcomed
		var refused *RefusedError
		if errors.As(err, &refused) {
			return refused
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !joined && c.Hopeless != nil {
			if err := c.Hopeless(err); err != nil {
				return err
			}
		}
		if welcomed {
			pause = t.Redial
		}
		c.log().Warn("no connection to the tracker; trying again", zap.String("tracker", c.URL), zap.Duration("in", pause), zap.Error(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, 8*t.Redial)
	}
}

// connect dials once and serves the connection to its end.
func (c *Client) connect(ctx context.Context, w *worker.Worker, t Timing) (welcomed bool, err error) {
	dial, cancel := context.WithTimeout(ctx, t.Silent)
	defer cancel()
	h := http.Header{}
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token)
	}
	url := strings.TrimSuffix(c.URL, "/") + WorkerPath
	ws, resp, err := websocket.Dial(dial, url, &websocket.DialOptions{HTTPClient: c.HTTP, HTTPHeader: h, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		if resp != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
			return false, &RefusedError{Why: resp.Status + ": check the token"}
		}
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			text, _ := io.ReadAll(resp.Body) // what there is of it; the library has read it
			return false, NewStatusError(resp, text)
		}
		return false, err
	}
	cn := newConn(ctx, ws, t)
	defer func() {
		c.mu.Lock()
		c.conn = nil
		c.mu.Unlock()
		cn.cancel(nil)
		_ = ws.CloseNow() // run has done it, unless Hello failed
	}()
	if err := c.enter(cn, w); err != nil {
		return false, err
	}
	err = cn.run(func(f *frame) error {
		switch f.Kind {
		case kindWelcome:
			welcomed = true
			c.log().Info("joined the tracker", zap.String("tracker", c.URL))
			return nil
		case kindPing:
			return nil
		case kindAcks:
			c.acked(f.Acks)
			return nil
		case kindRefuse:
			why, err := valueOf[string](f)
			return errors.Join(&RefusedError{Why: why}, err)
		}
		decode := commandKinds[f.Kind]
		if decode == nil {
			return fmt.Errorf("a frame of kind %q", f.Kind)
		}
		cmd, err := decode(f)
		if err != nil {
			return err
		}
		w.Do(cmd)
		if end, ok := cmd.(worker.CloseJob); ok {
			c.over(end.Job)
		}
		return nil
	}, w.Beat)
	return welcomed, err
}

// enter says Hello and sends what the tracker may not know. What has ended and is not known to be durable still counts
// as running until then.
func (c *Client) enter(cn *conn, w *worker.Worker) error {
	// The worker reports with its own lock held, so that its books must be read before ours.
	running, jobs := w.Running(), w.Jobs()
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.hello(running, jobs)
	if err != nil {
		return err
	}
	cn.send(f)
	for i := range c.pending {
		c.pending[i].over = false
		cn.send(c.pending[i].f)
	}
	c.conn, c.worker = cn, w
	return nil
}

// hello is the frame that says what the worker is and runs. It is called with c.mu held.
func (c *Client) hello(running []sched.Progress, jobs []sched.Holding) (*frame, error) {
	h := c.Hello
	h.Protocol, h.Running, h.Jobs, h.Drains = Protocol, running, jobs, c.drains
	for _, p := range c.pending {
		if !slices.ContainsFunc(running, func(r sched.Progress) bool {
			return r.Job == p.end.Job && r.Attempt == p.end.Attempt && r.Epoch == p.end.Epoch
		}) {
			h.Running = append(h.Running, p.end)
		}
	}
	return body(kindHello, h)
}

// over notes that the tracker has closed a job.
func (c *Client) over(id mr.JobID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.pending {
		if c.pending[i].end.Job == id {
			c.pending[i].over = true
		}
	}
}

func (c *Client) acked(seqs []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = slices.DeleteFunc(c.pending, func(p pending) bool { return slices.Contains(seqs, p.seq) })
}
