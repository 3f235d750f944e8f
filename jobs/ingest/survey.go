package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Survey reads a table as the ingest task will, and finds how its rows are to be encoded, how many there
// are and what is wrong with them. It holds 18 bytes for each row beside what the encoding takes.
func Survey(ctx context.Context, fs dfs.FS, paths []dfs.Path, s *table.Schema, maxCategories int, seed uint64, test float64) (*Surveyed, error) {
	out := &Surveyed{Causes: map[string]int64{}}
	w := newWalk(s, maxCategories, seed, test)
	if err := w.files(ctx, fs, paths, out); err != nil {
		return nil, err
	}
	e, err := w.survey.Encoding()
	if err != nil {
		return nil, err
	}
	if err := w.end(ctx, out); err != nil {
		return nil, err
	}
	out.Encoding, out.Classes, out.Range = *e, w.classes(), w.reach
	out.Keys = w.keys(out.Classes)
	return out, nil
}

// maxShown is how many bad rows a survey keeps: one more than are shown, so that it is seen that there are more.
const maxShown = 101

// Surveyed is what Survey found.
type Surveyed struct {
	Encoding table.Encoding
	Classes  []string
	Causes   map[string]int64 // bad rows by cause
	First    []mr.BadRecord   // the first of them
	Keys     *Keys            // what there is for each key
	Example  string           // the key of the first good row
	Range    *lr.RangeError   // of the first training row with a value that is too large; nil: none
}

func (s *Surveyed) bad(_ context.Context, b mr.BadRecord) error {
	if s.Causes[b.Cause]++; len(s.First) < maxShown {
		s.First = append(s.First, b)
	}
	return nil
}

func (s *Surveyed) drop() {}

func (s *Surveyed) aside(context.Context, string) error { return nil }

func (s *Surveyed) row(_ context.Context, r *table.Row, _ bool, _ uint64) error {
	if s.Example == "" {
		s.Example = r.Key
	}
	return nil
}

// sink takes what a walk finds.
type sink interface {
	bad(ctx context.Context, b mr.BadRecord) error
	drop()
	aside(ctx context.Context, key string) error
	row(ctx context.Context, r *table.Row, test bool, u uint64) error
}

// walk goes over a table's rows in order and decides what each is: the one place where planner and
// task must agree.
type walk struct {
	schema *table.Schema
	survey *table.Surveyor
	split  row.Splitter
	seen   map[keyID]mark
	labels map[string]int // by their first appearance
	aside  []string       // keys of rows that were set aside or left out: a later row may yet be good
	reach  *lr.RangeError // of the first value that is too large
}

func newWalk(s *table.Schema, maxCategories int, seed uint64, test float64) *walk {
	return &walk{schema: s, survey: table.NewSurveyor(s, maxCategories), split: row.NewSplitter(seed, test), seen: map[keyID]mark{}, labels: map[string]int{}}
}

func (w *walk) files(ctx context.Context, fs dfs.FS, paths []dfs.Path, to sink) error {
	for r, err := range table.Read(ctx, fs, paths, w.schema) {
		if err := w.take(ctx, r, err, to); err != nil {
			return err
		}
	}
	return nil
}

// end tells of the keys that have no good row.
func (w *walk) end(ctx context.Context, to sink) error {
	for _, key := range w.aside {
		id := idOf(key)
		if _, seen := w.seen[id]; seen {
			continue
		}
		w.seen[id] = isAside
		if err := to.aside(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// take deals with one row or with the error in its place.
func (w *walk) take(ctx context.Context, r *table.Row, err error, to sink) error {
	var bad *table.Bad
	if errors.As(err, &bad) {
		w.survey.Bad()
		key := bad.Key
		if key == "" {
			key = fmt.Sprintf("%s %d", bad.Unit, bad.Line)
		} else {
			w.aside = append(w.aside, key)
		}
		return to.bad(ctx, mr.BadRecord{Key: key, Stage: "table", Cause: bad.Cause, Error: bad.Error()})
	}
	if err != nil {
		return err
	}
	if r.Missing > 0 && w.schema.Missing == table.MissingDrop {
		w.survey.Drop()
		w.aside = append(w.aside, r.Key)
		to.drop()
		return nil
	}
	id := idOf(r.Key)
	if _, dup := w.seen[id]; dup {
		w.survey.Bad()
		return to.bad(ctx, mr.BadRecord{Key: r.Key, Stage: "table", Cause: "duplicate-key",
			Error: fmt.Sprintf("%s: %s %d: key %q stood in an earlier row, which stays", r.File, r.Unit, r.Line, r.Key)})
	}
	class, known := w.labels[r.Label]
	if !known {
		if class = len(w.labels); class == maxClasses {
			return &LabelError{Column: w.schema.Columns[w.schema.Label], Seen: maxClasses}
		}
		w.labels[r.Label] = class
	}
	test, u := w.split.Split([]byte(r.Key))
	w.seen[id] = markOf(class, test)
	if !test && w.large(r) {
		w.seen[id] |= isLarge
	}
	if err := w.survey.Row(r, !test); err != nil {
		return err
	}
	return to.row(ctx, r, test, u)
}

// large tells whether a row has a value that no model can be trained on.
func (w *walk) large(r *table.Row) bool {
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Missing || w.schema.Features[i].Categorical || !lr.TooLarge(float32(c.Number)) {
			continue
		}
		if w.reach == nil {
			w.reach = &lr.RangeError{Column: i, Value: math.Abs(c.Number), Name: w.schema.Columns[w.schema.Features[i].Column]}
		}
		return true
	}
	return false
}
