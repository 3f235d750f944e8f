package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// warned are the warnings of validate and explain, which say the same.
func warned(t *testing.T, j *conf.Job) (all, found string) {
	t.Helper()
	x, err := Explain(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	checks, err := Validate(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, c := range checks {
		if c.Warning {
			said = append(said, c.Detail)
		}
	}
	if all = strings.Join(x.Warnings, "\n"); all != strings.Join(said, "\n") {
		t.Errorf("explain warns:\n%s\nvalidate:\n%s", all, strings.Join(said, "\n"))
	}
	return all, x.Data.Found
}

// TestWarnsOfBadImages: what a sample shows is said, and a path in a table is no image yet.
func TestWarnsOfBadImages(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.Limits.MaxBadFraction = 0.1
	picked := w.pick(t)
	save(t, w.table, w.photos(t, picked))
	w.job.Table.Key, w.job.Table.Label, w.job.Images.Column = "id", "label", "photo"
	if all, found := warned(t, w.job); all != "" || !strings.Contains(found, "rows name an image") {
		t.Errorf("of good images: %q, %q", all, found)
	}
	for i, p := range picked {
		name := filepath.Join(w.images, p.name)
		switch i % 5 {
		case 0, 1:
			save(t, name, []byte("no image"))
		case 2:
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, _ := warned(t, w.job)
	var tried, bad, share int64
	if _, err := fmt.Sscanf(all, "Of %d images that were looked at, %d cannot be used, which makes an estimated %d %%", &tried, &bad, &share); err != nil || bad < tried/2 || bad >= tried {
		t.Errorf("%q: %v", all, err)
	}
	if !strings.Contains(all, "unknown format: the first bytes are ") || !strings.HasSuffix(all, " The job will probably fail: limits.maxBadFraction is 0.1.") {
		t.Errorf("%q", all)
	}
	w.job.Limits.MaxBadFraction = 1
	for _, p := range picked {
		save(t, filepath.Join(w.images, p.name), nil)
	}
	if all, _ := warned(t, w.job); !strings.Contains(all, "empty") || strings.Contains(all, "fail") {
		t.Errorf("of empty ones: %q", all)
	}
	if x, err := Explain(t.Context(), w.job, Options{}); err != nil || x.Data.ImageBytes != 0 {
		t.Errorf("empty images have %d bytes, %v", x.Data.ImageBytes, err)
	}
}

// TestWarnsOfLargeFiles: files for which the memory is too tight are counted before anything runs, and the memory that is named is enough.
func TestWarnsOfLargeFiles(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	save(t, filepath.Join(w.images, "k00.png"), make([]byte, 10<<20))
	x, err := Explain(t.Context(), w.job, Options{})
	if err != nil || len(x.Warnings) > 0 {
		t.Fatalf("with enough memory: %q, %v", x.Warnings, err)
	}
	w.job.Plan.CPU, w.job.Plan.Batch = x.Plan.CPU, x.Plan.Batch
	w.job.Limits.Memory = conf.Bytes(x.Regions.Need() + 1<<20)
	all, _ := warned(t, w.job)
	m := regexp.MustCompile(`^1 image has more bytes than the \d+ that the memory limit leaves for a file, and would be set aside; the largest has 10485760\. With limits\.memory: (\d+)MiB none would\.$`).FindStringSubmatch(all)
	if m == nil {
		t.Fatalf("%q with %s", all, bytesize.AtLeast(int64(w.job.Limits.Memory)))
	}
	var mib int64
	if _, err := fmt.Sscan(m[1], &mib); err != nil {
		t.Fatal(err)
	}
	if w.job.Limits.Memory = conf.Bytes(mib << 20); mib<<20 <= x.Regions.Need() {
		t.Errorf("%d MiB are less than the plan needs", mib)
	}
	if all, _ := warned(t, w.job); all != "" {
		t.Errorf("with %d MiB: %q", mib, all)
	}
}

// TestBadRecordsHint: more bad records are advised where that may help, and more memory where that decides.
func TestBadRecordsHint(t *testing.T) {
	tight := mr.BadRecord{Cause: images.TooLarge, Error: "a.jpg: 9 bytes, the memory limit leaves 8 for a file"}
	for name, c := range map[string]struct {
		counters map[string]int64
		first    mr.BadRecord
		want     string
		unwanted string
	}{
		"some":              {map[string]int64{extract.Decodes: 40, "bad.truncated": 4}, mr.BadRecord{}, "maxBadFraction=0.08", "limits.memory"},
		"all":               {map[string]int64{extract.Decodes: 12, "bad." + image.ReasonUnknown: 12}, mr.BadRecord{}, "of 12 that were looked at 12 cannot be used", "--set"},
		"all gone":          {map[string]int64{"bad.missing": 12}, mr.BadRecord{}, "of 12 that were looked at 12 cannot be used", "--set"},
		"all of very few":   {map[string]int64{extract.Decodes: 2, "bad.truncated": 2}, mr.BadRecord{}, "maxBadFraction=0.04", "looked at"},
		"memory":            {map[string]int64{extract.Decodes: 40, "bad.too-large": 1}, tight, "raise limits.memory", "looked at"},
		"too large for all": {map[string]int64{"bad.too-large": 1}, mr.BadRecord{Cause: images.TooLarge, Error: "9 bytes, more than 8"}, "maxBadFraction", "limits.memory"},
	} {
		e := &BadRecordsError{Err: errors.New("too many"), Causes: map[string]int64{}, First: []mr.BadRecord{c.first}, Rows: 100}
		for counter, n := range c.counters {
			if cause, ok := strings.CutPrefix(counter, "bad."); ok {
				e.Causes[cause] = n
			}
		}
		e.Tried, e.Unusable = looked(c.counters)
		if hint := e.Hint(); !strings.Contains(hint, c.want) || strings.Contains(hint, c.unwanted) {
			t.Errorf("%s: %s", name, hint)
		}
	}
}
