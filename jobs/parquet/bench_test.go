package parquet

import (
	"bytes"
	"math/rand/v2"
	"testing"

	pq "github.com/parquet-go/parquet-go"
)

// BenchmarkRead reads every type in every encoding, by rows.
func BenchmarkRead(b *testing.B) {
	const rows = 5000
	cols := columns()
	data, _ := file(b, rand.New(rand.NewPCG(7, 7)), cols, rows, &pq.Snappy, 1)
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			b.Fatal(err)
		}
		all := make([]int, len(f.Columns))
		for i := range all {
			all[i] = i
		}
		r, err := f.Read(all)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for r.Next() {
			n++
		}
		if n != rows || r.Err() != nil {
			b.Fatal(n, r.Err())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows*len(cols)), "ns/value")
}
