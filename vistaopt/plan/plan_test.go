package plan

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestKnobs: every field of a plan is a knob by its name in JSON, has a value as text, and can be left open for itself.
func TestKnobs(t *testing.T) {
	full := Plan{Fused, AfterJoin, Broadcast, Snappy, 2, 16, 8, Together}
	of := reflect.TypeFor[Plan]()
	if of.NumField() != len(Knobs) {
		t.Errorf("%d fields, %d knobs", of.NumField(), len(Knobs))
	}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		open := full.Without(name)
		if !slices.Contains(Knobs, name) || full.Knob(name) == "" || open.Knob(name) != "" || !reflect.ValueOf(open).Field(i).IsZero() {
			t.Errorf("%s: %q, without it %+v", name, full.Knob(name), open)
		}
		for _, other := range Knobs {
			if other != name && open.Knob(other) != full.Knob(other) {
				t.Errorf("without %s %s is %q", name, other, open.Knob(other))
			}
		}
	}
}

func TestParseReadsWhatStringWrites(t *testing.T) {
	n := 0
	for _, i := range Inferences {
		for _, p := range Placements {
			for _, j := range Joins {
				for _, s := range Storages {
					want := Plan{Inference: i, Placement: p, Join: j, Storage: s, CPU: 2, Partitions: 16, Batch: 8}
					got, err := Parse(want.String())
					if err != nil || got != want {
						t.Errorf("Parse(%q) = %+v, %v", want, got, err)
					}
					n++
					for _, want.Networks = range []Networks{Together, Apart} {
						got, err := Parse(want.String())
						if legal := want.Networks == Apart || i == Fused; (err == nil) != legal || got != want {
							t.Errorf("Parse(%q) = %+v, %v", want, got, err)
						}
					}
				}
			}
		}
	}
	if n != 32 {
		t.Errorf("%d plans, want all 32", n)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"",
		"fused after-join broadcast snappy cpu=2 partitions=16",
		"fused after-join broadcast snappy cpu=2 partitions=16 batch=8 networks=",
		"fused after-join broadcast snappy cpu=2 partitions=16 batch=8 networks=side-by-side",
		"fused after-join broadcast snappy cpu=2 partitions=16 batch=8 together",
		"fuzed after-join broadcast snappy cpu=2 partitions=16 batch=8",
		"fused aside broadcast snappy cpu=2 partitions=16 batch=8",
		"fused after-join merge snappy cpu=2 partitions=16 batch=8",
		"fused after-join broadcast zip cpu=2 partitions=16 batch=8",
		"fused after-join broadcast snappy cpu=0 partitions=16 batch=8",
		"fused after-join broadcast snappy cpu=two partitions=16 batch=8",
		"fused after-join broadcast snappy partitions=16 cpu=2 batch=8",
	} {
		if p, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", s, p)
		}
	}
}
