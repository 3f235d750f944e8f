package train

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Set says what a row was to the models that answered for it.
type Set byte

// The sets.
const (
	Test   Set = 0 // held out
	Folded Set = 1 // answered for by the model of the folds that it is not in
	Train  Set = 2 // trained on by the model that answers
)

// answer is what one model says of one row.
type answer struct {
	class int32   // the class given
	own   float64 // probability of the row's own class; with a support vector classifier its score
	score float64 // probability or score of class 1
}

func newAnswer(prob []float64, class int32) answer {
	a := answer{own: prob[class]}
	for k, v := range prob {
		if v > prob[a.class] {
			a.class = int32(k)
		}
	}
	if len(prob) > 1 {
		a.score = prob[1]
	}
	return a
}

// A prediction's value in the channel: set and group (a byte each), class (uint32), then 20
// bytes for each target and setting in their order: class given (uint32), probability of the
// own class and of class 1 (float64), all little-endian.
const (
	headBytes   = 6
	answerBytes = 20
)

func appendPrediction(dst []byte, class int32, set Set, group uint8, answers []answer) []byte {
	dst = append(dst, byte(set), group)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(class))
	for _, a := range answers {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(a.class))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.own))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.score))
	}
	return dst
}

// Prediction is a decoded row of the channel.
type Prediction struct {
	Set   Set
	Group uint8 // the row's fold, or lr.HeldOut
	Class int32
	n     int
	raw   []byte
}

// DecodePrediction reads a value of the channel.
func DecodePrediction(value []byte) (Prediction, error) {
	if len(value) < headBytes || (len(value)-headBytes)%answerBytes != 0 {
		return Prediction{}, fmt.Errorf("a prediction of %d bytes is damaged", len(value))
	}
	return Prediction{Set: Set(value[0]), Group: value[1], Class: int32(binary.LittleEndian.Uint32(value[2:])),
		n: (len(value) - headBytes) / answerBytes, raw: value[headBytes:]}, nil
}

// Len is the number of answers: one for each target and setting.
func (p Prediction) Len() int { return p.n }

// Answer is the class given, the probability of the row's own class and that of class 1, which
// are scores where the kind of model has no probabilities.
func (p Prediction) Answer(i int) (class int32, own, score float64) {
	b := p.raw[i*answerBytes:]
	return int32(binary.LittleEndian.Uint32(b)), math.Float64frombits(binary.LittleEndian.Uint64(b[4:])),
		math.Float64frombits(binary.LittleEndian.Uint64(b[12:]))
}
