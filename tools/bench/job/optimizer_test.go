package main

import (
	"strings"
	"testing"
)

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

// TestSmallGridIsJudged by memory, bytes and killed processes, and by no time.
func TestSmallGridIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		peak, bytes float64
		kills       int
		says        []string
	}{
		"within":        {0.149, 0.099, 0, nil},
		"much memory":   {0.16, 0, 0, []string{"peak memory is off by 16 %"}},
		"many bytes":    {0, 0.11, 0, []string{"bytes written is off by 11 %"}},
		"killed":        {0, 0, 1, []string{"1 processes were killed"}},
		"all of it":     {0.5, 0.5, 2, []string{"peak memory", "bytes written", "killed"}},
		"as much again": {1, 0, 0, []string{"off by 100 %"}},
	} {
		o := &grid{bench: &bench{small: true}, kills: c.kills, times: []float64{0, 9}, peaks: []float64{0, c.peak, 0}, bytes: []float64{c.bytes, 0}}
		err := o.beyond()
		if (err == nil) != (c.says == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, says := range c.says {
			if err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		o.small = false
		if err := o.beyond(); err != nil {
			t.Errorf("%s: the whole grid fails: %v", name, err)
		}
	}
}
