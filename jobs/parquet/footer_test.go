package parquet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Each column has the names of its groups in its own: one that is long, above many, would fill the memory.
func TestNamesOfGroups(t *testing.T) {
	for _, c := range []struct {
		group, columns int
		refused        bool
	}{{maxName - 6, 1000, false}, {maxName, 1, true}, {600, 100_000, false}, {600, maxColumns + 1, true}, {700, 100_000, true}} {
		schema := []format.SchemaElement{{Name: "root", NumChildren: thrift.New(int32(1))}, {Name: strings.Repeat("g", c.group), NumChildren: thrift.New(int32(c.columns))}}
		for i := range c.columns {
			schema = append(schema, format.SchemaElement{Name: fmt.Sprintf("%05d", i), Type: thrift.New(format.Int32)})
		}
		got, err := columnsOf(schema)
		if errs.Is(err, errs.Invalid) != c.refused || err == nil && len(got) != c.columns {
			t.Errorf("%+v: %d columns, %v", c, len(got), err)
		}
	}
}
