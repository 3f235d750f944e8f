package run

import (
	"fmt"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// warnings say what a job's images make likely, in sentences: none of it is certain before all images are read. m is the machine before
// the job's limits.
func warnings(j *conf.Job, d *data, ns networks, c *vistaopt.Choice, follows bool, m vistaopt.Machine) (out []string) {
	if w := d.sample.warning(j, d.stats.Images); w != "" {
		out = append(out, w)
	}
	if d.images == nil {
		return out
	}
	n, largest := d.images.Larger(c.Room.File, images.MaxImage)
	if n == 0 {
		return out
	}
	w := fmt.Sprintf("%s %s more bytes than the %d that the memory limit leaves for a file, and would be set aside; the largest has %d.",
		results.Several(n, "image"), plural(n, "has", "have"), c.Room.File, largest)
	if !follows { // a run that is taken up keeps its plan
		w += withMore(j, d, ns, m, largest)
	}
	return append(out, w)
}

// withMore names a memory with which a plan takes files of so many bytes; "" where none was found.
func withMore(j *conf.Job, d *data, ns networks, m vistaopt.Machine, size int64) string {
	const step, most = 16 << 20, 1 << 40
	there := m.Memory
	m = limited(j, m)
	sizes, t, low := ns.sizes(), training(j, d, ns), m.Memory
	m.Least = ""
	takes := func(memory int64) bool {
		m.Memory = memory
		c, err := vistaopt.Choose(wanted(j), sizes, d.stats, t, m)
		return err == nil && c.Room.File >= size
	}
	low = max(low, step) // workers may not say what they have
	high := low
	for !takes(high) {
		if low, high = high, 2*high; high > most {
			return ""
		}
	}
	for high-low > step {
		if middle := low + (high-low)/2; takes(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	high = (high + step - 1) / step * step
	switch {
	case !takes(high): // another plan, in more memory
		return ""
	case high <= there:
		return fmt.Sprintf(" With limits.memory: %s none would.", bytesize.Flag(high))
	}
	return fmt.Sprintf(" With %s of memory in each worker none would.", bytesize.AtLeast(high))
}

// warning says how many images of a sample cannot be used, and what that makes likely of all; "" where all can.
func (s *sample) warning(j *conf.Job, all int64) string {
	if s == nil || s.bad == 0 {
		return ""
	}
	tried, limit := int64(s.decoded)+s.bad, j.Limits.MaxBadFraction
	share := float64(s.bad) / float64(tried)
	out := fmt.Sprintf("Of %s that were looked at, %s cannot be used, which makes an estimated %.0f %% of %s; the first: %s.", results.Several(tried, "image"),
		results.Count(s.bad), 100*share, results.Count(all), results.Visible(s.first))
	if share > limit && limit < 1 {
		out += fmt.Sprintf(" The job will probably fail: limits.maxBadFraction is %g.", limit)
	}
	return out
}

// spoilt notes an image that cannot be used: a damaged one is a matter of the job.
func (s *sample) spoilt(why string) {
	if s.bad++; s.bad == 1 {
		s.first = why
	}
}

// imageBytes is what an image has on average, for people: plans count a byte of files that are empty.
func (d *data) imageBytes() int64 {
	if d.sample != nil && d.sample.empty {
		return 0
	}
	return d.stats.ImageBytes
}
