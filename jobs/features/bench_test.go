package features

import (
	"io"
	"testing"

	"github.com/vista-mr/vista-mr/mr/avro"
)

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) SetRows(int64)               {}

// BenchmarkRecord is one record of 8192 values, as ResNet50's conv5 layers have pooled.
func BenchmarkRecord(b *testing.B) {
	l := Layer{Name: "conv", Dim: 8192}
	v := vector(7, l.Dim)
	b.Run("format=avro", func(b *testing.B) {
		w, err := avro.NewWriter(io.Discard, avro.WriterOptions{Schema: avro.FeatureSchema, Codec: avro.Snappy})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(4 * l.Dim))
		b.ReportAllocs()
		for b.Loop() {
			if err := w.AppendFunc(func(dst []byte) []byte { return avro.AppendFeature(dst, "id", "1", "train", v) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("format=parquet", func(b *testing.B) {
		s := newParquetSink(discard{}, nil, rowGroupBytes)
		b.SetBytes(int64(4 * l.Dim))
		b.ReportAllocs()
		for b.Loop() {
			if err := s.record([]byte("id"), "1", "train", v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
