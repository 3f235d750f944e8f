package run

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// data is a job's input as far as it is known before anything runs.
type data struct {
	tables []mr.FileRange
	table  *surveyed
	images *images.Index
	stats  vistaopt.Stats
}

func readInput(ctx context.Context, j *conf.Job, sink progress.Sink) (*data, error) {
	d := &data{}
	var err error
	if d.table, err = survey(ctx, j); err != nil {
		return nil, err
	}
	for _, f := range d.table.files {
		d.tables = append(d.tables, mr.FileRange{URI: "/" + string(f)})
	}
	if d.images, err = scanImages(ctx, j, d.table.schema, d.table.fs, d.table.files, sink); err != nil {
		return nil, err
	}
	d.stats = vistaopt.Stats{Rows: d.table.Encoding.Good, RowBytes: int64(4*d.table.Encoding.Width() + 32),
		Images: d.images.Images, ImageBytes: d.images.Bytes / d.images.Images, PerRecord: d.images.PerRecord, UnitBytes: d.images.Largest}
	if d.stats.ImageBytes == 0 { // paths in the table: nobody has looked at the files
		d.stats.ImageBytes = 256 << 10
	}
	return d, nil
}

// workFolder holds what a run keeps until it is done: phases, models, scratch.
const workFolder = "_work"

func workDir(j *conf.Job) string { return filepath.Join(j.Output.LocalPath(), workFolder) }

// jobID is the name of a run's folder: one output has one run.
func jobID(j *conf.Job) mr.JobID { return mr.JobID(fmt.Sprintf("%s-%.12s", j.Name, j.Digest())) }
