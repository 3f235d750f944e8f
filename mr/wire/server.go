package wire

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Server takes in the workers that dial a tracker.
type Server struct {
	Tracker *tracker.Tracker
	Timing  Timing
	Log     *zap.Logger

	mu     sync.Mutex
	away   map[sched.WorkerID]*time.Timer // of workers whose connection has ended
	now    map[sched.WorkerID]*link
	closed bool
}

// link is a connection to a worker.
type link struct {
	c   *conn
	id  sched.WorkerID
	log *zap.Logger
	bye bool // it will not come back
}

// Send queues a command.
func (l *link) Send(c worker.Command) {
	f, err := encodeCommand(c)
	if err != nil {
		l.log.Error("a command that cannot be sent", zap.Error(err))
		return
	}
	l.c.send(f)
}

// Gone makes the worker say Hello anew.
func (l *link) Gone() { l.c.cancel(errors.New("the tracker has given the worker up")) }

// ServeHTTP serves one worker until its connection ends. Who may connect is for a handler before it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.log().Warn("a worker's connection was not taken", zap.String("from", r.RemoteAddr), zap.Error(err))
		return
	}
	c := newConn(r.Context(), ws, s.Timing.filled())
	defer c.cancel(nil)
	defer func() { _ = ws.CloseNow() }() // run has done it, unless Hello failed
	hello, err := s.hello(c)
	if err != nil {
		s.log().Warn("a worker was refused", zap.String("from", r.RemoteAddr), zap.Error(err))
		if f, ferr := body(kindRefuse, err.Error()); ferr == nil {
			_ = c.writeFrame(f) // it learns why, if it still listens
		}
		return
	}
	l := &link{c: c, id: hello.Worker, log: s.log().With(zap.String("worker", string(hello.Worker)))}
	if !s.enter(l) {
		return
	}
	l.log.Info("worker joins", zap.String("host", hello.Host), zap.Int("slots", hello.Slots), zap.Int("running", len(hello.Running)))
	if f, err := body(kindWelcome, nil); err == nil {
		c.send(f)
	}
	s.Tracker.Join(l, hello.up())
	c.busy = func() { s.Tracker.Alive(l, l.id) }
	err = c.run(func(f *frame) error { return s.take(l, f) }, func() { c.send(&frame{header: header{Kind: kindPing}}) })
	l.log.Info("worker's connection ended", zap.Error(err))
	s.leave(l)
}

func (s *Server) log() *zap.Logger {
	if s.Log == nil {
		return zap.NewNop()
	}
	return s.Log
}

func (s *Server) hello(c *conn) (*Hello, error) {
	f, err := c.next()
	if err != nil {
		return nil, err
	}
	if f.Kind != kindHello {
		return nil, fmt.Errorf("the first frame is %q, not hello", f.Kind)
	}
	h, err := valueOf[Hello](f)
	switch {
	case err != nil:
		return nil, err
	case h.Protocol != Protocol:
		return nil, fmt.Errorf("worker %s (version %s) speaks protocol %d, this tracker %d: use the same version of vista-mr on both", h.Worker, h.Version, h.Protocol, Protocol)
	case h.Worker == "" || h.Slots < 1:
		return nil, fmt.Errorf("worker %q offers %d slots", h.Worker, h.Slots)
	}
	return &h, nil
}

// enter makes l the worker's connection; one that it had before is given up.
func (s *Server) enter(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.now == nil {
		s.now, s.away = map[sched.WorkerID]*link{}, map[sched.WorkerID]*time.Timer{}
	}
	if t := s.away[l.id]; t != nil {
		t.Stop()
		delete(s.away, l.id)
	}
	if old := s.now[l.id]; old != nil {
		old.c.cancel(errors.New("the worker has another connection"))
	}
	s.now[l.id] = l
	return true
}

// leave gives a worker some time to come back before it is given up.
func (s *Server) leave(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now[l.id] != l || s.closed {
		return
	}
	delete(s.now, l.id)
	if l.bye {
		s.Tracker.Leave(l, l.id)
		return
	}
	s.away[l.id] = time.AfterFunc(s.Timing.filled().Away, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, back := s.now[l.id]; !back && !s.closed {
			delete(s.away, l.id)
			s.Tracker.Leave(l, l.id)
		}
	})
}

// take deals with a frame of a worker.
func (s *Server) take(l *link, f *frame) error {
	switch f.Kind {
	case kindDrain:
		h, err := valueOf[Hello](f)
		if err != nil {
			return err
		}
		h.Worker = l.id
		s.Tracker.Join(l, h.up())
		return nil
	case kindBye:
		l.bye = true
		return errors.New("the worker has said good-bye")
	}
	if f.Kind == kindLog {
		text, err := valueOf[worker.LogText](f)
		text.Text = f.payload
		s.Tracker.Report(worker.Report{Log: &text}, nil)
		return err
	}
	decode := eventKinds[f.Kind]
	if decode == nil {
		return fmt.Errorf("a frame of kind %q", f.Kind)
	}
	ev, err := decode(f)
	if err != nil {
		return err
	}
	if ev, err = from(l.id, ev); err != nil {
		return err
	}
	var durable func()
	if seq := f.Seq; seq > 0 {
		durable = func() { l.c.send(&frame{header: header{Kind: kindAcks, Acks: []uint64{seq}}}) }
	}
	s.Tracker.Report(worker.Report{Event: ev, Sum: f.payload}, durable)
	return nil
}

// from makes sure that a worker speaks for itself only.
func from(id sched.WorkerID, ev sched.Event) (sched.Event, error) {
	switch ev := ev.(type) {
	case sched.Succeeded:
		ev.Worker = id
		return ev, nil
	case sched.Failed:
		ev.Worker = id
		return ev, nil
	case sched.Opened:
		ev.Worker = id
		return ev, nil
	case sched.Closing:
		ev.Worker = id
		return ev, nil
	case sched.RoundDone:
		ev.Worker = id
		return ev, nil
	case sched.Beat:
		ev.Worker = id
		return ev, nil
	case sched.LoopFailed:
		return ev, nil
	}
	return nil, fmt.Errorf("a worker has no business with a %T", ev)
}

// Close ends all connections. Workers go on dialling; whoever listens next takes them in.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range s.away {
		t.Stop()
	}
	for _, l := range s.now {
		l.c.cancel(errors.New("the tracker stops"))
	}
}
