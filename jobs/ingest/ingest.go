// Package ingest is the map kind that reads the structured table: it checks every row, keeps
// the first of each key, decides which rows are held out, and passes them on by key.
//
// Invariant: every row of the table is counted once under "rows" and is then passed on, set aside, or left
// out and counted under "left-out.missing"; where no row of a key is passed on, row.Aside is. One task reads a whole table, in file order, because "the
// first of duplicate keys stays" is a statement about that order.
//
// The planner has read the table before (Survey): how missing values are filled and which categories have
// columns must be known before the first row is encoded, and how many columns there are before anything is
// planned. What it found is in Params; the task finds it again while it reads, and a table that has changed
// in between is an error.
//
// The phase's Value tells the classes of the label, which no task of a later phase could know
// from its own partition.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Name is the kind's name.
const Name = "ingest"

// Rows is the channel of rows: key to row.Row, or to row.Aside for keys of which the table has no good row.
const Rows = "rows"

// maxClasses bounds the labels of a table: more means that the label is no class.
const maxClasses = 1000

// Params says what is read and where the rows go.
type Params struct {
	Schema        table.Schema   `json:"schema"`
	Encoding      table.Encoding `json:"encoding"`
	MaxCategories int            `json:"maxCategories"`
	Seed          uint64         `json:"seed"`
	Test          float64        `json:"test"`           // held-out share
	Part          bool           `json:"part,omitempty"` // write channel Rows
	Emit          bool           `json:"emit,omitempty"` // send rows into the shuffle
	Raw           bool           `json:"raw,omitempty"`  // do not compress
	Needs         Needs          `json:"needs"`
}

// Value is the phase's small result.
type Value struct {
	Classes []string `json:"classes"` // in the order of their indices
	Rows    int64    `json:"rows"`    // good ones
}

// LabelError says that the label column does not hold classes.
type LabelError struct {
	Column string
	Seen   int
}

func (e *LabelError) Error() string {
	return fmt.Sprintf("column %q has more than %d different values: it does not name classes", e.Column, e.Seen)
}

// ErrorID is stable.
func (e *LabelError) ErrorID() string { return "E-LABEL" }

// Hint says what to do.
func (e *LabelError) Hint() string { return "set table.label to a column with a few class names" }

// Kind is what the registry holds.
func Kind() mr.Kind {
	return mr.Kind{Name: Name, Map: func(params json.RawMessage) (mr.Mapper, error) {
		p, err := mr.Decode[Params](params)
		if err != nil {
			return nil, err
		}
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return run(ctx, t, &p) }), nil
	}}
}

func run(ctx context.Context, t mr.Task, p *Params) error {
	in := &ingester{p: p, t: t, walk: newWalk(&p.Schema, p.MaxCategories, p.Seed, p.Test), encoder: table.NewEncoder(&p.Encoding)}
	if p.Part {
		part, err := t.Part(ctx, Rows, mr.PartOptions{Raw: p.Raw})
		if err != nil {
			return err
		}
		in.part = part
	}
	err := in.files(ctx, func(fs dfs.FS, path dfs.Path) error { return in.walk.files(ctx, fs, []dfs.Path{path}, in) })
	if err != nil {
		return err
	}
	if err := in.asides(ctx); err != nil {
		return err
	}
	found, err := in.walk.survey.Encoding()
	if err != nil {
		return err
	}
	if !found.Equal(&p.Encoding) {
		return &ChangedError{Planned: p.Encoding.Rows, Found: found.Rows}
	}
	t.Count("rows", found.Rows)
	t.Progress(found.Rows, found.Rows)
	classes := in.walk.classes()
	if err := p.Needs.Check(classes); err != nil {
		return err
	}
	return t.SetValue(Value{Classes: classes, Rows: found.Good})
}

// ChangedError says that the table is not the one that the job was planned for.
type ChangedError struct{ Planned, Found int64 }

func (e *ChangedError) Error() string {
	if e.Planned != e.Found {
		return fmt.Sprintf("the table has changed since the job was planned: it had %d rows, and has %d", e.Planned, e.Found)
	}
	return "the table has changed since the job was planned: it has as many rows, and other values"
}

// ErrorID is stable.
func (e *ChangedError) ErrorID() string { return "E-TABLE-CHANGED" }

// Hint says what to do.
func (e *ChangedError) Hint() string {
	return "run the job again with an empty output, when nobody writes to the table"
}

// ingester passes rows on.
type ingester struct {
	p       *Params
	t       mr.Task
	walk    *walk
	encoder *table.Encoder
	part    mr.PartWriter
	keys    []string // of rows that were set aside or left out
	text    int      // bytes of keys
	again   bool     // keys became too long: the table is read again for them
	x       []float32
	buf     []byte
}

// maxAside bounds the keys that are kept: of a million and more rows, if they are as long as a UUID. Tests lower it.
var maxAside = 64 << 20

// files goes over the table's files.
func (in *ingester) files(ctx context.Context, do func(dfs.FS, dfs.Path) error) error {
	for _, f := range in.t.Spec().Split.Files {
		fs, path, err := in.t.Resolve(ctx, f.URI)
		if err != nil {
			return err
		}
		if err := do(fs, path); err != nil {
			return err
		}
	}
	return nil
}

func (in *ingester) bad(ctx context.Context, _ string, record func() mr.BadRecord) error {
	return in.t.SetAside(ctx, record())
}

func (in *ingester) drop() { in.t.Count("left-out.missing", 1) }

func (in *ingester) row(ctx context.Context, r *table.Row, test bool, u uint64) (err error) {
	if in.x, err = in.encoder.Append(in.x[:0], r); err != nil {
		return err
	}
	out := row.Row{Label: r.Label, X: in.x, Test: test, U: u}
	in.buf = out.Append(in.buf[:0])
	return in.pass(ctx, []byte(r.Key), in.buf)
}

func (in *ingester) aside(key string) {
	if in.again {
		return
	}
	if in.text += len(key) + 16; in.text > maxAside {
		in.keys, in.again = nil, true
		return
	}
	in.keys = append(in.keys, key)
}

// asides passes on the keys that have no good row, each once, in the table's order.
func (in *ingester) asides(ctx context.Context) error {
	pass := func(key string) error {
		id := idOf(key)
		if in.walk.seen[id]&isAside == 0 {
			return nil
		}
		delete(in.walk.seen, id)
		return in.pass(ctx, []byte(key), row.Aside)
	}
	for _, key := range in.keys {
		if err := pass(key); err != nil {
			return err
		}
	}
	if !in.again {
		return nil
	}
	return in.files(ctx, func(fs dfs.FS, path dfs.Path) error {
		for r, err := range table.Read(ctx, fs, []dfs.Path{path}, &in.p.Schema) {
			var bad *table.Bad
			key := ""
			switch {
			case errors.As(err, &bad):
				key = bad.WholeKey()
			case err != nil:
				return err
			default:
				key = r.Key
			}
			if err := pass(key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (in *ingester) pass(ctx context.Context, key, value []byte) error {
	if in.part != nil {
		if err := in.part.Append(key, value); err != nil {
			return err
		}
	}
	if in.p.Emit {
		return in.t.Emit(ctx, key, value)
	}
	return nil
}
