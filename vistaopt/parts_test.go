package vistaopt

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var (
	refusedWords = regexp.MustCompile(`it needs ([\d.]+) (MiB|GiB), .* is available.* \(([^:]+): (.*)\); of those`)
	figure       = regexp.MustCompile(`([\d.]+) (MiB|GiB)`)
	aside        = regexp.MustCompile(`\(without [^)]*\)`)
)

// TestPartsAddUp: what a refusal lists is what the phase that decides holds, each with more than nothing, and the figures add up to what is needed.
func TestPartsAddUp(t *testing.T) {
	phases := map[string]int{}
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		for _, memory := range []int64{50, 400} {
			m := j.m
			m.Memory = memory * mib
			_, err := j.choose(m)
			var e *InfeasibleError
			if !errors.As(err, &e) {
				continue
			}
			sum := int64(0)
			for _, p := range e.Regions.parts(e.Regions.largest(), 1) {
				if sum += p.bytes; p.bytes <= 0 {
					t.Errorf("job %d, %s: %s %d", n, j, p.name, p.bytes)
				}
			}
			if sum != e.Needed {
				t.Errorf("job %d, %s: parts add up to %d of %d: %+v", n, j, sum, e.Needed, e.Regions)
			}
			says := refusedWords.FindStringSubmatch(e.Error())
			if says == nil {
				t.Fatalf("job %d, %s: %v", n, j, e)
			}
			phases[says[3]]++
			left, _ := strconv.Atoi(strings.Replace(says[1], ".", "", 1)) // tenths of GiB
			for _, f := range figure.FindAllStringSubmatch(aside.ReplaceAllString(says[4], ""), -1) {
				part, _ := strconv.Atoi(strings.Replace(f[1], ".", "", 1))
				if left -= part; f[2] != says[2] {
					t.Errorf("job %d, %s: two units in %v", n, j, e)
				}
			}
			if left != 0 {
				t.Errorf("job %d, %s: %d are left over in %v", n, j, left, e)
			}
		}
	})
	if len(phases) < 3 {
		t.Errorf("phases that decide: %v", phases)
	}
}

// TestOneUnit: the parts of what is said in GiB are said in GiB, and add up to it.
func TestOneUnit(t *testing.T) {
	r := Regions{Base: 62 * mib, Rows: 400 * mib, Model: 1200 * mib, Mapped: 300 * mib, Inference: 11 << 30}
	e := &InfeasibleError{Plan: plan.Plan{CPU: 2, Batch: 6}, Regions: r, Needed: r.Need(), Available: 9 << 30}
	const want = "it needs 12.4 GiB, 9216 MiB is available (inference: program 0.1 GiB, rows 0.4 GiB, weights 0.8 GiB (without 0.3 GiB that may be dropped), 12 images in flight 11.1 GiB)"
	if got := e.Error(); !strings.Contains(got, want) {
		t.Error(got)
	}
	r.Inference = 1100 * mib
	r.Mapped = 1100 * mib
	if got := (&InfeasibleError{Regions: r, Needed: r.Need()}).Error(); !strings.Contains(got, "(without 1100 MiB that may be dropped)") || strings.Contains(got, "GiB") {
		t.Error(got)
	}
}

// TestPartsOfEachPhase: each phase that can decide names what it holds and nothing else.
func TestPartsOfEachPhase(t *testing.T) {
	const always = "program 62 MiB, rows 10 MiB, "
	r := Regions{Base: 62 * mib, Rows: 10 * mib, Model: 200 * mib, Mapped: 50 * mib, Inference: 100*mib + 1, Decode: 48 * mib, Cache: 32 * mib, Train: 40 * mib}
	for name, c := range map[string]struct {
		change func(r *Regions)
		want   string
	}{
		"inference": {func(r *Regions) { r.Buffers, r.Sort = 20*mib, 8*mib }, "399 MiB, 9 MiB is available (inference: " + always +
			"weights 150 MiB (without 50 MiB that may be dropped), 12 images in flight 100 MiB, buffers 20 MiB, decoding 48 MiB, sorting 9 MiB); "},
		"nothing to drop":        {func(r *Regions) { r.Mapped = 0 }, "421 MiB, 9 MiB is available (inference: " + always + "weights 200 MiB, 12 images in flight 100 MiB, decoding 49 MiB); "},
		"making the model ready": {func(r *Regions) { r.Prepare = 500 * mib }, "572 MiB, 9 MiB is available (making the model ready: " + always + "weights as they are read and as they are computed with 500 MiB); "},
		"training":               {func(r *Regions) { r.Train = 500 * mib }, "604 MiB, 9 MiB is available (training: " + always + "cache 32 MiB, models 500 MiB); "},
		"evaluation":             {func(r *Regions) { r.Evaluate, r.Table = 500*mib, 1 }, "573 MiB, 9 MiB is available (evaluation: " + always + "predictions and models 501 MiB); "},
	} {
		r := r
		c.change(&r)
		e := &InfeasibleError{Plan: plan.Plan{CPU: 2, Batch: 6}, Regions: r, Needed: r.Need(), Available: 9 * mib}
		if name == "nothing to drop" {
			one := *e
			if one.Plan.CPU, one.Plan.Batch = 1, 1; !strings.Contains(one.Error(), ", an image in flight 100 MiB") {
				t.Errorf("of one image: %v", &one)
			}
		}
		if got := e.Error(); !strings.Contains(got, "it needs "+c.want) || !strings.HasPrefix(c.want, bytesize.AtLeast(r.Need())) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
