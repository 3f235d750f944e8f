// Package ingest is the map kind that reads the structured table: it checks every row, keeps
// the first of each key, decides which rows are held out, and passes them on by key.
//
// Invariant: every row of the table is counted once under "rows" and is then either passed on
// or set aside. One task reads a whole table, in file order, because "the first of duplicate
// keys stays" is a statement about that order.
//
// The phase's Value tells the classes of the label, which no task of a later phase could know
// from its own partition.
package ingest

import (
	"context"
	"crypto/sha256"
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

// Rows is the channel of good rows: key to row.Row.
const Rows = "rows"

// maxClasses bounds the labels of a table: more means that the label is no class.
const maxClasses = 1000

// Params says what is read and where the rows go.
type Params struct {
	Schema table.Schema `json:"schema"`
	Seed   uint64       `json:"seed"`
	Test   float64      `json:"test"`           // held-out share
	Part   bool         `json:"part,omitempty"` // write channel Rows
	Emit   bool         `json:"emit,omitempty"` // send rows into the shuffle
	Raw    bool         `json:"raw,omitempty"`  // do not compress
	Needs  Needs        `json:"needs"`
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
	in := &ingester{p: p, t: t, split: row.NewSplitter(p.Seed, p.Test), seen: map[[16]byte]struct{}{}, labels: map[string]bool{}}
	if p.Part {
		part, err := t.Part(ctx, Rows, mr.PartOptions{Raw: p.Raw})
		if err != nil {
			return err
		}
		in.part = part
	}
	for _, f := range t.Spec().Split.Files {
		fs, path, err := t.Resolve(ctx, f.URI)
		if err != nil {
			return err
		}
		for r, err := range table.Read(ctx, fs, []dfs.Path{path}, &p.Schema) {
			if err := in.take(ctx, r, err); err != nil {
				return err
			}
		}
	}
	t.Count("rows", in.rows)
	t.Progress(in.rows, in.rows)
	classes := table.Labels(in.labels)
	if err := p.Needs.check(classes, int64(len(in.seen))); err != nil {
		return err
	}
	return t.SetValue(Value{Classes: classes, Rows: int64(len(in.seen))})
}

type ingester struct {
	p      *Params
	t      mr.Task
	split  row.Splitter
	part   mr.PartWriter
	seen   map[[16]byte]struct{} // half of a SHA-256 of each key: 16 bytes a row whatever the keys
	labels map[string]bool
	rows   int64
	buf    []byte
}

// take deals with one row or with the error in its place.
func (in *ingester) take(ctx context.Context, r *table.Row, err error) error {
	var bad *table.Bad
	if errors.As(err, &bad) {
		in.rows++
		key := bad.Key
		if key == "" {
			key = fmt.Sprintf("line %d", bad.Line)
		}
		return in.t.SetAside(ctx, mr.BadRecord{Key: key, Stage: "table", Cause: bad.Cause, Error: bad.Error()})
	}
	if err != nil {
		return err
	}
	in.rows++
	sum := sha256.Sum256([]byte(r.Key))
	id := [16]byte(sum[:16])
	if _, dup := in.seen[id]; dup {
		return in.t.SetAside(ctx, mr.BadRecord{Key: r.Key, Stage: "table", Cause: "duplicate-key",
			Error: fmt.Sprintf("line %d: key %q stood in an earlier row, which stays", r.Line, r.Key)})
	}
	in.seen[id] = struct{}{}
	if !in.labels[r.Label] {
		if len(in.labels) == maxClasses {
			return &LabelError{Column: in.p.Schema.Columns[in.p.Schema.Label], Seen: maxClasses}
		}
		in.labels[r.Label] = true
	}
	out := row.Row{Label: r.Label, X: r.X}
	out.Test, out.U = in.split.Split([]byte(r.Key))
	in.buf = out.Append(in.buf[:0])
	if in.part != nil {
		if err := in.part.Append([]byte(r.Key), in.buf); err != nil {
			return err
		}
	}
	if in.p.Emit {
		return in.t.Emit(ctx, []byte(r.Key), in.buf)
	}
	return nil
}
