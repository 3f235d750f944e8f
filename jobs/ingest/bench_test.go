package ingest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	pq "github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
)

// BenchmarkSurvey reads a table of 200 columns, as the planner does before every job.
func BenchmarkSurvey(b *testing.B) {
	const columns, rows = 200, 20_000
	dir := b.TempDir()
	rnd := rand.New(rand.NewPCG(1, 1))
	var text bytes.Buffer
	group := pq.Group{"id": pq.String(), "label": pq.Leaf(pq.Int32Type)}
	text.WriteString("id,label")
	for j := range columns {
		fmt.Fprintf(&text, ",f%03d", j)
		group[fmt.Sprintf("f%03d", j)] = pq.Compressed(pq.Optional(pq.Leaf(pq.DoubleType)), &pq.Snappy)
	}
	text.WriteString("\n")
	schema := pq.NewSchema("t", group)
	out, err := os.Create(filepath.Join(dir, "t.parquet"))
	if err != nil {
		b.Fatal(err)
	}
	w := pq.NewWriter(out, schema)
	row := make(pq.Row, columns+2)
	for i := range rows {
		fmt.Fprintf(&text, "r%06d,%d", i, i%2)
		for j := range columns {
			v := float64(float32(rnd.NormFloat64()))
			text.WriteByte(',')
			text.Write(strconv.AppendFloat(nil, v, 'g', 7, 64))
			row[j] = pq.DoubleValue(v).Level(0, 1, j) // columns of a group are sorted by name
		}
		text.WriteString("\n")
		row[columns] = pq.ByteArrayValue(fmt.Appendf(nil, "r%06d", i)).Level(0, 0, columns)
		row[columns+1] = pq.Int32Value(int32(i%2)).Level(0, 0, columns+1)
		if _, err := w.WriteRows([]pq.Row{row}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "t.csv"), text.Bytes(), 0o666); err != nil {
		b.Fatal(err)
	}
	fs := local.New(dir, true)
	for _, name := range []dfs.Path{"t.csv", "t.parquet"} {
		for _, missing := range []string{table.MissingBad, table.MissingMean} {
			b.Run(fmt.Sprintf("file=%s/missing=%s/rows=%d/columns=%d", name, missing, rows, columns), func(b *testing.B) {
				info, err := fs.Stat(b.Context(), name)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(info.Size)
				b.ReportAllocs()
				for b.Loop() {
					s, err := table.Inspect(b.Context(), fs, []dfs.Path{name}, table.Spec{Key: "id", Label: "label", Missing: missing})
					if err != nil {
						b.Fatal(err)
					}
					found, err := Survey(b.Context(), fs, []dfs.Path{name}, s, 32, 1, 0.2, math.MaxInt64)
					if err != nil || found.Encoding.Good != rows || found.Encoding.Width() != columns {
						b.Fatal(found, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/rows, "µs/row")
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapSys)/(1<<20), "MiB-heap")
			})
		}
	}
}
