package run

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// data is a job's input as far as it is known before anything runs.
type data struct {
	tables []mr.FileRange
	table  *surveyed
	images []mr.FileRange
	bytes  int64 // of all images
	dups   []int // indices in images whose key an earlier file has
	stats  vistaopt.Stats
}

func readInput(ctx context.Context, j *conf.Job) (*data, error) {
	d := &data{}
	var err error
	if d.table, err = survey(ctx, j); err != nil {
		return nil, err
	}
	for _, f := range d.table.files {
		d.tables = append(d.tables, mr.FileRange{URI: "/" + string(f)})
	}
	if err := d.listImages(ctx, j); err != nil {
		return nil, err
	}
	d.stats.Rows = d.table.Encoding.Good
	d.stats.RowBytes = int64(4*d.table.Encoding.Width() + 32)
	return d, nil
}

// listImages lists the files of the image folder, sorted by path. Names that begin with "."
// or "_" are not data.
func (d *data) listImages(ctx context.Context, j *conf.Job) error {
	fs, root, err := stores().Resolve(ctx, string(j.Images.URI))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for info, err := range fs.List(ctx, root) {
		if err != nil {
			return err
		}
		if c := info.Path.Base()[0]; c == '.' || c == '_' {
			continue
		}
		uri := "/" + string(info.Path)
		if key := extract.KeyOf(uri); seen[key] {
			d.dups = append(d.dups, len(d.images))
		} else {
			seen[key] = true
		}
		d.images = append(d.images, mr.FileRange{URI: uri})
		d.bytes += info.Size
	}
	if len(d.images) == 0 {
		return exit.As(exit.Invalid, &InputError{ID: "E-IMAGES", Key: "images.uri", Path: string(j.Images.URI), Cause: "holds no file",
			Next: "set images.uri to the folder that holds the image files"})
	}
	d.stats.Images = int64(len(d.images))
	d.stats.ImageBytes = d.bytes / d.stats.Images
	return nil
}

// splits cuts the images into n splits of neighbouring files, as even as can be. It depends on
// the files alone, so that every run of a job has the same partitions.
func (d *data) splits(n int) ([]mr.Split, map[int][]string) {
	dup := map[int]bool{}
	for _, i := range d.dups {
		dup[i] = true
	}
	n = max(min(n, len(d.images)-len(d.dups)), 1)
	out := make([]mr.Split, n)
	dups := map[int][]string{}
	at, total := 0, len(d.images)-len(d.dups)
	for i, f := range d.images {
		s := min(at*n/max(total, 1), n-1)
		if dup[i] {
			dups[s] = append(dups[s], f.URI)
			continue
		}
		out[s].Files = append(out[s].Files, f)
		out[s].Records++
		at++
	}
	return out, dups
}

// workFolder holds what a run keeps until it is done: phases, models, scratch.
const workFolder = "_work"

func workDir(j *conf.Job) string { return filepath.Join(j.Output.LocalPath(), workFolder) }

// jobID is the name of a run's folder: one output has one run.
func jobID(j *conf.Job) mr.JobID { return mr.JobID(fmt.Sprintf("%s-%.12s", j.Name, j.Digest())) }
