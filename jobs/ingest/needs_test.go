package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// read runs the kind over a table.
func read(t *testing.T, csv string, needs Needs) (*mrtest.Cluster, *mr.PhaseManifest, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "t.csv")
	if err := os.WriteFile(path, []byte(csv), 0o666); err != nil {
		t.Fatal(err)
	}
	fs, files := local.New(dir, true), []dfs.Path{"t.csv"}
	s, err := table.Inspect(t.Context(), fs, files, table.Spec{URI: path, Key: "id", Label: "label"})
	if err != nil {
		t.Fatal(err)
	}
	found, err := Survey(t.Context(), fs, files, s, most, 1, 0.5, math.MaxInt64)
	var label *LabelError
	if errors.As(err, &label) {
		return nil, nil, err
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(Params{Schema: *s, Encoding: found.Encoding, MaxCategories: most, Seed: 1, Test: 0.5, Part: true, Needs: needs})
	if err != nil {
		t.Fatal(err)
	}
	c := mrtest.New(t, Kind())
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "table", Type: mr.MapPhase, Kind: Name, Params: raw, Splits: []mr.Split{{Files: []mr.FileRange{{URI: path}}}}}}})
	return c, out["table"], err
}

func rows(labels ...string) string {
	var b strings.Builder
	b.WriteString("id,x,label\n")
	for i, l := range labels {
		fmt.Fprintf(&b, "k%03d,%d,%s\n", i, i, l)
	}
	return b.String()
}

// Every row is counted, and either passed on or set aside with its cause; of equal keys the first stays.
func TestEveryRowIsAccountedFor(t *testing.T) {
	c, m, err := read(t, "id,x,label\na,1,red\nb,2,blue\na,3,blue\n,4,red\nc,what,red\nd,5\n", Needs{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"rows": 6, "bad": 4, "bad.duplicate-key": 1} {
		if got := m.Sum(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	var keys []string
	for _, l := range c.Sorted(t, m, Rows) {
		key, value, _ := strings.Cut(l, "=")
		if row.IsAside([]byte(value)) {
			key += " aside"
		}
		keys = append(keys, key)
	}
	var v Value
	if err := json.Unmarshal(m.Tasks[0].Value, &v); err != nil || !slices.Equal(keys, []string{"a", "b", "c aside", "d aside"}) || v.Rows != 2 || !slices.Equal(v.Classes, []string{"blue", "red"}) {
		t.Errorf("rows %v, value %+v, %v", keys, v, err)
	}
	if got := m.Tasks[0].Bad[0]; got.Key != "a" || !strings.Contains(got.Error, "line 4") {
		t.Errorf("the duplicate is reported as %+v", got)
	}
}

// What cannot come to an end is refused when the table is read, once, with its id and what to do.
func TestNeeds(t *testing.T) {
	many := make([]string, maxClasses+1)
	for i := range many {
		many[i] = fmt.Sprint("label ", i)
	}
	memory := []Memory{{For: "training", Available: 100 << 20, Fixed: 40 << 20, PerClass: 20 << 20}}
	for name, c := range map[string]struct {
		labels []string
		needs  Needs
		id     string
		kind   errs.Kind
		text   string
	}{
		"classes that are none":  {many, Needs{}, "E-LABEL", errs.Invalid, "more than 1000"},
		"one class":              {[]string{"a", "a"}, Needs{}, "E-ONE-CLASS", errs.Invalid, `label "a"`},
		"f1 of three":            {[]string{"a", "b", "c"}, Needs{Metric: "f1"}, "E-METRIC", errs.Invalid, "3 classes"},
		"svc of three":           {[]string{"a", "b", "c"}, Needs{Kind: lr.LinearSVC}, "E-TWO-CLASSES", errs.Invalid, "the label has 3"},
		"svc of two":             {[]string{"a", "b"}, Needs{Kind: lr.LinearSVC}, "", 0, ""},
		"too many for memory":    {[]string{"a", "b", "c", "d"}, Needs{Memory: memory}, "E-INFEASIBLE", errs.Infeasible, "training with 4 classes needs 120 MiB, 100 MiB is available"},
		"three that fit exactly": {[]string{"a", "b", "c"}, Needs{Memory: memory, Metric: "auc"}, "", 0, ""},
		"two count as one":       {[]string{"a", "b"}, Needs{Memory: []Memory{{Available: 60 << 20, Fixed: 40 << 20, PerClass: 20 << 20}}, Metric: "f1"}, "", 0, ""},
	} {
		_, _, err := read(t, rows(c.labels...), c.needs)
		if c.id == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var e interface {
			ErrorID() string
			Hint() string
		}
		if !errors.As(err, &e) || e.ErrorID() != c.id || e.Hint() == "" || errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %s of kind %v with %q", name, err, c.id, c.kind, c.text)
		}
		if strings.Contains(fmt.Sprint(err), "failed 4 times") {
			t.Errorf("%s: it was tried again: %v", name, err)
		}
	}
}
