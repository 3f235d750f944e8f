package ort

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	ort "github.com/yalue/onnxruntime_go"
)

// Dense is the type and the dimensions of a tensor. Elem is numbered as in ONNX files.
type Dense struct {
	Name string
	Elem int32
	Dims []int64
}

// The element types that an image may have, by their numbers in ONNX files.
const (
	elemFloat32 = 1
	elemUint8   = 2
	elemFloat16 = 10
	elemFloat64 = 11
)

// Measure runs the model in a file once on noise in its input and returns the types and dimensions of
// tensors that it has as outputs. Nothing is shared or cached.
func (r *Runtime) Measure(ctx context.Context, path string, in Dense, outputs []string) (_ []Dense, err error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	defer r.leave()
	defer trim()
	out := make([]Port, len(outputs))
	for i, name := range outputs {
		out[i].Name = name
	}
	const fix = "the model cannot be run: export it again, for a runtime of this version"
	s, err := r.session(path, false, Port{Name: in.Name}, out, nil)
	if err != nil {
		return nil, fail("open "+filepath.Base(path), idModel, fix, err)
	}
	defer func() { err = errors.Join(err, fail("close", idRun, "", s.Destroy())) }()
	value, err := noise(in)
	if err != nil {
		return nil, fail("measure", idRun, "", err)
	}
	defer func() { err = errors.Join(err, fail("close", idRun, "", value.Destroy())) }()
	values := make([]ort.Value, len(outputs))
	defer func() {
		for _, v := range values {
			if v != nil {
				err = errors.Join(err, fail("close", idRun, "", v.Destroy()))
			}
		}
	}()
	if err := r.once(ctx, s, []ort.Value{value}, values); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fail(fmt.Sprintf("run %s on %d images", filepath.Base(path), in.Dims[0]), idModel, fix, err)
	}
	found := make([]Dense, len(values))
	for i, v := range values {
		found[i] = Dense{Name: outputs[i]}
		if t, ok := v.(interface{ GetONNXType() ort.ONNXType }); ok && t.GetONNXType() == ort.ONNXTypeTensor {
			found[i].Elem, found[i].Dims = int32(v.DataType()), v.GetShape()
		}
	}
	return found, nil
}

// once runs a session until it is done or the context ends.
func (r *Runtime) once(ctx context.Context, s *ort.DynamicAdvancedSession, in, out []ort.Value) (err error) {
	o, err := ort.NewRunOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Destroy()) }()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = o.Terminate() // if it cannot be ended, it ends by itself
	})
	defer func() {
		if !stop() {
			<-ended // the options must outlive the call that terminates
		}
	}()
	return s.RunWithOptions(in, out, o)
}

// noise makes a tensor with values between 0 and 1, of bytes between 0 and 255, the same every time.
func noise(d Dense) (ort.Value, error) {
	n := ort.Shape(d.Dims).FlattenedSize()
	if n < 1 || n > 1<<31 {
		return nil, fmt.Errorf("tensor %q of shape %v", d.Name, d.Dims)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	switch d.Elem {
	case elemFloat32:
		v := make([]float32, n)
		for i := range v {
			v[i] = rnd.Float32()
		}
		return tensor(ort.Shape(d.Dims), v)
	case elemFloat64:
		v := make([]float64, n)
		for i := range v {
			v[i] = rnd.Float64()
		}
		return tensor(ort.Shape(d.Dims), v)
	case elemUint8:
		v := make([]byte, n)
		for i := range v {
			v[i] = byte(rnd.Uint32())
		}
		return tensor(ort.Shape(d.Dims), v)
	case elemFloat16:
		v := make([]byte, 2*n)
		for i := range n {
			v[2*i+1] = byte(0x30 + rnd.UintN(0x0c)) // from 0.125 up to 1
		}
		return ort.NewCustomDataTensor(ort.Shape(d.Dims), v, ort.TensorElementDataTypeFloat16)
	}
	return nil, fmt.Errorf("tensor %q of type %d", d.Name, d.Elem)
}
