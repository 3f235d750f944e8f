package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// data is a job's input as far as it is known before anything runs.
type data struct {
	tables []mr.FileRange
	read   []inputFile // digests of them; nil: not known yet
	table  *surveyed
	images *images.Index
	stats  vistaopt.Stats
	sample *sample // nil: none was taken
}

func readInput(ctx context.Context, j *conf.Job, sink progress.Sink) (*data, error) {
	t, err := survey(ctx, j)
	if err != nil {
		return nil, err
	}
	x, err := scanImages(ctx, j, t, sink)
	if err != nil {
		return nil, err
	}
	return together(t, x), nil
}

// together is what is known of both sides. With nil instead of a side, what is said of it is the least.
func together(t *surveyed, x *images.Index) *data {
	d := &data{table: t, images: x}
	if t == nil {
		d.table = &surveyed{Surveyed: &ingest.Surveyed{}}
	}
	for _, f := range d.table.files {
		d.tables = append(d.tables, mr.FileRange{URI: dfs.URI(d.table.uri, f)})
	}
	good := d.table.Encoding.Good
	d.stats = vistaopt.Stats{Rows: good, Aside: d.table.Asides, RowBytes: rowBytes(d.table.Encoding.Width(), mean(d.table.LabelText, good)), KeyBytes: mean(d.table.KeyText, good)}
	if x != nil {
		d.stats.Images, d.stats.ImageBytes, d.stats.PerRecord, d.stats.UnitBytes = x.Images, x.Bytes/x.Images, x.PerRecord, x.Largest
		d.stats.Average = float64(x.Images) / float64(max(x.Records, 1))
	}
	if d.stats.ImageBytes == 0 { // paths in the table: nobody has looked at the files, until a sample is taken
		d.stats.ImageBytes = 256 << 10
	}
	return d
}

// rowBytes is what row.Append makes of a row with so many columns and so long a label: labels that people give are short.
func rowBytes(columns int, label int64) int64 {
	const head, short = 11, 32 // held out, fold and length; with a label of up to 21 bytes
	return 4*int64(columns) + max(head+label, short)
}

// mean is a sum over so many rows for each of them, rounded up: all of them together are no less than the sum.
func mean(sum, rows int64) int64 {
	if rows == 0 {
		return 0
	}
	return (sum + rows - 1) / rows
}

// workFolder holds what a run keeps until it is done: phases, models, scratch.
const workFolder = "_work"

// jobID is the name of a run's folder. A run that starts anew has another name than the one before it: whatever of that one still lives, here
// or on a cluster, is a stranger to it.
func jobID(j *conf.Job, run string) mr.JobID {
	id := fmt.Sprintf("%s-%.12s", j.Name, j.Digest())
	if run != "" { // of another build
		id += "-" + run
	}
	return mr.JobID(id)
}

// newRun tells a run from all others of its job.
func newRun() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}
