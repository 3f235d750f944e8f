package main

import (
	"fmt"
	"testing"
)

// TestEdge: the least limit is one below which a refusal asks for just that.
func TestEdge(t *testing.T) {
	refuses := func(need int) string {
		return fmt.Sprintf("the plan does not fit: it needs %d MiB, too much", need)
	}
	const accepts = "Memory    needs 150 MiB of 299 MiB"
	for name, c := range map[string]struct {
		explain func(limit int) string
		least   int
		ok      bool
	}{
		"one number": {func(limit int) string {
			if limit < 303 {
				return refuses(303)
			}
			return accepts
		}, 303, true},
		"plans that small memory rules out": {func(limit int) string {
			switch {
			case limit < 100:
				return refuses(400)
			case limit < 320:
				return refuses(320)
			}
			return accepts
		}, 320, true},
		"less would do": {func(limit int) string {
			if limit < 200 {
				return refuses(300)
			}
			return accepts
		}, 0, false},
		"more is asked for than is needed": {func(limit int) string { return refuses(303 + limit) }, 0, false},
		"no refusal":                       {func(int) string { return accepts }, 0, false},
	} {
		least, err := edge(func(limit int) (string, error) { return c.explain(limit), nil })
		if least != c.least || (err == nil) != c.ok {
			t.Errorf("%s: %d, %v", name, least, err)
		}
	}
}

// TestCellsOfSeveralNetworks: a job file names each of them.
func TestCellsOfSeveralNetworks(t *testing.T) {
	for _, n := range networks() {
		want := map[string]string{"alexnet": "{model: alexnet, weights: random, layers: 4}",
			"alexnet+resnet50": "[{model: alexnet, weights: random, layers: 2}, {model: resnet50, weights: random, layers: 2}]"}[n.model]
		if got := n.cnn(); want != "" && got != want {
			t.Errorf("%s: %s", n.model, got)
		}
	}
}
