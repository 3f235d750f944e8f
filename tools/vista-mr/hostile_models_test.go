//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// chain is a model of convolutions one behind the other over so many channels, whose weights nodes make of nothing.
func chain(nodes int, channels, size int64) []byte {
	g := &onnx.Graph{Name: "chain", Inputs: []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, size, size)...)}}
	fill := func(name string, from int64) {
		g.Initializers = append(g.Initializers, onnx.Ints(name+"s", channels, from, 3, 3))
		g.Nodes = append(g.Nodes, onnx.NewNode("ConstantOfShape", "", []string{name + "s"}, []string{name}))
	}
	fill("first", 3)
	fill("w", channels)
	in, w := "x", "first"
	for i := range nodes {
		out := fmt.Sprintf("c%d", i)
		g.Nodes = append(g.Nodes, onnx.NewNode("Conv", "", []string{in, w}, []string{out}, onnx.IntsAttr("pads", 1, 1, 1, 1)))
		in, w = out, "w"
	}
	g.Outputs = []*onnx.ValueInfo{onnx.NewValue(in, onnx.Float32)}
	return (&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}).Marshal()
}

// nested is a model whose graph holds a graph that holds a graph, and so on.
func nested(depth int) []byte {
	field := func(num byte, data []byte) []byte {
		return append(binary.AppendUvarint([]byte{num<<3 | 2}, uint64(len(data))), data...)
	}
	var g []byte
	for range depth {
		g = field(1, field(5, field(6, g)))
	}
	return field(7, g)
}

func modelTraps() []trap {
	weights := func(file string) []string {
		return []string{"cnn.model=efficientnet-lite0", "cnn.weights=" + file}
	}
	return []trap{
		{name: "onnx graphs in graphs", make: func(*testing.T) []byte { return nested(4000) }, file: "net.onnx", run: "validate", code: 3, want: "E-MODEL"},
		{name: "onnx of empty nodes", make: func(*testing.T) []byte {
			return append(binary.AppendUvarint([]byte{7<<3 | 2}, 64<<20), bytes.Repeat([]byte{0x0a, 0}, 32<<20)...)
		}, file: "net.onnx", run: "validate", code: 3, want: "E-MODEL"},
		{name: "onnx weight of 4 EiB", make: func(*testing.T) []byte {
			m := small()
			m.Graph.Initializers[0].Dims = []int64{1 << 30, 1 << 30}
			return m.Marshal()
		}, file: "net.onnx", run: "validate", code: 3, want: "E-MODEL"},
		{name: "onnx of 10,000 nodes", make: func(*testing.T) []byte { return chain(9_998, 1, 16) }, file: "net.onnx", run: "validate", code: 0, want: "layers c9997"},
		{name: "onnx of 20,000 nodes", make: func(*testing.T) []byte { return chain(20_000, 1, 16) }, file: "net.onnx", run: "validate", code: 3, want: "more than 10000 nodes"},
		{name: "onnx of 10^12 products", make: func(*testing.T) []byte { return chain(100, 300, 160) }, file: "net.onnx", run: "validate", code: 0, want: "too large to be tried"},
		{name: "onnx of long products", make: func(*testing.T) []byte { return chain(15, 330, 56) }, file: "net.onnx", run: "validate", code: 0, want: "layers c14"},
		{name: "safetensors header of 8 EiB", make: func(*testing.T) []byte {
			return append(binary.LittleEndian.AppendUint64(nil, 1<<63-1), `{"a":{}}`...)
		}, file: "w.safetensors", set: weights("w.safetensors"), run: "validate", code: 3, want: "E-WEIGHTS"},
		{name: "safetensors header of brackets", make: func(*testing.T) []byte {
			head := bytes.Repeat([]byte(`{"a":`), 6<<20)
			return append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...)
		}, file: "w.safetensors", set: weights("w.safetensors"), run: "validate", code: 3, want: "E-WEIGHTS"},
		{name: "pth zip bomb", make: zipBomb, file: "w.pth", set: weights("w.pth"), run: "validate", code: 3, want: "E-WEIGHTS"},
		{name: "pth pickle of memos", make: func(*testing.T) []byte {
			return []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02" + strings.Repeat("}q\x00", 8<<20) + ".\x80\x02].")
		}, file: "w.pth", set: weights("w.pth"), run: "validate", code: 3, want: "E-WEIGHTS"},
	}
}

// zipBomb is an archive as torch.save writes it, whose pickle unpacks to 256 MiB.
func zipBomb(t *testing.T) []byte {
	t.Helper()
	var packed bytes.Buffer
	f, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := f.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "archive/data.pkl", Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: 256 << 20})
	if err == nil {
		_, err = w.Write(packed.Bytes())
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
