package run

import (
	"testing"

	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// compareForesight sees to it that what is said before a run is what the run then finds, but for images that cannot be
// decoded.
func (w *world) compareForesight(t *testing.T, found map[string]int64) {
	t.Helper()
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	j := *w.job
	j.Limits.MaxBadFraction = 1
	f, err := foresee(t.Context(), &j, d)
	if err != nil {
		t.Fatal(err)
	}
	decoded := map[string]bool{image.ReasonTruncated: true, image.ReasonUnknown: true}
	for name, n := range found {
		if cause := name[len("bad."):]; !decoded[cause] && f.causes[cause] != n {
			t.Errorf("%s: %d were foreseen, %d were found", cause, f.causes[cause], n)
		}
	}
	for cause, n := range f.causes {
		if n > 0 && found["bad."+cause] == 0 {
			t.Errorf("%s: %d were foreseen, none was found", cause, n)
		}
	}
}
