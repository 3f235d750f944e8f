package run

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/vistaopt"
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
