package features

import (
	"context"

	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// rowGroupBytes is what a row group holds before compression, give or take a record: large enough to be
// read at speed, small enough to be held by every slot.
const rowGroupBytes = 16 << 20

// feature is a row of a Parquet file. Nothing in it is optional; features is a list in three levels, as
// the format defines it. Labels and splits, of which there are few, go through dictionaries.
type feature struct {
	ID       string    `parquet:"id"`
	Label    string    `parquet:"label,dict"`
	Split    string    `parquet:"split,dict"`
	Features []float32 `parquet:"features,list"`
}

// parquetSink writes a Parquet file.
type parquetSink struct {
	file  mr.FileWriter
	w     *parquet.GenericWriter[feature]
	row   [1]feature
	limit int // bytes of a row group, before compression
	group int // bytes in this one
	rows  int64
}

func newParquet(ctx context.Context, t mr.Task, l Layer, meta map[string]string) (sink, error) {
	file, err := t.File(ctx, Channel(l.Name), ".parquet")
	if err != nil {
		return nil, err
	}
	return newParquetSink(file, meta, rowGroupBytes), nil
}

func newParquetSink(file mr.FileWriter, meta map[string]string, limit int) *parquetSink {
	options := []parquet.WriterOption{
		parquet.Compression(&parquet.Snappy),
		parquet.DataPageVersion(1), // every reader knows it
		parquet.CreatedBy("vista-mr", "1", "1"),
	}
	for k, v := range meta {
		options = append(options, parquet.KeyValueMetadata(k, v)) // the writer sorts them
	}
	return &parquetSink{file: file, w: parquet.NewGenericWriter[feature](file, options...), limit: limit}
}

func (s *parquetSink) record(id []byte, label, split string, v []float32) error {
	s.row[0] = feature{string(id), label, split, v}
	if _, err := s.w.Write(s.row[:]); err != nil {
		return errs.E("parquet", errs.KindOf(err), "", err)
	}
	s.rows++
	if s.group += len(id) + len(label) + len(split) + 4*len(v); s.group < s.limit {
		return nil
	}
	s.group = 0
	if err := s.w.Flush(); err != nil {
		return errs.E("parquet", errs.KindOf(err), "", err)
	}
	return nil
}

func (s *parquetSink) close() error {
	if err := s.w.Close(); err != nil {
		return errs.E("parquet", errs.KindOf(err), "", err)
	}
	s.file.SetRows(s.rows)
	return nil
}
