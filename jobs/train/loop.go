package train

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// The kinds of round, the first byte of every message and sum.
const (
	roundExtent  byte = 'x'
	roundMoments byte = 'm'
	roundEval    byte = 'e'
	roundFinal   byte = 'f'
)

// loop is the coordinator's side: it turns sums into the next points. It trains as many models at a time as
// Params.Room and Params.Driven allow, in their order: when one is done the next begins. What becomes of a model does not depend on
// which others are trained beside it.
type loop struct {
	p       *Params
	classes []string
	models  []model
	active  []fit // those that are being trained, in their order
	begun   int   // models begun so far
	wave    int64 // weights that may be trained at a time; 0: any number
	trained []Trained
	extent  *lr.Extent
	moments *lr.Moments
	scales  *lr.Scales
	head    []byte // of every evaluation's message
	stage   byte
}

// fit is a model that is being trained.
type fit struct {
	model int
	*lr.Fit
}

func newLoop(p *Params, classes []string) *loop {
	l := &loop{p: p, classes: classes, models: p.models()}
	l.trained = make([]Trained, len(l.models))
	var all, whole int64
	for i, m := range l.models {
		n := l.shape(i).weights()
		all += n
		if m.Fold < 0 {
			whole += n
		}
	}
	l.wave = p.Room.wave(all, whole)
	if n := p.Driven.wave(all, whole); n > 0 && (l.wave == 0 || n < l.wave) {
		l.wave = n
	}
	return l
}

// merge adds two sums of the same round.
func merge(a, b []byte) ([]byte, error) {
	if len(a) == 0 || len(b) == 0 || a[0] != b[0] {
		return nil, errs.E("train", errs.Internal, "", errors.New("sums of different rounds"))
	}
	switch a[0] {
	case roundExtent:
		x, y, err := decodeTwo[lr.Extent](a, b)
		if err != nil {
			return nil, err
		}
		x.Merge(y)
		return encode(roundExtent, x)
	case roundMoments:
		x, y, err := decodeTwo[lr.Moments](a, b)
		if err != nil {
			return nil, err
		}
		x.Merge(y)
		return encode(roundMoments, x)
	}
	// Evaluations are plain integers, which are added where they stand.
	if len(a) != len(b) || len(a)%8 != 1 {
		return nil, errs.E("train", errs.Internal, "", fmt.Errorf("sums of %d and %d bytes", len(a), len(b)))
	}
	for i := 1; i < len(a); i += 8 {
		v := binary.LittleEndian.Uint64(a[i:]) + binary.LittleEndian.Uint64(b[i:])
		binary.LittleEndian.PutUint64(a[i:], v)
	}
	return a, nil
}

func decodeTwo[T any](a, b []byte) (x, y *T, err error) {
	if x, err = decode[T](a); err == nil {
		y, err = decode[T](b)
	}
	return x, y, err
}

// Next advances the models with a round's sum and makes the next message.
func (l *loop) Next(_ context.Context, sum []byte) (msg []byte, done bool, err error) {
	switch l.stage {
	case 0:
		l.stage = roundExtent
		return []byte{roundExtent}, false, nil
	case roundExtent:
		if l.extent, err = decode[lr.Extent](sum); err != nil {
			return nil, false, err
		}
		l.scales = l.extent.Scales()
		l.stage = roundMoments
		msg, err = encode(roundMoments, l.scales)
		return msg, false, err
	case roundMoments:
		if l.moments, err = decode[lr.Moments](sum); err != nil {
			return nil, false, err
		}
		if l.head, err = encodeScales(l.scales); err != nil {
			return nil, false, err
		}
		if err = l.check(); err == nil {
			err = l.begin()
		}
		if err != nil {
			l.close()
			return nil, false, err
		}
		l.stage = roundEval
	case roundEval:
		if err := l.observe(sum); err != nil {
			l.close()
			return nil, false, err
		}
	}
	if len(l.active) > 0 {
		return l.message(), false, nil
	}
	msg, err = l.final()
	return msg, true, err
}

// check finds what makes a model impossible, which is a matter of the rows of its fold, before the first is trained.
func (l *loop) check() error {
	for _, m := range l.models {
		if m.Target > 0 || m.Setting > 0 {
			continue
		}
		f, err := lr.NewFit(l.p.spec(m, len(l.classes)), l.extent, l.moments, l.scales)
		if err != nil {
			return l.explain(m, err)
		}
		f.Close()
	}
	return nil
}

// begin begins models as long as there is room, and at least one.
func (l *loop) begin() error {
	room := l.wave
	for _, f := range l.active {
		room -= l.shape(f.model).weights()
	}
	for l.begun < len(l.models) {
		need := l.shape(l.begun).weights()
		if len(l.active) > 0 && l.wave > 0 && need > room {
			return nil
		}
		f, err := lr.NewFit(l.p.spec(l.models[l.begun], len(l.classes)), l.extent, l.moments, l.scales)
		if err != nil {
			return l.explain(l.models[l.begun], err)
		}
		room -= need
		l.active = append(l.active, fit{l.begun, f})
		l.begun++
		if err := l.collect(); err != nil {
			return err
		}
	}
	return nil
}

// collect takes models that are done out of training.
func (l *loop) collect() error {
	left := l.active[:0]
	for i, f := range l.active {
		if !f.Done() {
			left = append(left, f)
			continue
		}
		m := l.models[f.model]
		name := l.p.Targets()[m.Target]
		trained := f.Model()
		f.Close()
		if !finite(trained) {
			l.active = append(left, l.active[i+1:]...)
			return errs.E("train", errs.Invalid, "", fmt.Errorf("model of %q has weights that are no numbers", name))
		}
		l.trained[f.model] = Trained{Target: name, Setting: l.p.Settings[m.Setting], Fold: m.Fold, Model: trained}
	}
	clear(l.active[len(left):])
	l.active = left
	return nil
}

func (l *loop) shape(model int) shape { return l.p.shape(l.models[model], len(l.classes)) }

// explain names the class instead of its number, and the layer that a column is of. The table's columns are named by
// who has their names.
func (l *loop) explain(m model, err error) error {
	var reach *lr.RangeError
	if errors.As(err, &reach) && reach.Column >= l.p.Features {
		reach.Layer = l.p.Targets()[m.Target]
	}
	var one *lr.OneClassError
	if errors.As(err, &one) && one.Class >= 0 && one.Class < len(l.classes) {
		one.Label = l.classes[one.Class]
	}
	return err
}

func (l *loop) close() {
	for _, f := range l.active {
		f.Close()
	}
	l.active = nil
}

// message asks for the evaluation of the models in training.
func (l *loop) message() []byte {
	size := len(l.head)
	for _, f := range l.active {
		size += l.shape(f.model).bytes()
	}
	msg := append(make([]byte, 0, size), l.head...)
	for _, f := range l.active {
		msg = appendPoint(msg, f.model, f.Point())
	}
	return msg
}

// observe hands every active model its share of the sum, and begins others in the place of those that are done.
func (l *loop) observe(sum []byte) error {
	if len(sum) == 0 || sum[0] != roundEval {
		return damaged("not the sum of an evaluation")
	}
	b := sum[1:]
	for _, f := range l.active {
		p := lr.NewPartial(f.Scores(), f.Columns())
		var err error
		if b, err = readPartial(b, p); err != nil {
			return err
		}
		if err := f.Observe(p); err != nil {
			m := l.models[f.model]
			return errs.E("train", errs.Invalid, "", fmt.Errorf("model of %q with %+v: %w", l.p.Targets()[m.Target], l.p.Settings[m.Setting], err))
		}
	}
	if len(b) != 0 {
		return damaged(fmt.Sprintf("%d bytes too many in a sum", len(b)))
	}
	if err := l.collect(); err != nil {
		return err
	}
	return l.begin()
}

// appendPartial and readPartial are a partial as 64-bit little-endian integers, so that Merge
// need not know where one ends.
func appendPartial(b []byte, p *lr.Partial) []byte {
	b = appendInts(b, p.Loss[:])
	b = appendInts(b, p.Res)
	for _, g := range p.Grad {
		b = appendInts(b, g)
	}
	return b
}

func appendInts(b []byte, v []int64) []byte {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func readPartial(b []byte, p *lr.Partial) (rest []byte, err error) {
	for _, dst := range append([][]int64{p.Loss[:], p.Res}, p.Grad...) {
		if len(b) < 8*len(dst) {
			return nil, errs.E("train", errs.Internal, "", errors.New("a sum is too short"))
		}
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
		b = b[8*len(dst):]
	}
	return b, nil
}

// final is the last message: all models.
func (l *loop) final() ([]byte, error) {
	msg, err := encodeFinal(Value{Train: l.extent.N(), Models: l.trained})
	l.trained, l.moments = nil, nil
	return msg, err
}

func finite(m *lr.Model) bool {
	for k, w := range m.Weights {
		if math.IsNaN(m.Intercepts[k]) || math.IsInf(m.Intercepts[k], 0) {
			return false
		}
		for _, v := range w {
			if v-v != 0 {
				return false
			}
		}
	}
	return true
}
