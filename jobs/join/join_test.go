package join

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// maker is a kind that runs a function as its only task.
func maker(name string, f func(ctx context.Context, t mr.Task) error) mr.Kind {
	return mr.Kind{Name: name, Map: func(json.RawMessage) (mr.Mapper, error) { return mr.MapperFunc(f), nil }}
}

// rows emits or writes the table's rows a to d.
func rows(ctx context.Context, t mr.Task) error {
	for _, k := range []string{"a", "b", "c", "d", "x", "e"} {
		value := []byte("row " + k)
		if k == "x" || k == "e" { // bad rows; x has an image
			value = row.Aside
		}
		if t.Spec().Partitions > 0 {
			if err := t.Emit(ctx, []byte(k), value); err != nil {
				return err
			}
		}
		part, err := t.Part(ctx, "rows", mr.PartOptions{})
		if err != nil {
			return err
		}
		if err := part.Append([]byte(k), value); err != nil {
			return err
		}
	}
	return nil
}

// story is the value of a record whose only image cannot be used.
func story(key string) []byte {
	b, err := extract.AppendOutcome(nil, []mr.BadRecord{{Key: key, Stage: "image", Cause: "truncated", Error: key + " is cut off"}}, true)
	if err != nil {
		panic(err)
	}
	return b
}

func params(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func counters(m map[mr.PhaseID]*mr.PhaseManifest, names ...string) (out []int64) {
	for _, n := range names {
		sum := int64(0)
		for _, p := range m {
			sum += p.Sum(n)
		}
		out = append(out, sum)
	}
	return out
}

var counted = []string{"matched", "bad", "bad.no-row", "bad.no-image", "bad.truncated", "left-out.row", "left-out.image", "left-out.aside"}

// Vectors of a, b and z (no row), a failed image c, no image d: through the shuffle.
func TestReduceSideJoinOfVectors(t *testing.T) {
	vectors := maker("vectors", func(ctx context.Context, t mr.Task) error {
		for _, k := range []string{"z", "x", "b", "a"} {
			v, err := extract.AppendOutcome(nil, nil, false)
			if err != nil {
				return err
			}
			if err := t.Emit(ctx, []byte(k), avro.AppendFloat32s(v, []float32{float32(k[0]), 2, 3})); err != nil {
				return err
			}
		}
		return t.Emit(ctx, []byte("c"), story("c"))
	})
	for _, c := range []struct {
		required, repeat bool
		want             []int64
	}{
		{true, false, []int64{2, 3, 1, 1, 1, 0, 0, 1}},
		{false, false, []int64{2, 1, 0, 0, 1, 1, 1, 1}},
		{true, true, []int64{0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		cl := mrtest.New(t, append(Kinds(), maker("rows", rows), vectors)...)
		m, err := cl.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
			{ID: "rows", Type: mr.MapPhase, Kind: "rows", Tasks: 1, Partitions: 3},
			{ID: "vectors", Type: mr.MapPhase, Kind: "vectors", Tasks: 1, Partitions: 3},
			{ID: "join", Type: mr.ReducePhase, Kind: JoinName, Tasks: 3, Inputs: []mr.Input{{Name: "rows", Phase: "rows", Mode: mr.Shuffled}, {Name: "vectors", Phase: "vectors", Mode: mr.Shuffled}},
				Params: params(t, Params{Required: c.required, Repeat: c.repeat, Base: !c.repeat, Columns: []Column{{"one", 1}, {"two", 2}}})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := counters(m, counted...); !slices.Equal(got, c.want) {
			t.Errorf("required %v, repeat %v: %v are %v, want %v", c.required, c.repeat, counted, got, c.want)
		}
		if one, two := cl.Sorted(t, m["join"], "one"), cl.Sorted(t, m["join"], "two"); len(one) != 2 || len(two) != 2 ||
			one[0] != "a="+string(avro.AppendFloat32s(nil, []float32{'a'})) || two[1] != "b="+string(avro.AppendFloat32s(nil, []float32{2, 3})) {
			t.Errorf("columns %q and %q", one, two)
		}
		if !c.repeat {
			if got := cl.Sorted(t, m["join"], extract.Base); !slices.Equal(got, []string{"a=row a", "b=row b"}) {
				t.Errorf("rows %q", got)
			}
		}
	}
}

// The images' bytes travel with their rows; a file that is too large or gone does not, and its row is not without image.
func TestImagesTravel(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"a.jpg": "image of a", "a.png": "another", "b.jpg": "more than ten bytes", "c.jpg": "is gone", "z.jpg": "image of z"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	x, err := images.Scan(t.Context(), dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open}), images.Spec{URI: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cl := mrtest.New(t, append(Kinds(), maker("rows", rows))...)
	splits, err := x.Write(t.Context(), cl.Store, "index", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "c.jpg")); err != nil {
		t.Fatal(err)
	}
	m, err := cl.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "rows", Type: mr.MapPhase, Kind: "rows", Tasks: 1, Partitions: 2},
		{ID: "load", Type: mr.MapPhase, Kind: LoadName, Splits: splits, Partitions: 2,
			Params: params(t, LoadParams{MaxBytes: 10})},
		{ID: "join", Type: mr.ReducePhase, Kind: JoinName, Tasks: 2, Params: params(t, Params{Required: true, Images: true}),
			Inputs: []mr.Input{{Name: "rows", Phase: "rows", Mode: mr.Shuffled}, {Name: "load", Phase: "load", Mode: mr.Shuffled}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"images", "bad.duplicate-key", "bad.too-large", "bad.missing", "bad.no-row", "bad.no-image"}
	if got := counters(m, names...); !slices.Equal(got, []int64{5, 1, 1, 1, 1, 1}) {
		t.Errorf("%v are %v", names, got)
	}
	got := cl.Sorted(t, m["join"], Joined)
	if len(got) != 1 {
		t.Fatalf("joined %q", got)
	}
	r, frames, err := extract.SplitJoined([]byte(strings.TrimPrefix(got[0], "a=")))
	if err != nil {
		t.Fatal(err)
	}
	img, rest, err := extract.CutFrame(frames)
	if err != nil || len(rest) != 0 || string(r) != "row a" || string(img) != "image of a" {
		t.Errorf("%q with %q, %v", r, img, err)
	}
}

// The map-side join behind the inference, and what accounts for rows that are left over.
func TestMatchAndUnmatched(t *testing.T) {
	infer := maker("infer", func(ctx context.Context, t mr.Task) error {
		for _, ch := range []string{"v", "w"} {
			part, err := t.Part(ctx, ch, mr.PartOptions{})
			if err != nil {
				return err
			}
			for _, k := range []string{"b", "x", "z", "a"} {
				if err := part.Append([]byte(k), []byte(ch+" "+k)); err != nil {
					return err
				}
			}
		}
		failed, err := t.Part(ctx, extract.Failed, mr.PartOptions{})
		for _, k := range []string{"c", "y"} {
			if err == nil {
				err = failed.Append([]byte(k), story(k))
			}
		}
		return err
	})
	for _, required := range []bool{true, false} {
		cl := mrtest.New(t, append(Kinds(), maker("rows", rows), infer)...)
		all := mr.Input{Name: "rows", Phase: "rows", Channel: "rows", Mode: mr.All}
		m, err := cl.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
			{ID: "rows", Type: mr.MapPhase, Kind: "rows", Tasks: 1},
			{ID: "infer", Type: mr.MapPhase, Kind: "infer", Tasks: 1},
			{ID: "match", Type: mr.MapPhase, Kind: MatchName, Tasks: 1, Params: params(t, MatchParams{Table: "rows", Channels: []string{"v", "w"}, Failed: extract.Failed, Required: required, Base: true}),
				Inputs: []mr.Input{all, {Name: "v", Phase: "infer", Channel: "v", Mode: mr.Same}, {Name: "w", Phase: "infer", Channel: "w", Mode: mr.Same}, {Name: extract.Failed, Phase: "infer", Channel: extract.Failed, Mode: mr.Same}}},
			{ID: "unmatched", Type: mr.MapPhase, Kind: UnmatchedName, Tasks: 1, Params: params(t, UnmatchedParams{Rows: "rows", Base: extract.Base, Failed: extract.Failed, Required: required}),
				Inputs: []mr.Input{all, {Name: extract.Base, Phase: "match", Channel: extract.Base, Mode: mr.All}, {Name: extract.Failed, Phase: "match", Channel: extract.Failed, Mode: mr.All}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool][]int64{true: {2, 4, 2, 1, 1, 0, 0, 1}, false: {2, 1, 0, 0, 1, 1, 2, 1}}[required]
		if got := counters(m, counted...); !slices.Equal(got, want) {
			t.Errorf("required %v: %v are %v, want %v", required, counted, got, want)
		}
		lines, err := cl.Records(t.Context(), m["match"], "w")
		if err != nil || !slices.Equal(lines, []string{"b=w b", "a=w a"}) {
			t.Errorf("matched %q, %v; want the order of the files", lines, err)
		}
	}
}

// Channels that do not tell of the same keys are a defect, not a wrong pairing.
func TestChannelsOutOfStep(t *testing.T) {
	infer := maker("infer", func(ctx context.Context, t mr.Task) error {
		for i, ch := range []string{"v", "w"} {
			part, err := t.Part(ctx, ch, mr.PartOptions{})
			if err == nil {
				err = part.Append(fmt.Appendf(nil, "%c", 'a'+i), nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	_, err := mrtest.New(t, append(Kinds(), maker("rows", rows), infer)...).Run(t.Context(), &mr.JobSpec{ID: "j", MaxAttempts: 1, Phases: []mr.PhaseSpec{
		{ID: "rows", Type: mr.MapPhase, Kind: "rows", Tasks: 1},
		{ID: "infer", Type: mr.MapPhase, Kind: "infer", Tasks: 1},
		{ID: "match", Type: mr.MapPhase, Kind: MatchName, Tasks: 1, Params: params(t, MatchParams{Table: "rows", Channels: []string{"v", "w"}}), Inputs: []mr.Input{
			{Name: "rows", Phase: "rows", Channel: "rows", Mode: mr.All}, {Name: "v", Phase: "infer", Channel: "v", Mode: mr.Same}, {Name: "w", Phase: "infer", Channel: "w", Mode: mr.Same}}},
	}})
	if !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "channel w is not in step with v") {
		t.Errorf("got %v", err)
	}
}
