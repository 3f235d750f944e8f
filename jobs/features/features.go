// Package features is the map kind that writes the features that a user keeps: one file for each
// layer and partition, an Avro container file or a Parquet file.
//
// Invariant: every file has the same records in the same order as the partition's base rows:
// id, label, split and the layer's own vector, without structured columns (the contract's
// section 5). The same rows give the same bytes.
//
// Memory: an Avro block or a Parquet row group (rowGroupBytes), whichever layer and however many
// rows.
package features

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strconv"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Name is the kind's name.
const Name = "features"

// BaseInput is the input of matched rows. The layers' inputs have the layers' names.
const BaseInput = "base"

// The formats.
const (
	Avro    = "avro" // the default
	Parquet = "parquet"
)

// Params says which layers are written and how.
type Params struct {
	Layers []Layer `json:"layers"`
	Format string  `json:"format,omitempty"`
}

// Layer is a layer with the length of its vector.
type Layer struct {
	Name string            `json:"name"`
	Dim  int               `json:"dim"`
	Meta map[string]string `json:"meta,omitempty"` // goes into its files' metadata
}

// meta is a file's metadata.
func (l Layer) meta() map[string]string {
	m := map[string]string{"vista.layer": l.Name, "vista.dim": strconv.Itoa(l.Dim)}
	maps.Copy(m, l.Meta)
	return m
}

// Channel is where a layer's features go.
func Channel(layer string) string { return "features/" + layer }

// Kind is what the registry holds.
func Kind() mr.Kind {
	return mr.Kind{Name: Name, Map: func(params json.RawMessage) (mr.Mapper, error) {
		p, err := mr.Decode[Params](params)
		if err == nil && p.Format != "" && p.Format != Avro && p.Format != Parquet {
			err = fmt.Errorf("features have the format %s or %s, not %q", Avro, Parquet, p.Format)
		}
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			for _, l := range p.Layers {
				if err := write(ctx, t, &p, l); err != nil {
					return err
				}
			}
			return nil
		}), err
	}}
}

// sink takes the records of one layer. Its arguments are valid until it returns.
type sink interface {
	record(id []byte, label, split string, v []float32) error
	close() error
}

func write(ctx context.Context, t mr.Task, p *Params, l Layer) error {
	var s sink
	var err error
	if p.Format == Parquet {
		s, err = newParquet(ctx, t, l, l.meta())
	} else {
		s, err = newAvro(ctx, t, l, l.meta())
	}
	if err != nil {
		return err
	}
	for rec, err := range records(ctx, t, l) {
		if err != nil {
			return err
		}
		if err := s.record(rec.id, rec.label, rec.split, rec.v); err != nil {
			return err
		}
	}
	return s.close()
}

// record is a row with one layer's vector.
type record struct {
	id           []byte
	label, split string
	v            []float32
}

// records walks the rows and the layer's vectors in step.
func records(ctx context.Context, t mr.Task, l Layer) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		next, stop := iter.Pull2(t.Records(ctx, l.Name))
		defer stop()
		fail := func(kind errs.Kind, err error) { yield(record{}, errs.E("features", kind, "", err)) }
		var r row.Row
		var v []float32
		for base, err := range t.Records(ctx, BaseInput) {
			if err != nil {
				yield(record{}, err)
				return
			}
			rec, err, ok := next()
			switch {
			case err != nil:
				yield(record{}, err)
				return
			case !ok || !bytes.Equal(rec.Key, base.Key):
				fail(errs.Internal, fmt.Errorf("layer %s is not in step with the rows at key %q", l.Name, base.Key))
				return
			}
			if err := r.Decode(base.Value); err != nil {
				fail(errs.Corrupt, err)
				return
			}
			if v, err = extract.ReadVector(v, rec.Value); err != nil || len(v) != l.Dim {
				fail(errs.Corrupt, fmt.Errorf("layer %s has %d values for %q, want %d", l.Name, len(v), base.Key, l.Dim))
				return
			}
			split := "train"
			if r.Test {
				split = "test"
			}
			if !yield(record{base.Key, r.Label, split, v}, nil) {
				return
			}
		}
		// A file is proven sound at its end.
		if rec, err, ok := next(); err != nil {
			yield(record{}, err)
		} else if ok {
			fail(errs.Internal, fmt.Errorf("layer %s has a record for %q, which is no row", l.Name, rec.Key))
		}
	}
}

// avroSink writes an Avro container file.
type avroSink struct{ part mr.PartWriter }

func newAvro(ctx context.Context, t mr.Task, l Layer, meta map[string]string) (sink, error) {
	part, err := t.Part(ctx, Channel(l.Name), mr.PartOptions{Schema: avro.FeatureSchema, Meta: meta})
	return avroSink{part}, err
}

func (s avroSink) record(id []byte, label, split string, v []float32) error {
	return s.part.AppendFunc(func(dst []byte) []byte { return avro.AppendFeature(dst, string(id), label, split, v) })
}

// close does nothing: the engine ends part files.
func (s avroSink) close() error { return nil }
