package ingest

import (
	"fmt"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Needs is what the rest of the job asks of the table's classes, which nobody knows before the table is read. A job
// that must fail for them fails here, before the images are touched.
type Needs struct {
	Metric string   `json:"metric,omitempty"` // that decides; "": any
	Kind   string   `json:"kind,omitempty"`   // of the models; "": any
	Memory []Memory `json:"memory,omitempty"`
}

// Memory is what a later phase holds, as far as it depends on the number of classes.
type Memory struct {
	For       string `json:"for"`       // what is done there, in words
	Available int64  `json:"available"` // bytes
	Fixed     int64  `json:"fixed"`     // bytes that are held in any case
	PerClass  int64  `json:"perClass"`  // bytes for each class; two need as much as one
}

// Needed is what is held with so many classes.
func (m Memory) Needed(classes int) int64 {
	if classes <= 2 {
		classes = 1
	}
	return m.Fixed + m.PerClass*int64(classes)
}

func (n Needs) check(classes []string, rows int64) error {
	if len(classes) == 1 {
		return errs.E("table", errs.Invalid, "", fmt.Errorf("all rows have the label %q: %w", classes[0], &lr.OneClassError{Rows: rows}))
	}
	if len(classes) > 2 && n.Kind == lr.LinearSVC {
		return errs.E("table", errs.Invalid, "", &lr.TwoClassesError{Classes: len(classes)})
	}
	if len(classes) > 2 && n.Metric == metrics.F1 {
		return &MetricError{Metric: n.Metric, Classes: len(classes)}
	}
	for _, m := range n.Memory {
		if need := m.Needed(len(classes)); need > m.Available {
			return errs.E("table", errs.Infeasible, "", &ClassesError{For: m.For, Classes: len(classes), Needed: need, Available: m.Available})
		}
	}
	return nil
}

// MetricError says that the deciding metric is not defined for the data.
type MetricError struct {
	Metric  string
	Classes int
}

func (e *MetricError) Error() string {
	return fmt.Sprintf("metric %s is not defined for these rows (%d classes)", e.Metric, e.Classes)
}

// ErrorID is stable.
func (e *MetricError) ErrorID() string { return "E-METRIC" }

// Hint says what to do.
func (e *MetricError) Hint() string {
	return "set downstream.metric to accuracy, f1-macro or log-loss; f1 needs two classes, auc rows of at least two"
}

// ClassesError says that models of so many classes do not fit.
type ClassesError struct {
	For               string
	Classes           int
	Needed, Available int64 // bytes
}

func (e *ClassesError) Error() string {
	return fmt.Sprintf("the plan does not fit: %s with %d classes needs %d MiB, %d MiB is available", e.For, e.Classes, mebibytes(e.Needed), mebibytes(e.Available))
}

func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// ErrorID is that of every plan that does not fit.
func (e *ClassesError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change.
func (e *ClassesError) Hint() string {
	return fmt.Sprintf("set limits.memory to %d MiB or more, or choose layers with shorter vectors (cnn.pool), or a label with fewer classes", mebibytes(e.Needed))
}
