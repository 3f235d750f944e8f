// Package join holds the kinds that bring the two sides of a record together when the join is
// not done while images are read: load and join (reduce-side), match (map-side, after
// inference), and unmatched (what a map-side join leaves over).
//
// Invariant: every key that appears on either side is accounted for exactly once: written,
// set aside with its cause, or left out and counted where images are not required. A kind
// that runs for the second time over the same keys (params Repeat) writes the same records
// and accounts for nothing.
//
// Like package extract, it knows no plan. The sides of a reduce-side join are told apart by
// the input they come from: input 0 is the table, input 1 the images.
package join

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
)

// The kinds' names.
const (
	LoadName      = "load"
	JoinName      = "join"
	MatchName     = "match"
	UnmatchedName = "unmatched"
)

// Kinds is what the registry holds.
func Kinds() []mr.Kind {
	return []mr.Kind{
		{Name: LoadName, Map: func(params json.RawMessage) (mr.Mapper, error) {
			p, err := mr.Decode[LoadParams](params)
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return load(ctx, t, &p) }), err
		}},
		{Name: JoinName, Reduce: func(params json.RawMessage) (mr.Reducer, error) {
			p, err := mr.Decode[Params](params)
			return &reducer{p: &p}, err
		}},
		{Name: MatchName, Map: func(params json.RawMessage) (mr.Mapper, error) {
			p, err := mr.Decode[MatchParams](params)
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return match(ctx, t, &p) }), err
		}},
		{Name: UnmatchedName, Map: func(params json.RawMessage) (mr.Mapper, error) {
			p, err := mr.Decode[UnmatchedParams](params)
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return unmatched(ctx, t, &p) }), err
		}},
	}
}

// account says what becomes of keys that have one side only.
type account struct {
	required bool
	repeat   bool
}

func (a account) rowWithoutImage(ctx context.Context, t mr.Task, key []byte) error {
	return a.alone(ctx, t, "left-out.row", mr.BadRecord{Key: string(key), Stage: "join", Cause: "no-image",
		Error: fmt.Sprintf("row %q has no image", key)})
}

// imageWithoutRow accounts for an image without a good row. With aside the table has a row, which is accounted for itself.
func (a account) imageWithoutRow(ctx context.Context, t mr.Task, key []byte, aside bool) error {
	if aside {
		if !a.repeat {
			t.Count("left-out.aside", 1)
		}
		return nil
	}
	return a.alone(ctx, t, "left-out.image", mr.BadRecord{Key: string(key), Stage: "join", Cause: "no-row",
		Error: fmt.Sprintf("image %q has no row in the table", key)})
}

func (a account) alone(ctx context.Context, t mr.Task, counter string, b mr.BadRecord) error {
	switch {
	case a.repeat:
		return nil
	case a.required:
		return t.SetAside(ctx, b)
	default:
		t.Count(counter, 1)
		return nil
	}
}

// unusable sets aside images that failed before their row was known.
func (a account) unusable(ctx context.Context, t mr.Task, bad []mr.BadRecord) error {
	if a.repeat {
		return nil
	}
	for _, b := range bad {
		if err := t.SetAside(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
