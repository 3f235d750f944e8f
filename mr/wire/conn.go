package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Timing is how quickly silence is noticed. The zero value is Usual.
//
// Three times end what is silent, each something else:
//   - Silent is a connection's: when not a byte has come for so long, it ends, on either side. What runs on the worker goes on, and the
//     worker dials anew.
//   - Away is a worker's without a connection: it begins when the connection has ended, and when it is over what ran there is lost.
//   - sched.Options.Expire is a worker's, too, with a connection or without: it begins with each sign of life, and also bounds for how long a
//     sign of life may not name an attempt. It notices processes whose connection stands and that say nothing sensible.
//
// So a worker that is cut off is lost after Away, and one that falls silent after Silent and Away or after Expire, whichever is
// sooner. Away should be several Redial, so that a worker may come back, and Silent and Expire several Beat, and Expire more than Away, or
// Away would have no meaning.
type Timing struct {
	Beat   time.Duration // between signs of life, and between pings
	Silent time.Duration // without a frame from the other side, a connection is given up
	Away   time.Duration // after so long a worker without a connection is given up
	Redial time.Duration // between tries to dial, at first; it doubles up to eight times as long
}

// Usual are the times of daemons.
var Usual = Timing{Beat: time.Second, Silent: 5 * time.Second, Away: 3 * time.Second, Redial: 200 * time.Millisecond}

func (t Timing) filled() Timing {
	if t.Beat <= 0 {
		t.Beat = Usual.Beat
	}
	if t.Silent <= 0 {
		t.Silent = Usual.Silent
	}
	if t.Away <= 0 {
		t.Away = Usual.Away
	}
	if t.Redial <= 0 {
		t.Redial = Usual.Redial
	}
	return t
}

// conn is one websocket with a queue of frames to be sent.
type conn struct {
	ws     *websocket.Conn
	timing Timing
	chunk  []byte // next's own
	cancel context.CancelCauseFunc
	ctx    context.Context
	busy   func()       // called every beat while a frame is under way, behind which others wait; nil: nobody wants to know
	writes atomic.Int64 // since when a frame is being sent, in nanoseconds; 0: none is

	mu    sync.Mutex
	queue []*frame
	waits []chan struct{} // closed when what was queued before is sent
	ready chan struct{}
}

func newConn(ctx context.Context, ws *websocket.Conn, t Timing) *conn {
	c := &conn{ws: ws, timing: t, ready: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	ws.SetReadLimit(maxFrame)
	return c
}

// send queues a frame. What is queued when the connection ends is lost.
func (c *conn) send(f *frame) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// flushed waits until what is queued is sent, or ctx ends.
func (c *conn) flushed(ctx context.Context) <-chan struct{} {
	done, sent := make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	c.waits = append(c.waits, sent)
	c.mu.Unlock()
	select {
	case c.ready <- struct{}{}:
	default:
	}
	go func() {
		defer close(done)
		select {
		case <-sent:
		case <-ctx.Done():
		}
	}()
	return done
}

// run sends what is queued and gives f what comes, until the connection ends, one side is silent for too long, or f
// fails. each is called every beat. It returns why it ended.
func (c *conn) run(f func(*frame) error, each func()) error {
	var wg sync.WaitGroup
	wg.Go(func() { c.cancel(c.write(each)) })
	wg.Go(func() { c.cancel(c.read(f)) })
	if c.busy != nil {
		wg.Go(c.watchWrites)
	}
	<-c.ctx.Done()
	_ = c.ws.CloseNow() // the cause is known already, and both sides go on without it
	wg.Wait()
	return context.Cause(c.ctx)
}

func (c *conn) write(each func()) error {
	beat := time.NewTicker(c.timing.Beat)
	defer beat.Stop()
	for {
		select {
		case <-c.ready:
			c.mu.Lock()
			queue, waits := c.queue, c.waits
			c.queue, c.waits = nil, nil
			c.mu.Unlock()
			for _, f := range queue {
				if err := c.writeFrame(f); err != nil {
					return err
				}
			}
			for _, w := range waits {
				close(w)
			}
		case <-beat.C:
			each()
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// watchWrites tells of a frame that is being sent for longer than a beat.
func (c *conn) watchWrites() {
	beat := time.NewTicker(c.timing.Beat)
	defer beat.Stop()
	for {
		select {
		case now := <-beat.C:
			if since := c.writes.Load(); since > 0 && now.UnixNano()-since >= int64(c.timing.Beat) {
				c.busy()
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *conn) writeFrame(f *frame) error {
	b, payload, err := f.encode()
	if err != nil {
		return err
	}
	c.writes.Store(time.Now().UnixNano())
	defer c.writes.Store(0)
	// A large frame gets time for its bytes: a megabyte a second is slow.
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.Silent+time.Duration(len(b)+len(payload))*time.Microsecond)
	defer cancel()
	if payload == nil {
		err = c.ws.Write(ctx, websocket.MessageBinary, b)
	} else {
		err = c.writeParts(ctx, b, payload)
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// writeParts sends one message in several parts.
func (c *conn) writeParts(ctx context.Context, parts ...[]byte) error {
	w, err := c.ws.Writer(ctx, websocket.MessageBinary)
	if err != nil {
		return err
	}
	for _, b := range parts {
		if _, err := w.Write(b); err != nil {
			return err // the connection ends with it
		}
	}
	return w.Close()
}

var errSilent = errors.New("nothing was heard for too long")

func (c *conn) read(f func(*frame) error) error {
	for {
		fr, err := c.next()
		if err != nil {
			return err
		}
		if err := f(fr); err != nil {
			return err
		}
	}
}

// next waits for a frame. The time that silence may last begins anew with every read from the network.
func (c *conn) next() (*frame, error) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.timing.Silent, func() { cancel(errSilent) })
	defer watch.Stop()
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", errors.Join(err, context.Cause(ctx)))
	}
	if kind != websocket.MessageBinary {
		return nil, errors.New("receive: a message that is not binary")
	}
	var b []byte
	said := time.Now()
	if c.chunk == nil {
		c.chunk = make([]byte, 8<<10)
	}
	for {
		n, err := r.Read(c.chunk)
		watch.Reset(c.timing.Silent)
		if c.busy != nil && n > 0 && time.Since(said) >= c.timing.Beat {
			said = time.Now()
			c.busy()
		}
		b = append(b, c.chunk[:n]...)
		if err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, fmt.Errorf("receive: %w", errors.Join(err, context.Cause(ctx)))
		}
	}
	return decodeFrame(b)
}
