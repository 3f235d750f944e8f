package join

import (
	"context"
	"fmt"
	"iter"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
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
	Volumes  bool     `json:"volumes,omitempty"` // the columns have one volume for each of the record's images
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
	aside := hasRow && row.IsAside(r.row)
	switch {
	case aside && !hasImage:
		return nil
	case !hasImage:
		return a.rowWithoutImage(ctx, t, key)
	case !hasRow || aside:
		return a.imageWithoutRow(ctx, t, key, aside)
	}
	side, err := extract.SplitOutcome(r.side)
	if err != nil {
		return errs.E("join", errs.Corrupt, "", fmt.Errorf("key %q: %w", key, err))
	}
	if err := a.unusable(ctx, t, side.Bad); err != nil || side.None {
		return err
	}
	if err := r.open(ctx, t); err != nil {
		return err
	}
	if !r.p.Images && !r.p.Repeat { // otherwise the image has yet to be decoded
		t.Count("matched", 1)
	}
	return r.write(key, side.Payload)
}

func (r *reducer) write(key, side []byte) error {
	if r.p.Images {
		return r.join.Append(key, extract.AppendJoined(nil, r.row, side))
	}
	if r.base != nil {
		if err := r.base.Append(key, r.row); err != nil {
			return err
		}
	}
	one := 0 // bytes for one image
	for _, c := range r.p.Columns {
		one += 4 * c.Len
	}
	times := 1
	if r.p.Volumes && one > 0 {
		times = len(side) / one
	}
	if len(side) != times*one || times == 0 {
		return errs.E("join", errs.Corrupt, "", fmt.Errorf("key %q: %d bytes for columns of %d", key, len(side), one))
	}
	for i, c := range r.p.Columns {
		n := 4 * c.Len * times
		if err := r.parts[i].Append(key, side[:n]); err != nil {
			return err
		}
		side = side[n:]
	}
	return nil
}

// Finish opens the channels of a partition to which no record came, so that every partition
// has the same files.
func (r *reducer) Finish(ctx context.Context, t mr.Task) error { return r.open(ctx, t) }
