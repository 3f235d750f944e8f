package features

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// run exports a layer of three rows; key is the name of the second row's vector.
func run(t *testing.T, key string) (*mrtest.Cluster, *mr.PhaseManifest, error) {
	t.Helper()
	fill := mr.Kind{Name: "fill", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			base, err := t.Part(ctx, BaseInput, mr.PartOptions{})
			if err != nil {
				return err
			}
			vectors, err := t.Part(ctx, "v", mr.PartOptions{})
			if err != nil {
				return err
			}
			for i, k := range []string{"c", "a", "b"} {
				r := row.Row{Label: fmt.Sprint("l", i), X: []float32{9, 9}, Test: i == 1}
				if err := base.Append([]byte(k), r.Append(nil)); err != nil {
					return err
				}
				if i == 1 {
					k = key
				}
				if err := extract.WriteVector(vectors, []byte(k), []float32{float32(i), 0.5}); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	c := mrtest.New(t, fill, Kind())
	raw, err := json.Marshal(Params{Layers: []Layer{{Name: "/l", Dim: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Run(t.Context(), &mr.JobSpec{ID: "j", MaxAttempts: 1, Phases: []mr.PhaseSpec{
		{ID: "fill", Type: mr.MapPhase, Kind: "fill", Tasks: 1},
		{ID: "features", Type: mr.MapPhase, Kind: Name, Params: raw, Tasks: 1, Inputs: []mr.Input{
			{Name: BaseInput, Phase: "fill", Channel: BaseInput, Mode: mr.Same}, {Name: "/l", Phase: "fill", Channel: "v", Mode: mr.Same}}},
	}})
	return c, m["features"], err
}

// The file is read by a library that is not ours: rows in their order, with label and split, the layer's vector alone.
func TestFilesForOthers(t *testing.T) {
	c, m, err := run(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	files := m.Files(Channel("/l"))
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	data, err := dfs.ReadFile(t.Context(), c.Store, files[0].Path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	in, err := goavro.NewOCFReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for in.Scan() {
		rec, err := in.Read()
		if err != nil {
			t.Fatal(err)
		}
		r := rec.(map[string]any)
		got = append(got, fmt.Sprint(r["id"], r["label"], r["split"], r["features"]))
	}
	want := []string{"cl0train[0 0.5]", "al1test[1 0.5]", "bl2train[2 0.5]"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if layer := string(in.MetaData()["vista.layer"]); layer != "/l" {
		t.Errorf("the file says layer %q", layer)
	}
}

// A vector is never written beside another row's label.
func TestOutOfStep(t *testing.T) {
	_, _, err := run(t, "x")
	if !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), `not in step with the rows at key "a"`) {
		t.Errorf("got %v", err)
	}
}
