package run

import (
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/lr"
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

// named is an error that says what it is about.
type named interface {
	error
	Input() string
}

// What training calls by a number, or not at all, gets the name that it has in the job's table.
func TestInTable(t *testing.T) {
	j := &conf.Job{Table: conf.Table{URI: "t.csv"}}
	one, reach := &lr.OneClassError{}, &lr.RangeError{Column: 1}
	layer := &lr.RangeError{Column: 2, Layer: "fc6"}
	for err, want := range map[named]string{one: "t.csv", reach: "y", layer: "fc6"} {
		if _ = inTable(j, []string{"x", "y"}, fmt.Errorf("loop: %w", err)); err.Input() != want {
			t.Errorf("%v: input %q, want %q", err, err.Input(), want)
		}
	}
}
