package results

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// Names that stand for the baselines where a table has a column of layers. A job refuses layers of these names.
const (
	MajorityRow   = "(majority)"
	StructuredRow = "(structured)"
)

// Row is one number of metrics.csv.
type Row struct {
	Layer      string  // layer, MajorityRow or StructuredRow
	Fold       string  // "test", "train", or the number of a fold
	Reg        float64 // hyper-parameters of the model measured
	ElasticNet float64
	Metric     string
	Value      float64
}

// WriteMetrics writes metrics.csv: header and one row per number, in the order given, numbers in their
// shortest exact form. When a grid varies elasticNet, without which rows could not be told apart, a last
// column elasticNet follows; the first five columns are always the same.
func WriteMetrics(w io.Writer, rows []Row) error {
	values := map[float64]bool{}
	for _, r := range rows {
		if r.Layer != MajorityRow { // it has no hyper-parameters
			values[r.ElasticNet] = true
		}
	}
	varies := len(values) > 1
	c := csv.NewWriter(w)
	record := []string{"layer", "fold", "reg", "metric", "value"}
	if varies {
		record = append(record, "elasticNet")
	}
	if err := c.Write(record); err != nil {
		return fmt.Errorf("metrics.csv: %w", err)
	}
	for _, r := range rows {
		record = append(record[:0], r.Layer, r.Fold, number(r.Reg), r.Metric, number(r.Value))
		if varies {
			record = append(record, number(r.ElasticNet))
		}
		if err := c.Write(record); err != nil {
			return fmt.Errorf("metrics.csv: %w", err)
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("metrics.csv: %w", err)
	}
	return nil
}

// WriteCSV writes the summary's metrics with their intervals: layer,metric,value,low,high.
func WriteCSV(w io.Writer, s *Summary) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"layer", "metric", "value", "low", "high"}); err != nil {
		return err
	}
	for _, l := range s.entries() {
		for _, name := range MetricNames() {
			if m, ok := l.Metrics[name]; ok {
				if err := c.Write([]string{l.Name, name, number(m.Value), number(m.Low), number(m.High)}); err != nil {
					return err
				}
			}
		}
	}
	c.Flush()
	return c.Error()
}

// entries lists the layers and after them the baselines.
func (s *Summary) entries() []Layer {
	list := append([]Layer(nil), s.Layers...)
	if b := s.Baselines.Structured; b.Metrics != nil {
		list = append(list, Layer{Name: StructuredRow, Dim: b.Dim, Metrics: b.Metrics, Seconds: b.Seconds})
	}
	if b := s.Baselines.Majority; b.Metrics != nil {
		list = append(list, Layer{Name: MajorityRow, Dim: b.Dim, Metrics: b.Metrics})
	}
	return list
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
