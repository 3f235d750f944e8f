package run

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// What a job has measured of its network is kept for the next one, and only a quicker one takes its place.
func TestJobsTeachSpeeds(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	l := &lesson{"net", vistaopt.Network{Layers: []vistaopt.Layer{{Name: "low", MACs: 1e9, Weights: 1e6}, {Name: "top", MACs: 2e9, Weights: 10e6}}}, vistaopt.Rates{MACs: 20e9, Weights: 1e9}, 0}
	p := plan.Plan{Inference: plan.Fused, Batch: 5}
	// 100 images in 20 calls are expected to take 100*0.1 + 20*0.01 s.
	ran := func(phase mr.PhaseID, images int64, seconds float64) phases {
		return phases{phase: {Phase: phase, Tasks: []mr.Manifest{{Counters: map[string]int64{"cnn.images": images, "time.cnn.us": int64(seconds * 1e6)}}}}}
	}
	for i, c := range []struct {
		inference plan.Inference
		ph        phases
		core      float64
		kept      bool
		macs      float64
	}{
		{plan.Fused, ran("extract", 10, 2), 0, false, 0}, // too few
		{plan.Fused, ran("extract", 100, 20.4), 0, true, 10e9},
		{plan.Fused, ran("extract", 100, 20.4), 0, false, 10e9},
		{plan.Fused, ran("extract", 100, 40.8), 0, false, 10e9},
		{plan.Staged, ran("stage-top", 100, 1), 0, false, 10e9},
		{plan.Lazy, ran("extract-low", 100, 1), 0, false, 10e9},
		{plan.Lazy, ran("extract-top", 100, 10.2), 0, true, 20e9},
		{plan.Fused, ran("extract", 100, 40.8), 5.1, true, 40e9}, // calls waited for others' work
	} {
		p.Inference = c.inference
		got, err := l.learn(p, c.ph, func(mr.PhaseID) float64 { return c.core }, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if (got != nil) != c.kept {
			t.Errorf("%d: kept %+v", i, got)
		}
		if k := kepts("net"); c.macs > 0 && (k == nil || k.MACs < 0.999*c.macs || k.MACs > 1.001*c.macs || !k.Job) {
			t.Errorf("%d: there is %+v, want %g", i, k, c.macs)
		}
		if k := kepts("net"); k != nil { // the next job is planned with it
			l.rates = k.rates()
		}
	}
	if _, err := (*lesson)(nil).learn(p, nil, nil, time.Now()); err != nil {
		t.Error(err)
	}
}

// TestQuickestTeaches: a job that was planned before another one had measured the network is compared with what that one has kept.
func TestQuickestTeaches(t *testing.T) {
	p := plan.Plan{Inference: plan.Fused, Batch: 5}
	for name, c := range map[string]struct {
		planned, took float64 // multiply-accumulates a second, seconds
		core          float64 // seconds of processor time; 0: not known
		want          float64
	}{
		"slower than what is kept":        {5e9, 25.5, 0, 20e9},
		"slower, and kept waiting":        {5e9, 25.5, 12, 20e9},
		"twice as slow by processor time": {5e9, 25.5, 25.5, 8e9},
		"as quick":                        {5e9, 10.2, 0, 20e9},
		"quicker":                         {5e9, 5.1, 0, 40e9},
		"quicker than what is kept, slower than it was planned as": {80e9, 5.1, 0, 40e9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VISTA_MR_CACHE", t.TempDir())
			l := &lesson{"net", vistaopt.Network{Layers: []vistaopt.Layer{{Name: "top", MACs: 2e9, Weights: 10e6}}}, vistaopt.Rates{MACs: c.planned, Weights: c.planned / 20}, 0}
			was := &calibration{Network: "net", MACs: 20e9, Weights: 1e9, Many: 0.1, Batch: 5, When: time.Now()}
			if err := was.keep(); err != nil {
				t.Fatal(err)
			}
			ph := phases{"extract": {Phase: "extract", Tasks: []mr.Manifest{{Counters: map[string]int64{"cnn.images": 100, "time.cnn.us": int64(c.took * 1e6)}}}}}
			if _, err := l.learn(p, ph, func(mr.PhaseID) float64 { return c.core }, time.Now()); err != nil {
				t.Fatal(err)
			}
			if k := kepts("net"); k == nil || k.MACs < 0.999*c.want || k.MACs > 1.001*c.want {
				t.Errorf("%+v is kept, want %g", k, c.want)
			}
		})
	}
}

// How soon a job's first phase came is kept beside its network's speed, and only a quicker one takes its place.
func TestJobsTeachStarts(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	l := &lesson{"net", vistaopt.Network{}, vistaopt.Rates{Job: 0.2, Load: 1e9}, 0}
	started := func(took float64) {
		t.Helper()
		// A gigabyte is expected to take a second.
		if err := l.started(took, &vistaopt.Estimate{Phases: []vistaopt.PhaseEstimate{{Name: vistaopt.StartPhase, Seconds: 1.2}}}); err != nil {
			t.Fatal(err)
		}
	}
	if started(0.7); kepts("net") != nil {
		t.Error("a start is kept of a network whose speed is not known")
	}
	c := &calibration{Network: "net", MACs: 1e9, Weights: 1e9, Many: 1, Batch: 6}
	if err := c.keep(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		took  float64
		tried time.Duration
		want  float64
	}{{0.7, 0, 2e9}, {2.2, 0, 2e9}, {0.1, 0, 2e9}, {0.45, 0, 4e9}, {1.4, time.Second, 5e9}, {1.1, time.Second, 5e9}} {
		l.tried = s.tried
		started(s.took)
		if got := kepts("net"); got == nil || got.rates().Load < 0.999*s.want || got.rates().Load > 1.001*s.want {
			t.Errorf("behind a start of %v s %+v is kept, want %v", s.took, got, s.want)
		}
	}
}

// TestRunsTakenUpTeachNothing: of the images that a run has had which was taken up, it does not know the processor time.
func TestRunsTakenUpTeachNothing(t *testing.T) {
	alone(t)
	for name, c := range map[string]struct {
		stop func(progress.Update) bool
		want int
	}{
		"at once":           {nil, 1},
		"in the CNN's work": {func(u progress.Update) bool { return u.Stage == "extract" && u.Done > 0 }, 0},
		"behind it":         {func(u progress.Update) bool { return u.Stage == "extract" && u.End }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VISTA_MR_CACHE", t.TempDir())
			w := newWorld(t, true)
			w.ownNetwork(t)
			if c.stop != nil {
				ctx, sink := stopAt(t, c.stop)
				if _, err := Submit(ctx, w.job, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
					t.Fatalf("stopped: %v", err)
				}
			}
			if _, err := Submit(t.Context(), w.job, Options{Resume: c.stop != nil}); err != nil {
				t.Fatal(err)
			}
			kept, err := filepath.Glob(filepath.Join(cacheDir(), "rates", "*.json"))
			if err != nil || len(kept) != c.want {
				t.Errorf("%d speeds are kept, want %d; %v", len(kept), c.want, err)
			}
		})
	}
}
