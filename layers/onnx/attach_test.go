package onnx

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// attachable is a model whose weights lie in the returned file.
func attachable(t *testing.T) (whole, outside *Model, data []byte) {
	t.Helper()
	whole = net(13, kernels, "Conv x,w -> a")
	for _, x := range whole.Graph.Initializers {
		for i := range x.Raw {
			x.Raw[i] = byte(i)
		}
	}
	var graph, weights bytes.Buffer
	if err := whole.WriteExternal(&graph, &weights, "w.bin", 64); err != nil {
		t.Fatal(err)
	}
	outside, err := Parse(graph.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return whole, outside, weights.Bytes()
}

func TestAttachedModelIsWrittenWhole(t *testing.T) {
	whole, outside, data := attachable(t)
	opened := 0
	a, err := outside.Attach(func(location string) (io.ReaderAt, int64, error) {
		if opened++; location != "w.bin" {
			t.Errorf("location %q", location)
		}
		return bytes.NewReader(data), int64(len(data)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if opened != 1 {
		t.Errorf("the file was opened %d times", opened)
	}
	if !outside.HasExternal() {
		t.Error("Attach changed its model")
	}
	want := whole.Marshal()
	for range 2 { // it can be written again
		var got bytes.Buffer
		if n, err := a.WriteTo(&got); err != nil || n != int64(got.Len()) {
			t.Fatalf("WriteTo = %d, %v for %d bytes", n, err, got.Len())
		}
		if !bytes.Equal(got.Bytes(), want) || a.Size() != int64(len(want)) {
			t.Fatalf("%d bytes (Size %d) differ from the %d of the whole model", got.Len(), a.Size(), len(want))
		}
	}
	var graph, weights bytes.Buffer
	if err := a.WriteExternal(&graph, &weights, "other.bin", 64); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(weights.Bytes(), data) {
		t.Error("the weights changed on the way")
	}
	back, err := Parse(graph.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := back.LoadExternal(func(string) ([]byte, error) { return weights.Bytes(), nil }); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Marshal(), want) {
		t.Error("the model changed on the way")
	}
}

func TestAttachRefusesWhatIsNotThere(t *testing.T) {
	gone := errors.New("gone")
	for name, open := range map[string]func([]byte) (io.ReaderAt, int64, error){
		"absent":    func([]byte) (io.ReaderAt, int64, error) { return nil, 0, gone },
		"too short": func(b []byte) (io.ReaderAt, int64, error) { return bytes.NewReader(b), int64(len(b)) - 1, nil },
	} {
		_, outside, data := attachable(t)
		if _, err := outside.Attach(func(string) (io.ReaderAt, int64, error) { return open(data) }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, outside, _ := attachable(t)
	for _, x := range outside.Graph.Initializers {
		if x.External != nil {
			x.External.Location = "../w.bin"
		}
	}
	if _, err := outside.Attach(func(string) (io.ReaderAt, int64, error) { t.Error("opened"); return nil, 0, gone }); err == nil {
		t.Error("a location outside was accepted")
	}
}

func TestAttachedModelNoticesThatItsFileShrank(t *testing.T) {
	_, outside, data := attachable(t)
	a, err := outside.Attach(func(string) (io.ReaderAt, int64, error) {
		return bytes.NewReader(data[:len(data)-1]), int64(len(data)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteTo(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected end", err)
	}
}
