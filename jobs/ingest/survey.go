package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Survey reads a table as the ingest task will, and finds how its rows are to be encoded and how many
// there are. It holds 16 bytes for each row beside what the encoding takes.
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
	out.Encoding, out.Classes = *e, table.Labels(w.labels)
	return out, nil
}

// Surveyed is what Survey found.
type Surveyed struct {
	Encoding table.Encoding
	Classes  []string
	Causes   map[string]int64 // bad rows by cause
}

func (s *Surveyed) bad(_ context.Context, b mr.BadRecord) error {
	s.Causes[b.Cause]++
	return nil
}

func (s *Surveyed) drop() {}

func (s *Surveyed) aside(context.Context, string) error { return nil }

func (s *Surveyed) row(context.Context, *table.Row, bool, uint64) error { return nil }

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
	seen   map[[16]byte]struct{} // half of a SHA-256 of each key: 16 bytes a row whatever the keys
	labels map[string]bool
	aside  []string // keys of rows that were set aside or left out: a later row may yet be good
}

func newWalk(s *table.Schema, maxCategories int, seed uint64, test float64) *walk {
	return &walk{schema: s, survey: table.NewSurveyor(s, maxCategories), split: row.NewSplitter(seed, test), seen: map[[16]byte]struct{}{}, labels: map[string]bool{}}
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
		sum := sha256.Sum256([]byte(key))
		id := [16]byte(sum[:16])
		if _, seen := w.seen[id]; seen {
			continue
		}
		w.seen[id] = struct{}{}
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
	key := []byte(r.Key)
	sum := sha256.Sum256(key)
	id := [16]byte(sum[:16])
	if _, dup := w.seen[id]; dup {
		w.survey.Bad()
		return to.bad(ctx, mr.BadRecord{Key: r.Key, Stage: "table", Cause: "duplicate-key",
			Error: fmt.Sprintf("%s %d: key %q stood in an earlier row, which stays", r.Unit, r.Line, r.Key)})
	}
	w.seen[id] = struct{}{}
	if !w.labels[r.Label] {
		if len(w.labels) == maxClasses {
			return &LabelError{Column: w.schema.Columns[w.schema.Label], Seen: maxClasses}
		}
		w.labels[r.Label] = true
	}
	test, u := w.split.Split(key)
	if err := w.survey.Row(r, !test); err != nil {
		return err
	}
	return to.row(ctx, r, test, u)
}
