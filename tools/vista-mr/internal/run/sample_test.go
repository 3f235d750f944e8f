package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// TestSampleOfPathsInATable: where nobody has looked at the files, a few of them say how large they are, however few there are in all;
// where their sizes are known, few images are not worth it.
func TestSampleOfPathsInATable(t *testing.T) {
	w := newWorld(t, true)
	ns, o := w.network(t), &Options{}
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	known := d.stats.ImageBytes
	if _, err := speeds(t.Context(), d, ns, o); err != nil || d.sample != nil || d.stats.ImageBytes != known || d.stats.Pixels != 0 {
		t.Errorf("of a folder: %+v, %v", d.stats, err)
	}
	all := w.pick(t)
	save(t, w.table, w.photos(t, all))
	w.job.Table.Key, w.job.Table.Label, w.job.Images.Column = "id", "label", "photo"
	if d, err = readInput(t.Context(), w.job, progress.Discard); err != nil {
		t.Fatal(err)
	}
	r, err := speeds(t.Context(), d, ns, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.stats.ImageBytes; got < known*3/4 || got > known*5/4 {
		t.Errorf("images of %d bytes are expected, and have %d", got, known)
	}
	if got := d.stats.Pixels; got < 40*36 || got > 49*45 {
		t.Errorf("%d pixels are expected", got)
	}
	if d.stats.Decoding < 3*40*36/4 || len(d.sample.files) != d.sample.decoded || !strings.Contains(r.Source, "images are decoded at") {
		t.Errorf("%+v; %s", d.sample, r.Source)
	}
	again, err := takeSample(t.Context(), d, ns[0])
	if err != nil || again.bytes != d.sample.bytes || again.pixels != d.sample.pixels || again.decoding != d.sample.decoding {
		t.Errorf("the same images say %+v, and then %+v, %v", d.sample, again, err)
	}
	// Paths that name nothing: as if none had been taken.
	for _, p := range all {
		if err := os.Remove(filepath.Join(w.images, p.name)); err != nil {
			t.Fatal(err)
		}
	}
	d = together(d.table, d.images)
	if r, err = speeds(t.Context(), d, ns, o); err != nil || d.stats.ImageBytes != 256<<10 || d.stats.Pixels != 0 || strings.Contains(r.Source, "images are decoded at") {
		t.Errorf("of none: %+v, %v; %s", d.stats, err, r.Source)
	}
}
