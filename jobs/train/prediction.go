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

// A prediction's value in the channel: set and group (a byte each), class (uint32), then an answer for each target and
// setting in their order: class given (uint32) and, with two classes, the probabilities of the row's own class and of
// class 1, with more those of all classes (float64). In place of probabilities stand scores where the kind of model has
// none. All numbers are little-endian.
const headBytes = 6

// answerBytes is the length of an answer.
func answerBytes(classes int) int { return 4 + 8*max(classes, 2) }

func appendPrediction(dst []byte, class int32, set Set, group uint8) []byte {
	dst = append(dst, byte(set), group)
	return binary.LittleEndian.AppendUint32(dst, uint32(class))
}

func appendAnswer(dst []byte, prob []float64, class int32) []byte {
	given := 0
	for k, v := range prob {
		if v > prob[given] {
			given = k
		}
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(given))
	if len(prob) <= 2 {
		prob = []float64{prob[class], prob[len(prob)-1]}
	}
	for _, v := range prob {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// Prediction is a decoded row of the channel.
type Prediction struct {
	Set     Set
	Group   uint8 // the row's fold, or lr.HeldOut
	Class   int32
	classes int
	raw     []byte
}

// DecodePrediction reads a value of the channel; the slices stay part of it.
func DecodePrediction(value []byte, classes int) (Prediction, error) {
	if len(value) < headBytes || (len(value)-headBytes)%answerBytes(classes) != 0 {
		return Prediction{}, fmt.Errorf("a prediction of %d bytes is damaged", len(value))
	}
	p := Prediction{Set: Set(value[0]), Group: value[1], Class: int32(binary.LittleEndian.Uint32(value[2:])), classes: classes, raw: value[headBytes:]}
	if p.Set > Train || p.Class < 0 || int(p.Class) >= classes {
		return Prediction{}, fmt.Errorf("a prediction of class %d in set %d is damaged", p.Class, p.Set)
	}
	return p, nil
}

// Len is the number of answers: one for each target and setting.
func (p Prediction) Len() int { return len(p.raw) / answerBytes(p.classes) }

// Answer is the class given in answer i, the probability of the row's own class, and what AUC needs appended to prob:
// with two classes the probability of class 1, with more those of all. They are scores where the kind of model has no
// probabilities.
func (p Prediction) Answer(i int, prob []float64) (class int32, own float64, all []float64) {
	b := p.raw[i*answerBytes(p.classes):][:answerBytes(p.classes)]
	class, b = int32(binary.LittleEndian.Uint32(b)), b[4:]
	at := func(k int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[8*k:])) }
	if p.classes <= 2 {
		return class, at(0), append(prob, at(1))
	}
	for k := range p.classes {
		prob = append(prob, at(k))
	}
	return class, at(int(p.Class)), prob
}
