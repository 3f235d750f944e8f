package train

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// A message or sum begins with its kind. Statistics are gob. What grows with the models is not: points and models
// are float32 behind each other, so that a message takes what its numbers take, and a reader decodes one at a time
// into memory that it has.
//
//	extent, moments  gob of lr.Extent, lr.Scales or lr.Moments
//	evaluation       length of a gob (uint64), gob of lr.Scales, then for each point: model (uint32), offsets
//	                 (float64 by score), weights (float32 by score and column)
//	sum of it        partials as int64, in the points' order
//	final            length of a JSON text (uint64), the models without weights, then their weights
//
// All numbers are little-endian.
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

// section cuts a part of stated length off a message.
func section(b []byte) (part, rest []byte, err error) {
	if len(b) < 8 {
		return nil, nil, damaged("a message is too short")
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)-8) {
		return nil, nil, damaged("a message is too short")
	}
	return b[8 : 8+n], b[8+n:], nil
}

func damaged(what string) error { return errs.E("train", errs.Internal, "", errors.New(what)) }

// shape is how many numbers a model has.
type shape struct{ scores, cols int }

func (s shape) weights() int64 { return int64(s.scores) * int64(s.cols+1) }

// bytes of a point: model, offsets, weights.
func (s shape) bytes() int { return 4 + 8*s.scores + 4*s.scores*s.cols }

func appendPoint(b []byte, model int, p *lr.Point) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(model))
	for _, v := range p.B {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return appendWeights(b, p.W)
}

func appendWeights(b []byte, w [][]float32) []byte {
	for _, row := range w {
		for _, v := range row {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b
}

// readWeights fills w, whose rows have their lengths.
func readWeights(w [][]float32, b []byte) (rest []byte, err error) {
	for _, row := range w {
		if len(b) < 4*len(row) {
			return nil, damaged("weights are missing in a message")
		}
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		b = b[4*len(row):]
	}
	return b, nil
}

// newPoint is a point to be filled.
func newPoint(p *Params, classes int, s shape) *lr.Point {
	pt := &lr.Point{Kind: p.Kind, Classes: classes, B: make([]float64, s.scores), W: make([][]float32, s.scores)}
	for k := range pt.W {
		pt.W[k] = make([]float32, s.cols)
	}
	return pt
}

// evaluation is a decoded message of an evaluating round, but for the points themselves.
type evaluation struct {
	scales *lr.Scales
	points []byte
}

func decodeEvaluation(msg []byte) (*evaluation, error) {
	part, rest, err := section(msg[1:])
	if err != nil {
		return nil, err
	}
	var s lr.Scales
	if err := gob.NewDecoder(bytes.NewReader(part)).Decode(&s); err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	return &evaluation{scales: &s, points: rest}, nil
}

// encodeScales is the head of every evaluation of a training.
func encodeScales(s *lr.Scales) ([]byte, error) {
	var g bytes.Buffer
	if err := gob.NewEncoder(&g).Encode(s); err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	head := binary.LittleEndian.AppendUint64([]byte{roundEval}, uint64(g.Len()))
	return append(head, g.Bytes()...), nil
}

// final is the decoded final message: models without weights, and where those are.
type final struct {
	Value
	weights []byte
}

// encodeFinal makes the final message. It lets go of the models' weights on the way.
func encodeFinal(v Value) ([]byte, error) {
	head := v
	head.Models = make([]Trained, len(v.Models))
	size := 0
	for i, m := range v.Models {
		bare := *m.Model
		bare.Weights = nil
		m.Model = &bare
		head.Models[i] = m
		for _, w := range v.Models[i].Model.Weights {
			size += 4 * len(w)
		}
	}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	b := make([]byte, 0, 9+len(text)+size)
	b = binary.LittleEndian.AppendUint64(append(b, roundFinal), uint64(len(text)))
	b = append(b, text...)
	for i := range v.Models {
		b = appendWeights(b, v.Models[i].Model.Weights)
		v.Models[i].Model = nil
	}
	return b, nil
}

func decodeFinal(msg []byte) (*final, error) {
	if len(msg) == 0 || msg[0] != roundFinal {
		return nil, damaged("not a final message")
	}
	text, rest, err := section(msg[1:])
	if err != nil {
		return nil, err
	}
	f := &final{weights: rest}
	if err := json.Unmarshal(text, &f.Value); err != nil {
		return nil, errs.E("train", errs.Internal, "", err)
	}
	return f, nil
}

// next gives the next model its weights, into rows that are reused.
func (f *final) next(m *lr.Model, s shape, rows [][]float32) ([][]float32, error) {
	if len(m.Intercepts) != s.scores {
		return rows, damaged(fmt.Sprintf("a model has %d scores, want %d", len(m.Intercepts), s.scores))
	}
	for len(rows) < s.scores {
		rows = append(rows, nil)
	}
	rows = rows[:s.scores]
	for k := range rows {
		if cap(rows[k]) < s.cols {
			rows[k] = make([]float32, s.cols)
		}
		rows[k] = rows[k][:s.cols]
	}
	var err error
	f.weights, err = readWeights(rows, f.weights)
	m.Weights = rows
	return rows, err
}
