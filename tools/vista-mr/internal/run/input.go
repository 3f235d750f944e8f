package run

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// data is a job's input as far as it is known before anything runs.
type data struct {
	tables []mr.FileRange
	schema *table.Schema
	images *images.Index
	stats  vistaopt.Stats
}

func readInput(ctx context.Context, j *conf.Job, sink progress.Sink) (*data, error) {
	d := &data{}
	fs, files, err := TableFiles(ctx, j)
	if err != nil {
		return nil, err
	}
	if d.schema, err = table.Inspect(ctx, fs, files[0], tableSpec(j)); err != nil {
		return nil, err
	}
	var size int64
	for _, f := range files {
		info, err := fs.Stat(ctx, f)
		if err != nil {
			return nil, err
		}
		size += info.Size
		d.tables = append(d.tables, mr.FileRange{URI: "/" + string(f)})
	}
	if d.images, err = scanImages(ctx, j, d.schema, fs, files, sink); err != nil {
		return nil, err
	}
	d.stats.Images = d.images.Images
	d.stats.ImageBytes = d.images.Bytes / d.images.Images
	if d.stats.ImageBytes == 0 { // paths in the table: nobody has looked at the files
		d.stats.ImageBytes = 256 << 10
	}
	d.stats.PerRecord, d.stats.UnitBytes = d.images.PerRecord, d.images.Largest
	line, err := meanLine(ctx, fs, files[0])
	if err != nil {
		return nil, err
	}
	d.stats.Rows = size/line + 1
	d.stats.RowBytes = int64(4*len(d.schema.Features) + 32)
	return d, nil
}

// meanLine is the mean length of the first lines of a file, in bytes.
func meanLine(ctx context.Context, fs dfs.FS, p dfs.Path) (int64, error) {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return 0, err
	}
	defer f.Close() // reading only
	buf := make([]byte, min(f.Size(), 1<<20))
	n, err := f.ReadAt(buf, 0)
	if n == 0 {
		return 1, err
	}
	lines := int64(1)
	for _, c := range buf[:n] {
		if c == '\n' {
			lines++
		}
	}
	return max(int64(n)/lines, 1), nil
}

// workFolder holds what a run keeps until it is done: phases, models, scratch.
const workFolder = "_work"

func workDir(j *conf.Job) string { return filepath.Join(j.Output.LocalPath(), workFolder) }

// jobID is the name of a run's folder: one output has one run.
func jobID(j *conf.Job) mr.JobID { return mr.JobID(fmt.Sprintf("%s-%.12s", j.Name, j.Digest())) }
