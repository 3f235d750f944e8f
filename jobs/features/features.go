// Package features is the map kind that writes the features that a user keeps: one Avro
// container file for each layer and partition, readable by any Avro library.
//
// Invariant: every file has the same records in the same order as the partition's base rows:
// id, label, split and the layer's own vector, without structured columns (the contract's
// section 5).
package features

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"

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

// Params says which layers are written.
type Params struct {
	Layers []string `json:"layers"`
}

// Channel is where a layer's features go.
func Channel(layer string) string { return "features/" + layer }

// Kind is what the registry holds.
func Kind() mr.Kind {
	return mr.Kind{Name: Name, Map: func(params json.RawMessage) (mr.Mapper, error) {
		p, err := mr.Decode[Params](params)
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			for _, l := range p.Layers {
				if err := write(ctx, t, l); err != nil {
					return err
				}
			}
			return nil
		}), err
	}}
}

func write(ctx context.Context, t mr.Task, layer string) error {
	part, err := t.Part(ctx, Channel(layer), mr.PartOptions{Schema: avro.FeatureSchema, Meta: map[string]string{"vista.layer": layer}})
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(t.Records(ctx, layer))
	defer stop()
	var r row.Row
	var v []float32
	for base, err := range t.Records(ctx, BaseInput) {
		if err != nil {
			return err
		}
		rec, err, ok := next()
		if err != nil {
			return err
		}
		if !ok || !bytes.Equal(rec.Key, base.Key) {
			return errs.E("features", errs.Internal, "", fmt.Errorf("layer %s is not in step with the rows at key %q", layer, base.Key))
		}
		if err := r.Decode(base.Value); err != nil {
			return errs.E("features", errs.Corrupt, "", err)
		}
		if v, err = extract.ReadVector(v, rec.Value); err != nil {
			return errs.E("features", errs.Corrupt, "", err)
		}
		split := "train"
		if r.Test {
			split = "test"
		}
		err = part.AppendFunc(func(dst []byte) []byte { return avro.AppendFeature(dst, string(base.Key), r.Label, split, v) })
		if err != nil {
			return err
		}
	}
	return nil
}
