package run

import (
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
)

// A plan reckons with keys and labels as long as the table's are; while labels are short, with what it always did.
func TestKeysAndLabelsAreAsLongAsTheyAre(t *testing.T) {
	const columns = 3
	for name, c := range map[string]struct {
		rows, keys, labels int64 // of all good rows
		row, key           int64
	}{
		"no table":     {0, 0, 0, 4*columns + 32, 0},
		"short labels": {10, 80, 210, 4*columns + 32, 8},
		"long labels":  {10, 80, 220, 4*columns + 33, 8},
		"longest":      {10, 40_960, 40_960, 4*columns + 4107, 4096},
		"rounded up":   {10, 81, 1001, 4*columns + 112, 9},
	} {
		s := &ingest.Surveyed{Encoding: table.Encoding{Good: c.rows, Columns: make([]table.Coding, columns)}, KeyText: c.keys, LabelText: c.labels}
		if got := together(&surveyed{Surveyed: s}, nil).stats; got.RowBytes != c.row || got.KeyBytes != c.key {
			t.Errorf("%s: rows of %d bytes with keys of %d, want %d and %d", name, got.RowBytes, got.KeyBytes, c.row, c.key)
		}
	}
	for _, label := range []int64{0, 1, 21, 22, 127, 128, 4096} {
		r := row.Row{Label: strings.Repeat("x", int(label)), X: make([]float32, columns)}
		if got, want := int64(len(r.Append(nil))), rowBytes(columns, label); got > want {
			t.Errorf("a row with a label of %d bytes takes %d, not %d", label, got, want)
		}
	}
}
