package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Protocol is the version of what is said here; both sides must speak the same.
const Protocol = 1

// maxFrame bounds a frame: a task that reads everything names every file of a million tasks.
const maxFrame = 1 << 30

// header is the JSON part of a frame. Kind says which of the others is there.
type header struct {
	Kind string          `json:"k"`
	Seq  uint64          `json:"s,omitempty"` // of a report that is to be acknowledged
	Acks []uint64        `json:"a,omitempty"`
	Body json.RawMessage `json:"b,omitempty"`
}

// The kinds of frame beside those of commands and reports.
const (
	kindHello   = "hello"
	kindWelcome = "welcome"
	kindPing    = "ping"
	kindAcks    = "acks"
	kindRefuse  = "refuse"
	kindDrain   = "drain" // with a Hello: no new attempts any more
	kindBye     = "bye"   // the worker ends
	kindLog     = "log"   // a LogText, which answers a show-log
)

// Hello is what a worker says first.
type Hello struct {
	Protocol int              `json:"protocol"`
	Version  string           `json:"version"` // of the program
	Worker   sched.WorkerID   `json:"worker"`
	Host     string           `json:"host"`
	Near     []string         `json:"near,omitempty"` // other names and addresses of the machine, as a store may name it
	Slots    int              `json:"slots"`
	Memory   int64            `json:"memory"`          // bytes that its attempts may hold together; 0: not limited
	Whole    int64            `json:"whole,omitempty"` // bytes that its machine or control group has; 0: not known
	Keeps    bool             `json:"keeps,omitempty"` // it has a cache that can be written: what attempts make ready is there for the next ones, in files. A build that does not say counts as one without
	Drains   bool             `json:"drains,omitempty"`
	Running  []sched.Progress `json:"running,omitempty"`
	Jobs     []sched.Holding  `json:"jobs,omitempty"` // all of which something is there
}

// up is the worker as the scheduler sees it. One that drains has no slots.
func (h *Hello) up() sched.WorkerUp {
	up := sched.WorkerUp{Worker: h.Worker, Slots: h.Slots, Memory: h.Memory, Whole: h.Whole, Keeps: h.Keeps, Host: h.Host, Near: h.Near, Running: h.Running, Jobs: h.Jobs}
	if h.Drains {
		up.Slots = 0
	}
	return up
}

// frame is a message in the making or as it came.
type frame struct {
	header
	payload []byte
}

// largePayload is how many bytes of payload are sent beside the rest of their frame: a round's message goes to all workers at
// once, and would be there as often again.
const largePayload = 64 << 10

// encode makes the bytes of a frame. A large payload is returned for itself.
func (f *frame) encode() (b, payload []byte, err error) {
	h, err := json.Marshal(&f.header)
	if err != nil {
		return nil, nil, err
	}
	if payload = f.payload; len(payload) < largePayload {
		payload = nil
	}
	b = make([]byte, 0, 4+len(h)+len(f.payload)-len(payload))
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(h))), h...)
	if payload == nil {
		b = append(b, f.payload...)
	}
	return b, payload, nil
}

func decodeFrame(b []byte) (*frame, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("a frame of %d bytes", len(b))
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, fmt.Errorf("a frame of %d bytes with a header of %d", len(b), n)
	}
	f := &frame{payload: b[4+n:]}
	if err := json.Unmarshal(b[4:4+n], &f.header); err != nil {
		return nil, fmt.Errorf("a frame's header: %w", err)
	}
	return f, nil
}

// body makes a frame of a value.
func body(kind string, v any) (*frame, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &frame{header: header{Kind: kind, Body: b}}, nil
}

// commands and reports by the kind of their frame.
var commandKinds = map[string]func(*frame) (worker.Command, error){
	"launch":      commandOf[worker.Launch],
	"cancel":      commandOf[worker.Cancel],
	"close-phase": commandOf[worker.ClosePhase],
	"close-job":   commandOf[worker.CloseJob],
	"show-log":    commandOf[worker.ShowLog],
	"round": func(f *frame) (worker.Command, error) {
		c, err := valueOf[worker.Round](f)
		c.Message = f.payload
		return c, err
	},
}

var eventKinds = map[string]func(*frame) (sched.Event, error){
	"succeeded":   eventOf[sched.Succeeded],
	"failed":      eventOf[sched.Failed],
	"opened":      eventOf[sched.Opened],
	"closing":     eventOf[sched.Closing],
	"round-done":  eventOf[sched.RoundDone],
	"loop-failed": eventOf[sched.LoopFailed],
	"beat":        eventOf[sched.Beat],
}

func valueOf[T any](f *frame) (v T, err error) {
	if err = json.Unmarshal(f.Body, &v); err != nil {
		err = fmt.Errorf("a frame of kind %s: %w", f.Kind, err)
	}
	return v, err
}

func commandOf[T worker.Command](f *frame) (worker.Command, error) { return valueOf[T](f) }
func eventOf[T sched.Event](f *frame) (sched.Event, error)         { return valueOf[T](f) }

func encodeCommand(c worker.Command) (*frame, error) {
	switch c := c.(type) {
	case worker.Launch:
		return body("launch", c)
	case worker.Cancel:
		return body("cancel", c)
	case worker.ClosePhase:
		return body("close-phase", c)
	case worker.CloseJob:
		return body("close-job", c)
	case worker.ShowLog:
		return body("show-log", c)
	case worker.Round:
		f, err := body("round", c)
		if err == nil {
			f.payload = c.Message
		}
		return f, err
	}
	return nil, fmt.Errorf("no frame for a %T", c)
}

func encodeReport(r worker.Report) (*frame, error) {
	if r.Log != nil {
		f, err := body(kindLog, r.Log)
		if err == nil {
			f.payload = r.Log.Text
		}
		return f, err
	}
	kind := ""
	switch r.Event.(type) {
	case sched.Succeeded:
		kind = "succeeded"
	case sched.Failed:
		kind = "failed"
	case sched.Opened:
		kind = "opened"
	case sched.Closing:
		kind = "closing"
	case sched.RoundDone:
		kind = "round-done"
	case sched.LoopFailed:
		kind = "loop-failed"
	case sched.Beat:
		kind = "beat"
	default:
		return nil, fmt.Errorf("no frame for a %T", r.Event)
	}
	f, err := body(kind, r.Event)
	if err == nil {
		f.payload = r.Sum
	}
	return f, err
}

// ends tells whether a report must not be lost: it says how an attempt ended.
func ends(ev sched.Event) (sched.Progress, bool) {
	switch ev := ev.(type) {
	case sched.Succeeded:
		return sched.Progress{Job: ev.Job, Attempt: ev.Manifest.Attempt, Epoch: ev.Manifest.Epoch}, true
	case sched.Failed:
		return sched.Progress{Job: ev.Job, Attempt: ev.Attempt, Epoch: ev.Epoch}, true
	}
	return sched.Progress{}, false
}
