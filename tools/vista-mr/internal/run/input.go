package run

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// data is a job's input as far as it is known before anything runs.
type data struct {
	tables []mr.FileRange
	schema *table.Schema
	images []mr.FileRange
	bytes  int64 // of all images
	dups   []int // indices in images whose key an earlier file has
	stats  vistaopt.Stats
}

func readInput(ctx context.Context, j *conf.Job) (*data, error) {
	d := &data{}
	fs, files, err := TableFiles(ctx, j)
	if err != nil {
		return nil, err
	}
	spec := table.Spec{URI: string(j.Table.URI), Key: j.Table.Key, Label: j.Table.Label, Features: j.Table.Features}
	if d.schema, err = table.Inspect(ctx, fs, files[0], spec); err != nil {
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
	if err := d.listImages(ctx, j); err != nil {
		return nil, err
	}
	line, err := meanLine(ctx, fs, files[0])
	if err != nil {
		return nil, err
	}
	d.stats.Rows = size/line + 1
	d.stats.RowBytes = int64(4*len(d.schema.Features) + 32)
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

// modelsFolder is the part of it that holds the programs.
const modelsFolder = "models"

func workDir(j *conf.Job) string { return filepath.Join(j.Output.LocalPath(), workFolder) }

// jobID is the name of a run's folder: one output has one run.
func jobID(j *conf.Job) mr.JobID { return mr.JobID(fmt.Sprintf("%s-%.12s", j.Name, j.Digest())) }
