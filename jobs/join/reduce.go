package join

import (
	"context"
	"fmt"
	"iter"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Joined is the channel of rows with their images' bytes (extract.AppendJoined).
const Joined = "joined"

// Column is a channel that a join writes, with the number of values for each record.
type Column struct {
	Channel string `json:"channel"`
	Len     int    `json:"len"`
}

// Params says what the reduce-side join writes.
type Params struct {
	Required bool     `json:"required,omitempty"`
	Repeat   bool     `json:"repeat,omitempty"`
	Store    bool     `json:"raw,omitempty"`     // write blocks uncompressed
	Images   bool     `json:"images,omitempty"`  // the images' side is bytes: write channel Joined
	Columns  []Column `json:"columns,omitempty"` // the images' side is vectors, one behind the other in this order
	Base     bool     `json:"base,omitempty"`    // write channel extract.Base
}

// reducer joins one key at a time.
type reducer struct {
	p     *Params
	parts []mr.PartWriter // of Columns
	base  mr.PartWriter
	join  mr.PartWriter
	row   []byte
	side  []byte
}

var _ mr.Reducer = (*reducer)(nil)

func (r *reducer) open(ctx context.Context, t mr.Task) (err error) {
	o := mr.PartOptions{Raw: r.p.Store}
	if r.p.Images && r.join == nil {
		if r.join, err = t.Part(ctx, Joined, o); err != nil {
			return err
		}
	}
	if r.p.Base && r.base == nil {
		if r.base, err = t.Part(ctx, extract.Base, o); err != nil {
			return err
		}
	}
	for _, c := range r.p.Columns[len(r.parts):] {
		part, err := t.Part(ctx, c.Channel, o)
		if err != nil {
			return err
		}
		r.parts = append(r.parts, part)
	}
	return nil
}

// Reduce sees the table's row, if there is one, before the image.
func (r *reducer) Reduce(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
	r.row, r.side = r.row[:0], r.side[:0]
	hasRow, hasImage := false, false
	for v, err := range values {
		switch {
		case err != nil:
			return err
		case v.Input == 0 && !hasRow:
			hasRow, r.row = true, append(r.row, v.Data...)
		case v.Input == 1 && !hasImage:
			hasImage, r.side = true, append(r.side, v.Data...)
		default:
			// Duplicates are set aside where files are listed and rows are read.
			return errs.E("join", errs.Internal, "", fmt.Errorf("key %q came twice from input %d", key, v.Input))
		}
	}
	a := account{required: r.p.Required, repeat: r.p.Repeat}
	switch {
	case !hasImage:
		return a.rowWithoutImage(ctx, t, key)
	case !hasRow:
		return a.imageWithoutRow(ctx, t, key)
	case len(r.side) == 0:
		return errs.E("join", errs.Corrupt, "", fmt.Errorf("key %q has an empty value", key))
	case r.side[0] == extract.Unusable:
		return a.unusable(ctx, t, r.side[1:])
	}
	if err := r.open(ctx, t); err != nil {
		return err
	}
	if !r.p.Images && !r.p.Repeat { // otherwise the image has yet to be decoded
		t.Count("matched", 1)
	}
	return r.write(key)
}

func (r *reducer) write(key []byte) error {
	side := r.side[1:]
	if r.p.Images {
		return r.join.Append(key, extract.AppendJoined(nil, r.row, side))
	}
	if r.base != nil {
		if err := r.base.Append(key, r.row); err != nil {
			return err
		}
	}
	for i, c := range r.p.Columns {
		if len(side) < 4*c.Len {
			return errs.E("join", errs.Corrupt, "", fmt.Errorf("key %q: %d bytes left for %s of %d values", key, len(side), c.Channel, c.Len))
		}
		if err := r.parts[i].Append(key, side[:4*c.Len]); err != nil {
			return err
		}
		side = side[4*c.Len:]
	}
	if len(side) != 0 {
		return errs.E("join", errs.Corrupt, "", fmt.Errorf("key %q: %d bytes too many", key, len(side)))
	}
	return nil
}

// Finish opens the channels of a partition to which no record came, so that every partition
// has the same files.
func (r *reducer) Finish(ctx context.Context, t mr.Task) error { return r.open(ctx, t) }
