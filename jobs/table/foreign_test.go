package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// TestForeignFiles reads what other programs wrote: tools/goldens/tables.py made the files, and says
// what is in them.
func TestForeignFiles(t *testing.T) {
	dir := filepath.Join("testdata", "foreign")
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want []any
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pyarrow.parquet", "pyarrow-delta.parquet", "pyarrow-spark.parquet", "fastavro.avro"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fs := store(t, map[string]string{name: string(data)})
		s := inspect(t, fs, name, Spec{Missing: MissingMean, Features: []string{"price", "count", "weight", "ratio", "fresh", "day", "when"}, Categorical: []string{"brand"}})
		got, err := values(t, fs, s, dfs.Path(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// values are the rows as JSON has them.
func values(t *testing.T, fs dfs.FS, s *Schema, p dfs.Path) (out []any, err error) {
	t.Helper()
	for r, e := range Read(t.Context(), fs, []dfs.Path{p}, s) {
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		row := []any{r.Key, r.Label}
		for i, c := range r.Cells {
			switch {
			case c.Missing:
				row = append(row, nil)
			case s.Features[i].Categorical:
				row = append(row, string(c.Text))
			default:
				row = append(row, c.Number)
			}
		}
		out = append(out, row)
	}
	return out, err
}

// A damaged file of another program is an error or the same rows, never anything else.
func TestDamagedForeignFiles(t *testing.T) {
	for _, name := range []string{"pyarrow.parquet", "fastavro.avro"} {
		data, err := os.ReadFile(filepath.Join("testdata", "foreign", name))
		if err != nil {
			t.Fatal(err)
		}
		for cut := 0; cut < len(data); cut += 37 {
			bad := append(bytes.Clone(data[:cut]), data[min(cut+1, len(data)):]...) // a byte is lost
			fs := store(t, map[string]string{"f": string(bad)})
			s, err := Inspect(t.Context(), fs, []dfs.Path{"f"}, Spec{Key: "id", Label: "label", Missing: MissingMean})
			if err == nil {
				_, err = values(t, fs, s, "f")
			}
			if err == nil { // bytes of statistics and the like are not looked at
				continue
			}
			var says interface{ ErrorID() string }
			if !errors.As(err, &says) {
				t.Errorf("%s without byte %d: %v has no id", name, cut, err)
			}
		}
	}
}
