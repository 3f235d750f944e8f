package join

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// MatchParams says what the map-side join after inference does: it keeps, of channels that
// were computed for all images, the records whose key has a row.
type MatchParams struct {
	Table    string   `json:"table"`            // the broadcast input
	Channels []string `json:"channels"`         // inputs of the same names, side by side
	Failed   string   `json:"failed,omitempty"` // input of images that cannot be used
	Required bool     `json:"required,omitempty"`
	Repeat   bool     `json:"repeat,omitempty"`
	Store    bool     `json:"raw,omitempty"`
	Base     bool     `json:"base,omitempty"`
}

func match(ctx context.Context, t mr.Task, p *MatchParams) error {
	table, err := extract.OpenTable(ctx, t, p.Table)
	if err != nil {
		return err
	}
	a := account{required: p.Required, repeat: p.Repeat}
	m := &matcher{p: p, t: t}
	if err := m.open(ctx); err != nil {
		return err
	}
	defer m.stop()
	for m.next() {
		key := m.records[0].Key
		row, ok := table.Lookup(key)
		if !ok {
			if err := a.imageWithoutRow(ctx, t, key, table.Aside(key)); err != nil {
				return err
			}
			continue
		}
		if err := m.write(row); err != nil {
			return err
		}
	}
	if m.err != nil {
		return m.err
	}
	if p.Failed == "" {
		return nil
	}
	return failed(ctx, t, table, p, a)
}

// failed accounts for images that cannot be used, and passes those on that have a row, so
// that the row is not taken for one without an image.
func failed(ctx context.Context, t mr.Task, table *extract.Table, p *MatchParams, a account) error {
	out, err := t.Part(ctx, extract.Failed, mr.PartOptions{})
	if err != nil {
		return err
	}
	for r, err := range t.Records(ctx, p.Failed) {
		if err != nil {
			return err
		}
		o, err := extract.SplitOutcome(r.Value)
		if err != nil {
			return errs.E("match", errs.Corrupt, "", fmt.Errorf("key %q: %w", r.Key, err))
		}
		if _, ok := table.Lookup(r.Key); !ok {
			if !o.None { // the record has other images, and is accounted for with those
				continue
			}
			if err := a.imageWithoutRow(ctx, t, r.Key, table.Aside(r.Key)); err != nil {
				return err
			}
			continue
		}
		if err := a.unusable(ctx, t, o.Bad); err != nil {
			return err
		}
		if err := out.Append(r.Key, r.Value); err != nil {
			return err
		}
	}
	return nil
}

// matcher walks the channels side by side.
type matcher struct {
	p       *MatchParams
	t       mr.Task
	pull    []func() (mr.Record, error, bool)
	stops   []func()
	records []mr.Record
	parts   []mr.PartWriter
	base    mr.PartWriter
	err     error
}

func (m *matcher) open(ctx context.Context) (err error) {
	o := mr.PartOptions{Raw: m.p.Store}
	for _, ch := range m.p.Channels {
		part, err := m.t.Part(ctx, ch, o)
		if err != nil {
			return err
		}
		m.parts = append(m.parts, part)
		next, stop := iter.Pull2(m.t.Records(ctx, ch))
		m.pull, m.stops = append(m.pull, next), append(m.stops, stop)
	}
	m.records = make([]mr.Record, len(m.pull))
	if m.p.Base {
		m.base, err = m.t.Part(ctx, extract.Base, o)
	}
	return err
}

func (m *matcher) stop() {
	for _, s := range m.stops {
		s()
	}
}

// next takes one record of each channel, which must all have the same key.
func (m *matcher) next() bool {
	for i, pull := range m.pull {
		r, err, ok := pull()
		switch {
		case err != nil:
			m.err = err
			return false
		case !ok && i == 0:
			return false
		case !ok || i > 0 && !bytes.Equal(r.Key, m.records[0].Key):
			m.err = errs.E("match", errs.Internal, "", fmt.Errorf("channel %s is not in step with %s", m.p.Channels[i], m.p.Channels[0]))
			return false
		}
		m.records[i] = r
	}
	return true
}

func (m *matcher) write(row []byte) error {
	if !m.p.Repeat {
		m.t.Count("matched", 1)
	}
	if m.base != nil {
		if err := m.base.Append(m.records[0].Key, row); err != nil {
			return err
		}
	}
	for i, part := range m.parts {
		if err := part.Append(m.records[i].Key, m.records[i].Value); err != nil {
			return err
		}
	}
	return nil
}

// UnmatchedParams says what the kind does that accounts for rows to which a map-side join
// found no image. It runs as one task.
type UnmatchedParams struct {
	Rows     string `json:"rows"`   // input: all rows
	Base     string `json:"base"`   // input: rows that were matched
	Failed   string `json:"failed"` // input: keys whose image cannot be used
	Required bool   `json:"required,omitempty"`
}

func unmatched(ctx context.Context, t mr.Task, p *UnmatchedParams) error {
	seen := map[[16]byte]struct{}{}
	for _, input := range []string{p.Base, p.Failed} {
		for r, err := range t.Records(ctx, input) {
			if err != nil {
				return err
			}
			sum := sha256.Sum256(r.Key)
			seen[[16]byte(sum[:16])] = struct{}{}
		}
	}
	a := account{required: p.Required}
	for r, err := range t.Records(ctx, p.Rows) {
		if err != nil {
			return err
		}
		if row.IsAside(r.Value) { // accounted for where the table was read
			continue
		}
		sum := sha256.Sum256(r.Key)
		if _, ok := seen[[16]byte(sum[:16])]; ok {
			continue
		}
		if err := a.rowWithoutImage(ctx, t, r.Key); err != nil {
			return err
		}
	}
	return nil
}
