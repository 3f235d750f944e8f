package vistaopt

import (
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// A record's volumes travel as one value: what could not is refused before anything runs.
func TestVolumesOfARecord(t *testing.T) {
	n := Network{WeightBytes: 1 << 20, ImageBytes: 1 << 20, RawBytes: 2 << 20, PooledBytes: 1 << 10, PixelBytes: 1 << 17}
	m := Machine{Cores: 2, Memory: 8 << 30}
	for _, c := range []struct {
		inference plan.Inference
		perRecord int64
		refused   bool
	}{{plan.Eager, 24, false}, {plan.Eager, 25, true}, {plan.Staged, 64, true}, {plan.Fused, 64, false}, {plan.Lazy, 64, false}, {plan.Eager, 0, false}} {
		_, err := Choose(plan.Plan{Inference: c.inference}, []Network{n}, Stats{Rows: 1000, RowBytes: 100, Images: 1000, ImageBytes: 50_000, PerRecord: c.perRecord}, Training{Columns: []int{1, 2}, Settings: 1}, m)
		var refused *RecordError
		if errors.As(err, &refused) != c.refused || err != nil && !c.refused {
			t.Errorf("%s with %d images a record: %v", c.inference, c.perRecord, err)
		}
	}
}

// Pages that have to be unpacked are part of what a plan needs.
func TestPagesNeedMemory(t *testing.T) {
	n := Network{WeightBytes: 1 << 20, ImageBytes: 1 << 20, PixelBytes: 1 << 17}
	s := Stats{Rows: 1000, RowBytes: 100, Images: 1000, ImageBytes: 50_000}
	m := Machine{Cores: 2, Memory: 8 << 30}
	a, err := Choose(plan.Plan{}, []Network{n}, s, Training{Columns: []int{1, 2}, Settings: 1}, m)
	if err != nil {
		t.Fatal(err)
	}
	s.UnitBytes = 100 << 20
	b, err := Choose(plan.Plan{}, []Network{n}, s, Training{Columns: []int{1, 2}, Settings: 1}, m)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Regions.Buffers - a.Regions.Buffers; got != int64(b.Plan.CPU+1)*s.UnitBytes {
		t.Errorf("%d bytes more for pages of %d with %d attempts at once", got, s.UnitBytes, b.Plan.CPU)
	}
	m.Memory = 300 << 20
	var none *InfeasibleError
	if _, err := Choose(plan.Plan{}, []Network{n}, s, Training{Columns: []int{1, 2}, Settings: 1}, m); !errors.As(err, &none) {
		t.Errorf("in %d MiB: %v", m.Memory>>20, err)
	}
}
