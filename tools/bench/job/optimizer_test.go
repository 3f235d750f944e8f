package main

import "testing"

// TestFirstRunsDoNotCount where something is not as the cell before has left it.
func TestFirstRunsDoNotCount(t *testing.T) {
	of := func(model string, records, memory int, there bool) cell {
		return cell{network{model: model}, records, memory, there}
	}
	for name, c := range map[string]struct {
		before, cell cell
		cold         bool
	}{
		"the very first":          {cell{}, of("alexnet", 60, 0, false), true},
		"the same once more":      {of("alexnet", 60, 0, false), of("alexnet", 60, 0, false), false},
		"a limit":                 {of("alexnet", 60, 0, false), of("alexnet", 60, 340, false), false},
		"after a control group":   {of("alexnet", 60, 340, false), of("alexnet", 60, 310, false), true},
		"another network":         {of("alexnet", 60, 0, false), of("vgg16", 60, 0, false), true},
		"other files":             {of("alexnet", 60, 0, false), of("alexnet", 200, 0, false), true},
		"workers after a process": {of("alexnet", 60, 0, false), of("alexnet", 60, 0, true), true},
		"a process after workers": {of("alexnet", 60, 0, true), of("alexnet", 60, 0, false), true},
		"workers once more":       {of("alexnet", 60, 0, true), of("alexnet", 60, 0, true), false},
	} {
		if got := cold(c.before, c.cell); got != c.cold {
			t.Errorf("%s: %v, want %v", name, got, c.cold)
		}
	}
}
