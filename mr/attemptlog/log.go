package attemptlog

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// How much of a log is kept, in bytes: its beginning, and about as much as tailBytes of its end.
const (
	headBytes = 64 << 10
	tailBytes = 192 << 10
	lineBytes = 64 << 10
)

// MaxBytes is more than any log has.
const MaxBytes = headBytes + tailBytes + 1<<10

// Slow is how long an attempt may take without leaving a file if it has nothing to say.
const Slow = 10 * time.Second

// Log is an attempt's log. Its methods may be called from any goroutine.
type Log struct {
	began   time.Time
	routine *zap.Logger

	mu   sync.Mutex
	head []byte
	tail []byte
	left int64 // bytes between them that are left out
	said bool  // something that is no routine
}

// New returns an empty log of an attempt that begins now.
func New() *Log {
	l := &Log{began: time.Now()}
	l.routine = zap.New(zapcore.NewCore(encoder, routine{l}, zapcore.InfoLevel))
	return l
}

// encoder makes lines as the commands' logs have them.
var encoder = zapcore.NewConsoleEncoder(func() zapcore.EncoderConfig {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
		e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return c
}())

// Routine takes what every attempt has to say. It alone makes no file.
func (l *Log) Routine() *zap.Logger { return l.routine }

// Beside is a logger that writes to the log and to another logger: what an attempt says of its own.
func (l *Log) Beside(other *zap.Logger) *zap.Logger {
	mine := zapcore.NewCore(encoder, zapcore.AddSync(l), zapcore.InfoLevel)
	return other.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, mine) }))
}

// Write takes a line.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = true
	l.add(p)
	return len(p), nil
}

type routine struct{ l *Log }

func (r routine) Write(p []byte) (int, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.add(p)
	return len(p), nil
}

func (routine) Sync() error { return nil }

// add is called with l.mu held.
func (l *Log) add(p []byte) {
	if len(p) > lineBytes {
		p = fmt.Appendf(bytes.Clone(p[:lineBytes]), " … (%d bytes are left out)\n", len(p)-lineBytes)
	}
	if l.tail == nil && len(l.head)+len(p) <= headBytes {
		l.head = append(l.head, p...)
		return
	}
	l.tail = append(l.tail, p...)
	if len(l.tail) > 2*tailBytes { // seldom, so that adding a line costs its own length
		kept := end(l.tail)
		l.left += int64(len(l.tail) - len(kept))
		l.tail = append(l.tail[:0], kept...)
	}
}

// end is the last whole lines of a text, at most tailBytes.
func end(b []byte) []byte {
	if len(b) <= tailBytes {
		return b
	}
	b = b[len(b)-tailBytes:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	return b
}

// Bytes is the log as it is now.
func (l *Log) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := bytes.Clone(l.head)
	tail := end(l.tail)
	if left := l.left + int64(len(l.tail)-len(tail)); left > 0 {
		out = fmt.Appendf(out, "… (%d bytes are left out)\n", left)
	}
	return append(out, tail...)
}

// Worth tells whether the log of an attempt that has ended well is to be kept as a file: it has said something, was slow,
// or is not the first of its task.
func (l *Log) Worth(number int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said || number > 1 || time.Since(l.began) >= Slow
}
