package run

import (
	"bytes"
	stdimage "image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// ordinaryRoom is that of pictures where nobody limits memory.
const ordinaryRoom = 720 << 20

// TestSampleHasItsRoom: a picture whose decoding takes more than there is, is not decoded. The job would set it aside.
func TestSampleHasItsRoom(t *testing.T) {
	w := newWorld(t, false)
	n := w.network(t)[0]
	all := w.pick(t)
	for i, p := range all {
		if i >= 30 && i < 33 { // three are enough
			continue
		}
		if err := os.Remove(filepath.Join(w.images, p.name)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, stdimage.NewRGBA64(stdimage.Rect(0, 0, 2300, 2200))); err != nil { // 53 MiB: eight bytes a pixel, and three
		t.Fatal(err)
	}
	save(t, filepath.Join(w.images, all[30].name), b.Bytes())
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		limit conf.Bytes
		of    vistaopt.Machine
		fits  bool
	}{
		"of a machine":          {0, vistaopt.Machine{Memory: 1 << 30}, true},
		"of the job's limit":    {160 << 20, vistaopt.Machine{Memory: 1 << 30}, false},
		"of a little more":      {190 << 20, vistaopt.Machine{Memory: 1 << 30}, true},
		"of a small worker":     {0, vistaopt.Machine{Memory: 160 << 20}, false},
		"of workers that say 0": {0, vistaopt.Machine{}, true},
		"of a small tracker":    {0, vistaopt.Machine{Memory: 1 << 30, Tracker: vistaopt.Tracker{Memory: 512 << 20}}, false},
		"of a large tracker":    {0, vistaopt.Machine{Memory: 1 << 30, Tracker: vistaopt.Tracker{Memory: 1 << 30}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w.job.Limits.Memory = c.limit
			s, err := takeSample(t.Context(), d, n, sampleRoom(w.job, c.of))
			if err != nil {
				t.Fatal(err)
			}
			if want := 2 + map[bool]int{true: 1}[c.fits]; s.decoded != want || s.decoding >= 11*2300*2200 != c.fits || s.bytes < int64(b.Len())/3 {
				t.Errorf("%d are decoded, want %d; %d bytes at most, files of %d", s.decoded, want, s.decoding, s.bytes)
			}
			if v, err := s.pictures(n); err != nil || len(v) != s.decoded*30*30*3 {
				t.Errorf("%d bytes of pictures, %v", len(v), err)
			}
		})
	}
}

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
	if _, err := speeds(t.Context(), d, ns, ordinaryRoom, o); err != nil || d.sample != nil || d.stats.ImageBytes != known || d.stats.Pixels != 0 {
		t.Errorf("of a folder: %+v, %v", d.stats, err)
	}
	all := w.pick(t)
	save(t, w.table, w.photos(t, all))
	w.job.Table.Key, w.job.Table.Label, w.job.Images.Column = "id", "label", "photo"
	if d, err = readInput(t.Context(), w.job, progress.Discard); err != nil {
		t.Fatal(err)
	}
	r, err := speeds(t.Context(), d, ns, ordinaryRoom, o)
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
	again, err := takeSample(t.Context(), d, ns[0], ordinaryRoom)
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
	if r, err = speeds(t.Context(), d, ns, ordinaryRoom, o); err != nil || d.stats.ImageBytes != 256<<10 || d.stats.Pixels != 0 || strings.Contains(r.Source, "images are decoded at") {
		t.Errorf("of none: %+v, %v; %s", d.stats, err, r.Source)
	}
}
