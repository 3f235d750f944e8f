package cluster

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What drivers leave in the tracker's local folder: jobs/ID/job.yaml, as long as the job is not over, and jobs/ID/driver.log. Trackers of one
// user may share the folder, so that what tells an ended job is its own: it has no job.yaml.

const (
	jobFile = "job.yaml"
	// keptLogs is how many ended jobs keep their drivers' logs.
	keptLogs = 100
	// abandoned is after which time a job that is not over counts as one that no tracker will go on with here.
	abandoned = 30 * 24 * time.Hour
)

// over puts away what the drivers of a job that is over have left: all but its log, and the logs of all but the last ones.
func (d *drivers) over(id string) {
	dir := filepath.Dir(logName(d.scratch, id))
	d.tidy(dir, func() error {
		err := errors.Join(os.Remove(filepath.Join(dir, jobFile)), os.RemoveAll(filepath.Join(dir, "tmp")))
		if errors.Is(err, fs.ErrNotExist) { // it never had a driver here
			return nil
		}
		return err
	})
	d.sweep()
}

// sweep removes what ended jobs have left, but for the last logs.
func (d *drivers) sweep() {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	root := filepath.Join(d.scratch, "jobs")
	d.tidy(root, func() error {
		all, err := os.ReadDir(root)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		type left struct {
			dir string
			at  time.Time
		}
		var ended []left
		var failed []error
		for _, e := range all {
			dir := filepath.Join(root, e.Name())
			at := time.Time{} // without a log there is nothing to keep
			if log, err := os.Stat(filepath.Join(dir, "driver.log")); err == nil {
				at = log.ModTime()
			}
			job, err := os.Stat(filepath.Join(dir, jobFile))
			switch {
			case err != nil:
				if errors.Is(err, fs.ErrNotExist) {
					ended = append(ended, left{dir, at})
				}
			case time.Since(job.ModTime()) > abandoned && time.Since(at) > abandoned:
				failed = append(failed, os.RemoveAll(dir))
			}
		}
		slices.SortFunc(ended, func(a, b left) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.dir, b.dir)) })
		for _, l := range ended[min(keptLogs, len(ended)):] {
			failed = append(failed, os.RemoveAll(l.dir))
		}
		return errors.Join(failed...)
	})
}
