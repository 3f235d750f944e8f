package run

import (
	"math"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
)

func compareReports(t *testing.T, want, got *evaluate.Report) {
	t.Helper()
	if got.Train != want.Train || got.Test != want.Test || !slices.Equal(got.Classes, want.Classes) {
		t.Errorf("trained on %d, tested on %d of %v; want %d, %d of %v", got.Train, got.Test, got.Classes, want.Train, want.Test, want.Classes)
	}
	for i := range want.Targets {
		a, b := &want.Targets[i], &got.Targets[i]
		if a.Name != b.Name || math.Abs(a.Metrics["log-loss"].Value-b.Metrics["log-loss"].Value) > 1e-3 {
			t.Errorf("target %q has log-loss %v, target %q of the first plan %v", b.Name, b.Metrics["log-loss"].Value, a.Name, a.Metrics["log-loss"].Value)
		}
	}
}
