package run

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestCalibrationFile: what is kept lies under a name of its own, which says what it is, and is found there.
func TestCalibrationFile(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	c := measuredCalibration()
	if err := c.keep(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(calibrationFile(c.Network))
	if digest, ok := strings.CutSuffix(name, ".json"); !ok || len(digest) != 32 || calibrationFile("other") == calibrationFile(c.Network) {
		t.Errorf("it lies under %q", name)
	}
	files, err := os.ReadDir(filepath.Join(cacheDir(), "rates"))
	if err != nil || len(files) != 1 || files[0].Name() != name {
		t.Errorf("there are %v, %v", files, err)
	}
	if got := kepts(c.Network); got == nil || got.MACs != c.MACs || got.Flight != c.Flight || !got.rates().Measured {
		t.Errorf("%+v is found", got)
	}
}

// TestTrialsHaveTheirRoom: a network is tried with no more images than its job is going to have in flight and in no more memory of the
// runtime, and in a tracker's driver with what the tracker keeps back.
func TestTrialsHaveTheirRoom(t *testing.T) {
	const mib = 1 << 20
	n := &vistaopt.Network{WeightBytes: 200 * mib, ImageBytes: 100 * mib}
	choice := func(cpu, batch int) *vistaopt.Choice {
		return &vistaopt.Choice{Plan: plan.Plan{CPU: cpu, Batch: batch}, Memory: 4096 * mib, Regions: vistaopt.Regions{Base: 62 * mib, Prepare: 250 * mib},
			Room: vistaopt.Room{Arena: 232*mib + int64(cpu*batch)*125*mib}}
	}
	for name, c := range map[string]struct {
		limit   conf.Bytes
		choice  *vistaopt.Choice
		tracker int64
		want    trial
	}{
		"one image":               {1024 * mib, choice(1, 1), 0, trial{1, 357 * mib}},
		"several":                 {1024 * mib, choice(2, 3), 0, trial{6, 982 * mib}},
		"without a limit":         {0, choice(1, 1), 0, trial{1, 1892 * mib}}, // half of what no plan needs
		"beside a large tracker":  {1024 * mib, choice(2, 3), 16384 * mib, trial{6, 982 * mib}},
		"beside a smaller one":    {1024 * mib, choice(2, 3), 2048 * mib, trial{2, 450 * mib}},
		"beside a still smaller":  {1024 * mib, choice(2, 3), 1536 * mib, trial{1, 322 * mib}},
		"beside one that has few": {1024 * mib, choice(2, 3), 1024 * mib, trial{}},
	} {
		j := conf.Defaults()
		j.Limits.Memory = c.limit
		if got := trialRoom(j, c.choice, vistaopt.Machine{Tracker: vistaopt.Tracker{Memory: c.tracker}}, n); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestOneImageTellsARate: where no call had several images, what reading the weights takes is a guess, and never most of it.
func TestOneImageTellsARate(t *testing.T) {
	for name, c := range map[string]struct {
		macs, weights int64
		one           float64
		want          float64 // of arithmetic, in seconds
	}{
		"convolutions":         {4e9, 100e6, 0.08, 0.08 - 100e6/vistaopt.DefaultRates().Weights},
		"mostly weights":       {1e6, 500e6, 0.025, 0.0025},
		"weights that are few": {1e9, 1, 0.02, 0.02},
	} {
		k := &calibration{Network: "net", One: c.one, Many: c.one, Batch: 1, When: time.Now()}
		k.solve(vistaopt.Network{Layers: []vistaopt.Layer{{MACs: c.macs, Weights: c.weights}}})
		if got := float64(c.macs) / k.MACs; math.Abs(got-c.want) > 1e-6 || !k.sane() {
			t.Errorf("%s: %g s of arithmetic, want %g: %+v", name, got, c.want, k)
		}
	}
}

func measuredCalibration() *calibration {
	return &calibration{Network: "net", MACs: 50e9, Weights: 10e9, One: 0.03, Many: 0.02, Batch: 6, Flight: 3 << 20, When: time.Now()}
}

// TestInsaneCalibrations: a file whose figures nothing can have measured is none. What passes makes no estimate infinite, at the
// ends of what is sane either.
func TestInsaneCalibrations(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	write := func(change map[string]any) *calibration {
		t.Helper()
		c := measuredCalibration()
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]any{}
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		for k, v := range change {
			all[k] = v
		}
		if b, err = json.Marshal(all); err != nil {
			t.Fatal(err)
		}
		if err := c.keep(); err != nil {
			t.Fatal(err)
		}
		save(t, calibrationFile(c.Network), b)
		return kepts(c.Network)
	}
	for _, change := range []map[string]any{
		{"macs": 1e-300}, {"macs": 0}, {"macs": -5e9}, {"macs": 1e300}, {"weights": 1e-300}, {"weights": -1}, {"weights": 1e18}, {"many": 0}, {"many": -0.1}, {"many": 1e-300}, {"many": 1e9},
		{"one": -1}, {"one": 1e9}, {"batch": 0}, {"batch": -6}, {"batch": 1 << 40}, {"flight": -1}, {"flight": int64(9e18)}, {"network": "another"}, {"when": time.Now().Add(25 * time.Hour)}, {"when": "9999-12-31T23:59:59Z"},
	} {
		if got := write(change); got != nil {
			t.Errorf("%v is believed: %+v", change, got)
		}
	}
	for _, change := range []map[string]any{
		nil, {"one": 0}, {"flight": 0}, {"when": time.Now().Add(23 * time.Hour)}, {"when": "2020-01-02T03:04:05Z"}, {"macs": leastRate, "weights": leastRate, "many": mostCall, "batch": mostBatch, "flight": mostFlight}, {"macs": mostRate, "weights": mostRate, "many": leastCall, "batch": 1},
	} {
		got := write(change)
		if got == nil {
			t.Errorf("%v is not believed", change)
			continue
		}
		r := got.rates()
		for _, v := range []float64{15e9 * 1e6 / r.MACs, 600e6 * 1e6 / r.Weights, 1 / got.Many, vistaopt.DefaultRates().MACs / r.MACs} {
			if math.IsInf(v, 0) || v <= 0 || v > 1e13 {
				t.Errorf("%v gives %v", change, v)
			}
		}
	}
}
