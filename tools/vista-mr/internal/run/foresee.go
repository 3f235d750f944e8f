package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// foresight is what the table and the list of images say of a job before an image is read. Images that turn out to
// be damaged can make it worse and never better.
type foresight struct {
	j       *conf.Job
	d       *data
	causes  map[string]int64 // bad records
	first   []mr.BadRecord   // the first of them
	records int64            // keys of images
	met     int64            // those that have a good row
	train   []int64          // by class: rows with an image that is not known to be bad
	test    []int64
	large   bool // one of the rows in train has a value that is too large
	split   row.Splitter
	folds   [][]int64 // by fold and class: of the rows in train, if models are trained without a fold
}

// foresee finds what must make the job fail, as it would fail later: more bad records than are allowed, nothing to
// learn, nobody to judge.
func foresee(ctx context.Context, j *conf.Job, d *data) (*foresight, error) {
	f := &foresight{j: j, d: d, causes: maps.Clone(d.table.Causes), first: slices.Clone(d.table.First),
		train: make([]int64, len(d.table.Classes)), test: make([]int64, len(d.table.Classes)), split: row.NewSplitter(uint64(j.Seed), j.Downstream.Test)}
	if _, folds := grid(&j.Downstream); folds > 1 {
		f.folds = make([][]int64, folds)
		for i := range f.folds {
			f.folds[i] = make([]int64, len(f.train))
		}
	}
	if err := needs(j, nil).Check(d.table.Classes); err != nil && !f.overBudget() { // else the rows of a class may all be bad
		return nil, exit.Running(f.besideBad(err))
	}
	f.match()
	if err := f.budget(ctx); err != nil {
		return nil, exit.Running(err)
	}
	if err := f.learnable(); err != nil {
		return nil, exit.Running(f.besideBad(err))
	}
	return f, nil
}

// besideBad says of a class that is missing how many rows of the table are bad: it may be among them.
func (f *foresight) besideBad(err error) error {
	var one *lr.OneClassError
	if len(f.d.table.First) == 0 || !errors.As(err, &one) {
		return err
	}
	var causes []string
	for _, c := range slices.Sorted(maps.Keys(f.d.table.Causes)) {
		causes = append(causes, fmt.Sprintf("%s %s", results.Count(f.d.table.Causes[c]), c))
	}
	return fmt.Errorf("%w; bad rows of the table: %s, the first of them: %s", err, strings.Join(causes, ", "), results.Visible(f.d.table.First[0].Error))
}

// match goes through the images and looks their rows up, as the join will.
func (f *foresight) match() {
	usable := false // one of the record's images is
	var flaws []mr.BadRecord
	for l := range f.d.images.Listed() {
		bad := mr.BadRecord{Key: l.Key, Stage: "image", Cause: l.Cause, Error: l.Error}
		if !l.Record {
			f.bad(bad)
			continue
		}
		if l.Cause == "" {
			usable = true
		} else {
			flaws = append(flaws, bad)
		}
		if !l.Last {
			continue
		}
		f.record(l.Key, usable, flaws)
		usable, flaws = false, flaws[:0]
	}
	if alone := f.d.table.Encoding.Good - f.met; alone > 0 && f.j.Images.Required {
		f.causes["no-image"] += alone
	}
}

// record looks up the row of a record whose images were all seen.
func (f *foresight) record(key string, usable bool, flaws []mr.BadRecord) {
	f.records++
	have, ok := f.d.table.Keys.Meet(key)
	switch {
	case !ok && f.j.Images.Required:
		f.bad(mr.BadRecord{Key: key, Stage: "join", Cause: "no-row", Error: fmt.Sprintf("image %q has no row in the table", key)})
		return
	case !ok, have.Aside:
		return
	}
	f.met++
	for _, b := range flaws {
		f.bad(b)
	}
	switch {
	case usable && have.Test:
		f.test[have.Class]++
	case usable:
		f.train[have.Class]++
		f.large = f.large || have.Large
		f.fold(key, have.Class)
	}
}

// fold counts a training row in the fold that training will put it into.
func (f *foresight) fold(key string, class int) {
	if f.folds == nil {
		return
	}
	_, u := f.split.Split([]byte(key))
	r := row.Row{U: u}
	f.folds[r.Fold(len(f.folds))][class]++
}

func (f *foresight) bad(b mr.BadRecord) {
	if f.causes[b.Cause]++; len(f.first) <= maxListed {
		f.first = append(f.first, b)
	}
}

// overBudget tells whether what is known to be bad is more than is allowed.
func (f *foresight) overBudget() bool {
	share := f.j.Limits.MaxBadFraction
	return share < 1 && float64(sum(f.causes)) > share*float64(f.d.table.Encoding.Rows)
}

func sum(causes map[string]int64) (n int64) {
	for _, of := range causes {
		n += of
	}
	return n
}

// budget refuses what is over the budget already.
func (f *foresight) budget(ctx context.Context) error {
	if !f.overBudget() {
		return nil
	}
	rows, share, n := f.d.table.Encoding.Rows, f.j.Limits.MaxBadFraction, sum(f.causes)
	if f.causes["no-image"] > 0 {
		err := f.d.table.Keys.Alone(ctx, f.d.table.fs, f.d.table.files, f.d.table.schema, func(key string) bool {
			if len(f.first) <= maxListed {
				f.first = append(f.first, mr.BadRecord{Key: key, Stage: "join", Cause: "no-image", Error: fmt.Sprintf("row %q has no image", key)})
			}
			return len(f.first) <= maxListed
		})
		if err != nil {
			return err
		}
	}
	e := &BadRecordsError{Causes: f.causes, First: f.first, Rows: rows, Err: &errs.Error{Kind: errs.Budget,
		Err: fmt.Errorf("%d bad records, where %d rows allow %d (a share of %g)", n, rows, int64(share*float64(rows)), share)}}
	switch {
	case f.met == 0 && f.records > 0 && f.d.table.Encoding.Good > 0:
		e.Advice = f.apart() + ": check table.key, images.uri and images.key"
	default:
		e.Advice = adviceOnRows(f.causes)
	}
	return e
}

// apart shows how the keys of two sides that have none in common look.
func (f *foresight) apart() string {
	image := ""
	for l := range f.d.images.Listed() {
		if l.Record {
			image = l.Key
			break
		}
	}
	return fmt.Sprintf("no row has an image: rows have keys such as %q, images such as %q", f.d.table.Example, image)
}

// learnable refuses data that no model can be trained on or judged by.
func (f *foresight) learnable() error {
	train, test := total(f.train), total(f.test)
	if train+test == 0 {
		return &InputError{ID: "E-NO-ROWS", Key: "images.uri", Path: string(f.j.Images.URI), Cause: f.apart(),
			Next: "set table.key and images.key so that the keys are the same, or correct images.uri"}
	}
	if train == 0 {
		return &InputError{ID: "E-NO-ROWS", Key: "downstream.test", Path: strconv.FormatFloat(f.j.Downstream.Test, 'g', -1, 64),
			Cause: fmt.Sprintf("holds out all rows with an image, of which there are %s: none is left to train on", results.Count(test)),
			Next:  "set downstream.test lower, or give the job more records"}
	}
	if one := f.oneClass(f.train); one != nil {
		return fmt.Errorf("of the rows with an image, %w", one)
	}
	for i, fold := range f.folds {
		left := slices.Clone(f.train)
		for c, n := range fold {
			left[c] -= n
		}
		if one := f.oneClass(left); one != nil {
			one.Fold, one.Folds = i, len(f.folds)
			return fmt.Errorf("of the rows with an image, %w", one)
		}
	}
	if f.large {
		return f.d.table.Range
	}
	judged := f.test
	if test == 0 {
		judged = f.train
	}
	if f.j.Downstream.Metric == metrics.AUC && among(judged) < 2 {
		return &ingest.MetricError{Metric: metrics.AUC, Classes: among(judged)}
	}
	return nil
}

// oneClass refuses rows that no model can be trained on; nil: one can.
func (f *foresight) oneClass(rows []int64) *lr.OneClassError {
	one := &lr.OneClassError{Class: -1, Rows: total(rows)}
	switch among(rows) {
	case 0:
	case 1:
		one.Class = slices.IndexFunc(rows, func(n int64) bool { return n > 0 })
		one.Label = f.d.table.Classes[one.Class]
	default:
		return nil
	}
	return one
}

func total(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// among is how many classes occur.
func among(counts []int64) (n int) {
	for _, c := range counts {
		if c > 0 {
			n++
		}
	}
	return n
}

// remarks are about labels that are not what their user may think.
func (f *foresight) remarks() []string {
	out := labelRemarks(f.d.table.Classes, f.d.table.Encoding.Good)
	var alone []string
	for c, label := range f.d.table.Classes {
		if f.train[c]+f.test[c] == 0 {
			alone = append(alone, label)
		}
	}
	if len(alone) > 0 {
		out = append(out, fmt.Sprintf("No row with an image has the label %s; it is a class all the same.", listed(alone, " or ")))
	}
	return out
}

// describe says how table and images fit together.
func (f *foresight) describe() string {
	have := "have"
	if f.j.Images.Column != "" { // nobody has looked whether the files are there
		have = "name"
	}
	out := []string{fmt.Sprintf("%s of %s rows %s an image", results.Count(f.met), results.Count(f.d.table.Encoding.Good), have)}
	if alone := f.records - f.met; alone > 0 {
		out = append(out, results.Count(alone)+" "+plural(alone, "key of images has", "keys of images have")+" no row")
	}
	for _, cause := range slices.Sorted(maps.Keys(f.causes)) {
		if n := f.causes[cause] - f.d.table.Causes[cause]; n > 0 && cause != "no-row" && cause != "no-image" {
			out = append(out, fmt.Sprintf("bad images: %s %s", results.Count(n), cause))
		}
	}
	return strings.Join(out, "; ")
}
