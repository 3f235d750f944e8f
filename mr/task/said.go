package task

import (
	"errors"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// begins says in the attempt's own log what it is about to do.
func (a *attempt) begins() {
	if a.env.own == nil {
		return
	}
	s := a.spec
	fields := []zap.Field{zap.String("job", string(s.Job)), zap.Stringer("attempt", s.Attempt), zap.Int64("epoch", s.Epoch), zap.String("kind", s.Kind)}
	if s.Split != nil {
		fields = append(fields, zap.Int("files", len(s.Split.Files)), zap.Int64("bytes", s.Split.Bytes), zap.Int64("records", s.Split.Records))
		if len(s.Split.Files) > 0 {
			fields = append(fields, zap.String("first", s.Split.Files[0].URI))
		}
	}
	for _, in := range s.Inputs {
		var bytes, rows int64
		for _, f := range in.Files {
			bytes, rows = bytes+f.Bytes, rows+f.Rows
		}
		fields = append(fields, zap.Any("input "+in.Name, map[string]int64{"files": int64(len(in.Files)), "bytes": bytes, "rows": rows}))
	}
	a.routine.Info("attempt begins", fields...)
	if s.Halvings > 0 {
		a.routine.Warn("earlier attempts ran out of memory: batches are smaller", zap.Int("halvings", s.Halvings))
	}
	if a.env.Usage != nil {
		a.cpu = a.env.Usage().CPU
	}
}

// usage is what the process has used meanwhile, and holds.
func (a *attempt) usage() []zap.Field {
	if a.env.Usage == nil {
		return nil
	}
	u := a.env.Usage()
	return []zap.Field{zap.Float64("processCPUSeconds", (u.CPU - a.cpu).Seconds()), zap.Int64("processResident", u.Resident), zap.Int64("processPeak", u.Peak)}
}

// spilled says how often the sort went to the local disk.
func (a *attempt) spilled() {
	if n, bytes := a.shuffle.Spilled(); n > 0 {
		a.routine.Info("sort buffer spilled", zap.Int("times", n), zap.Int64("bytes", bytes))
	}
}

func (a *attempt) succeeded(m *mr.Manifest) {
	if a.env.own == nil {
		return
	}
	for _, f := range m.Files {
		a.routine.Info("file written", zap.String("channel", f.Channel), zap.String("path", string(f.Path)), zap.Int64("rows", f.Rows), zap.Int64("bytes", f.Bytes))
	}
	a.routine.Info("attempt ends well", append(a.usage(), zap.Float64("seconds", m.Seconds), zap.Any("counters", m.Counters))...)
}

// failed says how an attempt failed, with the whole text of the error.
func (a *attempt) failed(err error) {
	if a.env.own == nil {
		return
	}
	a.mu.Lock()
	fields := append(a.usage(), zap.String("kind", errs.KindOf(err).String()), zap.Any("counters", a.counters))
	var id interface{ ErrorID() string }
	if errors.As(err, &id) {
		fields = append(fields, zap.String("id", id.ErrorID()))
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		fields = append(fields, zap.String("next", hint.Hint()))
	}
	a.routine.Error("attempt failed", append(fields, zap.Error(err))...)
	a.mu.Unlock()
}
