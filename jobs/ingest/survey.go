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
// are and what is wrong with them. It holds 18 bytes for each key beside what the encoding takes.
// With more than maxBad bad rows it gives up (TooManyError).
func Survey(ctx context.Context, fs dfs.FS, paths []dfs.Path, s *table.Schema, maxCategories int, seed uint64, test float64, maxBad int64) (*Surveyed, error) {
	out := &Surveyed{Causes: map[string]int64{}, maxBad: maxBad}
	w := newWalk(s, maxCategories, seed, test)
	if err := w.files(ctx, fs, paths, out); err != nil {
		return nil, err
	}
	e, err := w.survey.Encoding()
	if err != nil {
		return nil, err
	}
	out.Encoding, out.Classes, out.Range = *e, w.classes(), w.reach
	out.Asides = int64(len(w.seen)) - out.Encoding.Good
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
	Asides   int64            // keys that have no good row
	Example  string           // the key of the first good row
	Range    *lr.RangeError   // of the first training row with a value that is too large; nil: none

	KeyText, LabelText int64 // bytes of all good rows' keys and labels

	bads, maxBad int64
}

// TooManyError says that reading a table was given up for its bad rows.
type TooManyError struct {
	Causes map[string]int64
	First  []mr.BadRecord
}

func (e *TooManyError) Error() string { return "too many rows of the table are bad" }

func (s *Surveyed) bad(_ context.Context, cause string, record func() mr.BadRecord) error {
	if s.Causes[cause]++; len(s.First) < maxShown {
		s.First = append(s.First, record())
	}
	if s.bads++; s.bads > s.maxBad {
		return &TooManyError{Causes: s.Causes, First: s.First}
	}
	return nil
}

func (s *Surveyed) drop() {}

func (s *Surveyed) aside(string) {}

func (s *Surveyed) row(_ context.Context, r *table.Row, _ bool, _ uint64) error {
	if s.Example == "" {
		s.Example = r.Key
	}
	s.KeyText += int64(len(r.Key))
	s.LabelText += int64(len(r.Label))
	return nil
}

// sink takes what a walk finds.
type sink interface {
	// bad takes a row that cannot be used. Its record is made when asked for: of millions, few are shown.
	bad(ctx context.Context, cause string, record func() mr.BadRecord) error
	drop()
	// aside takes the key of a row that was set aside or left out, once, if no row of the key came before: a later
	// one may yet be good.
	aside(key string)
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
	reach  *lr.RangeError // of the first value that is too large
	key    string         // of the row before
	keyID  keyID          // its
}

func newWalk(s *table.Schema, maxCategories int, seed uint64, test float64) *walk {
	return &walk{schema: s, survey: table.NewSurveyor(s, maxCategories), split: row.NewSplitter(seed, test), seen: map[keyID]mark{}, labels: map[string]int{}, keyID: idOf("")}
}

func (w *walk) files(ctx context.Context, fs dfs.FS, paths []dfs.Path, to sink) error {
	for r, err := range table.Read(ctx, fs, paths, w.schema) {
		if err := w.take(ctx, r, err, to); err != nil {
			return err
		}
	}
	return nil
}

// aside marks a key of which this row is not good. The mark takes no more than a good row's.
func (w *walk) aside(key string, to sink) {
	id := w.id(key)
	if _, seen := w.seen[id]; !seen {
		w.seen[id] = isAside
		to.aside(key)
	}
}

// take deals with one row or with the error in its place.
func (w *walk) take(ctx context.Context, r *table.Row, err error, to sink) error {
	var bad *table.Bad
	if errors.As(err, &bad) {
		w.survey.Bad()
		if key := bad.WholeKey(); key != "" {
			w.aside(key, to)
		}
		return to.bad(ctx, bad.Cause, func() mr.BadRecord {
			key := table.Shown(bad.Key, maxKeyShown)
			if key == "" {
				key = fmt.Sprintf("%s %d", bad.Unit, bad.Line)
			}
			return mr.BadRecord{Key: key, Stage: "table", Cause: bad.Cause, Error: bad.Error()}
		})
	}
	if err != nil {
		return err
	}
	if r.Missing > 0 && w.schema.Missing == table.MissingDrop {
		w.survey.Drop()
		w.aside(r.Key, to)
		to.drop()
		return nil
	}
	id := w.id(r.Key)
	if m, seen := w.seen[id]; seen && m&isAside == 0 {
		w.survey.Bad()
		return to.bad(ctx, duplicate, func() mr.BadRecord {
			return mr.BadRecord{Key: table.Shown(r.Key, maxKeyShown), Stage: "table", Cause: duplicate,
				Error: fmt.Sprintf("%s: %s %d: key %q stood in an earlier row, which stays", r.File, r.Unit, r.Line, table.Shown(r.Key, maxKeyInText))}
		})
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

const duplicate = "duplicate-key"

// Of a key that has more bytes, a bad record has the beginning: a small file can hold millions of rows with keys of
// 4,096 bytes, and all their records are written. Keys that people give are shorter, paths included.
const (
	maxKeyShown  = 512
	maxKeyInText = 100
)

// id is idOf, worked out once for rows of one key in a row: a few bytes of a Parquet file can repeat a key of 4,096
// bytes a million times.
func (w *walk) id(key string) keyID {
	if key != w.key {
		w.key, w.keyID = key, idOf(key)
	}
	return w.keyID
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
