package layers

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Whoever asks before weights are made sees what the network will be, and can say no.
func TestFits(t *testing.T) {
	var asked *CNN
	src := Source{Model: "alexnet", Weights: "random", Seed: 1, Fits: func(c *CNN) error { asked = c; return nil }}
	c, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	outline, err := Outline("alexnet")
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Options{cmpopts.IgnoreUnexported(Layer{})}
	for _, o := range []*CNN{asked, outline} {
		if d := cmp.Diff(c.Layers, o.Layers, same); d != "" {
			t.Errorf("layers with weights and without: %s", d)
		}
		if d := cmp.Diff(c.Input, o.Input); d != "" {
			t.Errorf("input: %s", d)
		}
	}
	no := errors.New("it does not fit")
	src.Fits = func(*CNN) error { return no }
	if _, err := Open(t.Context(), src); !errors.Is(err, no) {
		t.Errorf("got %v, want %v", err, no)
	}
	if _, err := Outline("alexnett"); err == nil {
		t.Error("a network that nobody knows has an outline")
	}
}
