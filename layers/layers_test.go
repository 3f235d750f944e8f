package layers

import (
	"context"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	for _, e := range Roster() {
		t.Logf("%+v", e)
	}
	for _, n := range names() {
		t0 := time.Now()
		c, err := Open(context.Background(), Source{Model: n, Weights: "random", Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(n, time.Since(t0), c.Digest, len(c.cuts), c.Input)
		for _, l := range c.Layers {
			t.Logf("%+v", l)
		}
	}
}
