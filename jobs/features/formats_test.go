package features

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// vector is the i-th record's.
func vector(i, dim int) []float32 {
	v := make([]float32, dim)
	for j := range v {
		if (i+j)%3 != 0 {
			v[j] = float32(i) + float32(j)/1000
		}
	}
	return v
}

func key(i int) string { return fmt.Sprintf("k%03d é", i) }

func want(i int) (label, split string) {
	return []string{"red", "blue"}[i%2], []string{"train", "test"}[i%3/2]
}

// source writes the inputs of the kind: rows, and the vectors of two layers, a task each half of them.
func source(records int, layers []Layer) mr.Kind {
	return mr.Kind{Name: "source", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			base, err := t.Part(ctx, extract.Base, mr.PartOptions{})
			if err != nil {
				return err
			}
			for i := t.Spec().Attempt.Task.Index; i < records; i += 2 {
				label, split := want(i)
				r := row.Row{Test: split == "test", Label: label, X: []float32{1, 2}}
				if err := base.Append([]byte(key(i)), r.Append(nil)); err != nil {
					return err
				}
				for _, l := range layers {
					p, err := t.Part(ctx, extract.Pooled(l.Name), mr.PartOptions{})
					if err != nil {
						return err
					}
					if err := extract.WriteVector(p, []byte(key(i)), vector(i, l.Dim)); err != nil {
						return err
					}
				}
			}
			return nil
		}), nil
	}}
}

// export runs the kind and returns the files of each layer.
func export(t *testing.T, records int, p Params) map[string][][]byte {
	t.Helper()
	params, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []mr.Input{{Name: BaseInput, Phase: "source", Channel: extract.Base, Mode: mr.Same}}
	for _, l := range p.Layers {
		inputs = append(inputs, mr.Input{Name: l.Name, Phase: "source", Channel: extract.Pooled(l.Name), Mode: mr.Same})
	}
	c := mrtest.New(t, source(records, p.Layers), Kind())
	phases, err := c.Run(t.Context(), &mr.JobSpec{ID: "job", Phases: []mr.PhaseSpec{
		{ID: "source", Type: mr.MapPhase, Kind: "source", Tasks: 2},
		{ID: "features", Type: mr.MapPhase, Kind: Name, Tasks: 2, Inputs: inputs, Params: params},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][][]byte{}
	for _, l := range p.Layers {
		rows := int64(0)
		for _, f := range phases["features"].Files(Channel(l.Name)) {
			if !strings.HasSuffix(string(f.Path), "."+p.Format) {
				t.Errorf("a file is called %s", f.Path)
			}
			rows += f.Rows
			b, err := dfs.ReadFile(t.Context(), c.Store, f.Path, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(b)) != f.Bytes {
				t.Errorf("%s has %d bytes, its manifest says %d", f.Path, len(b), f.Bytes)
			}
			out[l.Name] = append(out[l.Name], b)
		}
		if rows != int64(records) {
			t.Errorf("the manifests count %d rows, want %d", rows, records)
		}
	}
	return out
}

func check(t *testing.T, i, dim int, id, label, split string, v []float32) {
	t.Helper()
	wantLabel, wantSplit := want(i)
	if id != key(i) || label != wantLabel || split != wantSplit || !slices.Equal(v, vector(i, dim)) {
		t.Errorf("record %d is %q, %q, %q with %d values; want %q, %q, %q", i, id, label, split, len(v), key(i), wantLabel, wantSplit)
	}
}

func TestBothFormatsHoldTheSameRecords(t *testing.T) {
	const records = 41
	meta := map[string]string{"vista.pool": "none", "vista.networkDigest": "abc"}
	layers := []Layer{{"conv/1", 9, meta}, {"fc", 2, meta}}
	files := export(t, records, Params{Layers: layers, Format: Avro})
	for _, l := range layers {
		for task, b := range files[l.Name] {
			in, err := goavro.NewOCFReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if m := in.MetaData(); string(m["vista.layer"]) != l.Name || string(m["vista.networkDigest"]) != "abc" {
				t.Errorf("metadata %q", m)
			}
			at := 0
			for ; in.Scan(); at++ {
				rec, err := in.Read()
				if err != nil {
					t.Fatal(err)
				}
				m := rec.(map[string]any)
				var v []float32
				for _, x := range m["features"].([]any) {
					v = append(v, x.(float32))
				}
				check(t, task+2*at, l.Dim, m["id"].(string), m["label"].(string), m["split"].(string), v)
			}
		}
	}
	files = export(t, records, Params{Layers: layers, Format: Parquet})
	for _, l := range layers {
		for task, b := range files[l.Name] {
			f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range map[string]string{"vista.layer": l.Name, "vista.dim": fmt.Sprint(l.Dim), "vista.pool": "none", "vista.networkDigest": "abc"} {
				if got, ok := f.Lookup(k); !ok || got != v {
					t.Errorf("metadata %s is %q, want %q", k, got, v)
				}
			}
			const schema = "required binary id (STRING)"
			if got := f.Schema().String(); !strings.Contains(got, schema) || !strings.Contains(got, "required group features (LIST)") || !strings.Contains(got, "required float element") {
				t.Errorf("schema %s", got)
			}
			rows, err := parquet.Read[feature](bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			for at, r := range rows {
				check(t, task+2*at, l.Dim, r.ID, r.Label, r.Split, r.Features)
			}
		}
	}
}

// memory takes a file's bytes.
type memory struct {
	bytes.Buffer
	rows int64
}

func (m *memory) SetRows(n int64) { m.rows = n }

// A row group ends by size, so that memory does not depend on the number of rows; the same rows give the
// same bytes.
func TestRowGroupsAreBounded(t *testing.T) {
	const records, dim, limit = 30, 1000, 40_000 // 4 KB a record
	meta := map[string]string{}
	for i := range 20 {
		meta[fmt.Sprintf("key%d", i)] = "value"
	}
	var files [3]memory
	for k := range files {
		s := newParquetSink(&files[k], meta, limit)
		for i := range records {
			label, split := want(i)
			if err := s.record([]byte(key(i)), label, split, vector(i, dim)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(files[k].Bytes(), files[0].Bytes()) || files[k].rows != records {
			t.Errorf("file %d of %d rows differs from the first", k, files[k].rows)
		}
	}
	in := bytes.NewReader(files[0].Bytes())
	f, err := parquet.OpenFile(in, in.Size())
	if err != nil {
		t.Fatal(err)
	}
	var groups []int64
	for _, g := range f.RowGroups() {
		groups = append(groups, g.NumRows())
	}
	if !slices.Equal(groups, []int64{10, 10, 10}) {
		t.Errorf("row groups of %v rows", groups)
	}
	rows, err := parquet.Read[feature](in, in.Size())
	if err != nil || len(rows) != records {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		check(t, i, dim, r.ID, r.Label, r.Split, r.Features)
	}
}

func TestUnknownFormatsAreRefused(t *testing.T) {
	if _, err := Kind().Map(json.RawMessage(`{"layers":[],"format":"csv"}`)); err == nil {
		t.Error("csv was accepted")
	}
}

func TestNoRowsAreAFileToo(t *testing.T) {
	for _, b := range export(t, 0, Params{Layers: []Layer{{Name: "fc", Dim: 2}}, Format: Parquet})["fc"] {
		f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
		if err != nil || f.NumRows() != 0 {
			t.Errorf("%v, %v", f, err)
		}
	}
}
