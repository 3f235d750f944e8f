package weights

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func floats(b []byte) []float64 {
	out := make([]float64, len(b)/4)
	for i := range out {
		out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
	return out
}

func moments(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		variance += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, variance
}

var sample = []Param{
	{Name: "conv.weight", Dims: []int64{64, 32, 3, 3}},
	{Name: "stem.weight", Dims: []int64{64, 3, 7, 7}, First: true},
	{Name: "fc.weight", Dims: []int64{100, 700}},
	{Name: "odd.weight", Dims: []int64{5, 3, 3, 1}},
	{Name: "bn.weight", Dims: []int64{500}, Kind: Gamma, Level: 0.5},
	{Name: "bn.bias", Dims: []int64{500}, Kind: Beta},
	{Name: "bn.running_var", Dims: []int64{500}, Kind: Variance, Level: 3},
}

// TestRandomBits pins the generator: the same bits on every machine and in every release, because seeds
// are written into results.
func TestRandomBits(t *testing.T) {
	h := sha256.New()
	got := Random(sample, 2019)
	for _, p := range sample {
		h.Write(got[p.Name])
	}
	const want = "5148a277293b5e09415f290466feb45c0f82f8039bfae2c5804f4f1cce5ba78d"
	if sum := hex.EncodeToString(h.Sum(nil)); sum != want {
		t.Errorf("random weights changed: %s, want %s", sum, want)
	}
}

func TestRandomProperties(t *testing.T) {
	all := Random(sample, 1)
	// Neither order nor company matters.
	for i := len(sample) - 1; i >= 0; i-- {
		alone := Random(sample[i:i+1], 1)
		if !bytes.Equal(alone[sample[i].Name], all[sample[i].Name]) {
			t.Errorf("%s depends on the other parameters", sample[i].Name)
		}
	}
	if bytes.Equal(Random(sample, 2)["conv.weight"], all["conv.weight"]) {
		t.Error("the seed does not matter")
	}
	w := floats(all["conv.weight"])
	fan := 32 * 9
	_, variance := moments(w)
	if want := 1 / (rectified * float64(fan)); math.Abs(variance/want-1) > 0.05 {
		t.Errorf("variance %g, want %g", variance, want)
	}
	for r := range 64 {
		if mean, _ := moments(w[r*fan : (r+1)*fan]); math.Abs(mean) > 1e-6 {
			t.Fatalf("filter %d has the mean %g", r, mean)
		}
	}
	if mean, _ := moments(floats(all["stem.weight"])[:147]); mean == 0 {
		t.Error("filters of the image are centred")
	}
	if mean, v := moments(floats(all["bn.running_var"])); math.Abs(mean-3) > 0.1 || v == 0 {
		t.Errorf("running variance: mean %g, variance %g", mean, v)
	}
	for _, x := range floats(all["bn.running_var"]) {
		if x < 2 {
			t.Fatalf("running variance %g", x)
		}
	}
}

func write(t testing.TB, names []string, tensors map[string]Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, names, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRead(t *testing.T) {
	data := write(t, []string{"b", "a", "scalar", "empty"}, map[string]Tensor{
		"a": {Type: "F32", Dims: []int64{2}, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}}, "b": {Type: "F16", Dims: []int64{1, 1}, Data: []byte{0, 0x3c}},
		"scalar": {Type: "I64", Data: make([]byte, 8)}, "empty": {Type: "F32", Dims: []int64{0, 3}}})
	if !isSafetensors(data) {
		t.Error("not recognised")
	}
	got, err := readSafetensors(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || !bytes.Equal(got["a"].Data, []byte{1, 2, 3, 4, 5, 6, 7, 8}) || got["b"].Type != "F16" || len(got["scalar"].Dims) != 0 {
		t.Errorf("%+v", got)
	}
	for i := range len(data) {
		if _, err := readSafetensors(data[:i]); err == nil {
			t.Errorf("%d of %d bytes were accepted", i, len(data))
		}
	}
}

func TestReadErrors(t *testing.T) {
	for name, header := range map[string]string{
		"type":        `{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}`,
		"outside":     `{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}`,
		"negative":    `{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`,
		"reversed":    `{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}`,
		"shape":       `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`,
		"minus":       `{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`,
		"overflow":    `{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}`,
		"overlap":     `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`,
		"twice":       `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`,
		"no object":   `[1]`,
		"not JSON":    `{"a":`,
		"odd entry":   `{"a":7}`,
		"no offsets":  `{"a":{"dtype":"F32","shape":[1]}}`,
		"deep":        `{"a":` + strings.Repeat("[", 20000),
		"metadata":    `{"__metadata__":{"a":{}}}`,
		"cut in half": `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]`,
	} {
		data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
		data = append(data, make([]byte, 8)...)
		_, err := readSafetensors(data)
		var e *Error
		if !errors.As(err, &e) || e.ErrorID() != "E-WEIGHTS" || e.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readSafetensors(binary.LittleEndian.AppendUint64(nil, math.MaxUint64)); err == nil {
		t.Error("a huge header was accepted")
	}
}

func TestMatch(t *testing.T) {
	p := []Param{{Name: "f32", Dims: []int64{1}}, {Name: "f16", Dims: []int64{6}}, {Name: "bf16", Dims: []int64{1}}, {Name: "f64", Dims: []int64{1}}}
	half16 := []uint16{0x3c00, 0xc000, 0x0001, 0x7c00, 0x8000, 0x3555}
	var b []byte
	for _, h := range half16 {
		b = binary.LittleEndian.AppendUint16(b, h)
	}
	file := map[string]Tensor{
		"f32": {Type: "F32", Dims: []int64{1}, Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5))}, "f16": {Type: "F16", Dims: []int64{6}, Data: b},
		"bf16": {Type: "BF16", Dims: []int64{1}, Data: []byte{0xc0, 0x3f}}, "f64": {Type: "F64", Dims: []int64{1}, Data: binary.LittleEndian.AppendUint64(nil, math.Float64bits(0.1))},
		"x.num_batches_tracked": {Type: "I64", Data: make([]byte, 8)}}
	got, err := Match(file, p, Named{})
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1, -2, 1.0 / (1 << 24), math.Inf(1), 0, 0.333251953125}
	for i, v := range floats(got["f16"]) {
		if v != want[i] {
			t.Errorf("half %#x: %v, want %v", half16[i], v, want[i])
		}
	}
	if floats(got["f32"])[0] != 1.5 || floats(got["bf16"])[0] != 1.5 || floats(got["f64"])[0] != float64(float32(0.1)) {
		t.Errorf("%v", got)
	}
	if &got["f32"][0] != &file["f32"].Data[0] {
		t.Error("float32 was copied")
	}
	file["f32"] = Tensor{Type: "I64", Dims: []int64{1}, Data: make([]byte, 8)}
	file["f16"] = Tensor{Type: "F16", Dims: []int64{3, 2}, Data: b}
	delete(file, "f64")
	file["more"] = Tensor{Type: "F32"}
	_, err = Match(file, p, Named{})
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 4 {
		t.Errorf("want four problems: %v", err)
	}
	for _, want := range []string{"f64 is missing", "f16 has the shape [3 2]", "I64", "more does not belong"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told: %v", want, err)
		}
	}
}

// FuzzRead: no bytes make the reader panic, and tensors that it returns fit their shapes.
func FuzzRead(f *testing.F) {
	f.Add(write(f, []string{"a", "b"}, map[string]Tensor{"a": {Type: "F32", Dims: []int64{2}, Data: make([]byte, 8)}, "b": {Type: "BF16", Dims: []int64{}, Data: make([]byte, 2)}}))
	for name := range tensorFiles(f) {
		f.Add(readFile(f, filepath.Join("safetensors", name)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readSafetensors(data)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
		var params []Param
		for name, x := range got {
			p := Param{Name: name, Dims: x.Dims}
			if p.Len()*widths[x.Type] != int64(len(x.Data)) {
				t.Fatalf("%s: %v with %d bytes", name, x.Dims, len(x.Data))
			}
			params = append(params, p)
		}
		if _, err := Match(got, params, Named{}); err != nil && !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
	})
}

func BenchmarkRandom(b *testing.B) {
	p := []Param{{Name: "w", Dims: []int64{4096, 4096}}}
	b.SetBytes(4 * p[0].Len())
	b.ReportAllocs()
	for b.Loop() {
		Random(p, 1)
	}
}

// What often lies in the place of a weights file is called by its name.
func TestStrayFiles(t *testing.T) {
	for data, want := range map[string]string{"": "it is empty", "version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer", "\n<!DOCTYPE html>": "HTML page", "abc": "it begins with"} {
		if _, err := Read([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
}
