package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
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

// loop is the coordinator's side: it turns sums into the next points.
type loop struct {
	p       *Params
	classes []string
	models  []model
	fits    []*lr.Fit
	extent  *lr.Extent
	scales  *lr.Scales
	stage   byte
}

func newLoop(p *Params, classes []string) *loop {
	return &loop{p: p, classes: classes, models: p.models()}
}

// Merge adds two sums of the same round.
func (l *loop) Merge(a, b []byte) ([]byte, error) {
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

func encode(kind byte, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte(kind)
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	return b.Bytes(), nil
}

func decode[T any](msg []byte) (*T, error) {
	var v T
	if err := gob.NewDecoder(bytes.NewReader(msg[1:])).Decode(&v); err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	return &v, nil
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
		moments, err := decode[lr.Moments](sum)
		if err != nil {
			return nil, false, err
		}
		if err := l.begin(moments); err != nil {
			return nil, false, err
		}
		l.stage = roundEval
	case roundEval:
		if err := l.observe(sum); err != nil {
			l.close()
			return nil, false, err
		}
	}
	points := l.points()
	if len(points) > 0 {
		msg, err = encode(roundEval, evaluation{Scales: l.scales, Points: points})
		return msg, false, err
	}
	defer l.close()
	msg, err = l.final()
	return msg, true, err
}

// evaluation is the message of an evaluating round: where which models are to be evaluated.
type evaluation struct {
	Scales *lr.Scales
	Points []point
}

type point struct {
	Model int
	Point lr.Point
}

func (l *loop) begin(moments *lr.Moments) error {
	for _, m := range l.models {
		f, err := lr.NewFit(l.p.spec(m, len(l.classes)), l.extent, moments, l.scales)
		if err != nil {
			l.close()
			return l.explain(err)
		}
		l.fits = append(l.fits, f)
	}
	return nil
}

// explain names the class instead of its number.
func (l *loop) explain(err error) error {
	var one *lr.OneClassError
	if errors.As(err, &one) && one.Class >= 0 && one.Class < len(l.classes) {
		return errs.E("train", errs.Unknown, "", fmt.Errorf("all training rows have the label %q: %w", l.classes[one.Class], err))
	}
	return err
}

func (l *loop) close() {
	for _, f := range l.fits {
		f.Close()
	}
}

// active are the models that are still being trained, in their order.
func (l *loop) active() []int {
	var out []int
	for i, f := range l.fits {
		if !f.Done() {
			out = append(out, i)
		}
	}
	return out
}

func (l *loop) points() []point {
	var out []point
	for _, i := range l.active() {
		out = append(out, point{Model: i, Point: *l.fits[i].Point()})
	}
	return out
}

// observe hands every active model its share of the sum.
func (l *loop) observe(sum []byte) error {
	if len(sum) == 0 || sum[0] != roundEval {
		return errs.E("train", errs.Internal, "", errors.New("not the sum of an evaluation"))
	}
	b := sum[1:]
	for _, i := range l.active() {
		f := l.fits[i]
		p := lr.NewPartial(f.Scores(), f.Columns())
		var err error
		if b, err = readPartial(b, p); err != nil {
			return err
		}
		if err := f.Observe(p); err != nil {
			m := l.models[i]
			return errs.E("train", errs.Invalid, "", fmt.Errorf("model of %q with %+v: %w", l.p.Targets()[m.Target], l.p.Settings[m.Setting], err))
		}
	}
	if len(b) != 0 {
		return errs.E("train", errs.Internal, "", fmt.Errorf("%d bytes too many in a sum", len(b)))
	}
	return nil
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
	v := Value{Train: l.extent.N()}
	targets := l.p.Targets()
	for i, m := range l.models {
		model := l.fits[i].Model()
		if !finite(model) {
			return nil, errs.E("train", errs.Invalid, "", fmt.Errorf("model of %q has weights that are no numbers", targets[m.Target]))
		}
		v.Models = append(v.Models, Trained{Target: targets[m.Target], Setting: l.p.Settings[m.Setting], Fold: m.Fold, Model: model})
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	return append([]byte{roundFinal}, b...), nil
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
