package ingest

import (
	"fmt"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Needs is what the rest of the job asks of the table's classes. The planner has checked it with those that it has
// found; the task, which finds them again, checks it before the images are touched.
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

// Check tells whether the job can come to its end with these classes.
func (n Needs) Check(classes []string) error {
	if len(classes) == 1 {
		return errs.E("table", errs.Invalid, "", &lr.OneClassError{Label: classes[0]})
	}
	if len(classes) > 2 && n.Kind == lr.LinearSVC {
		return errs.E("table", errs.Invalid, "", &lr.TwoClassesError{Classes: len(classes)})
	}
	if len(classes) > 2 && n.Metric == metrics.F1 {
		return &MetricError{Metric: n.Metric, Classes: len(classes)}
	}
	return n.Fit(len(classes))
}

// Fit tells whether there is memory for so many classes.
func (n Needs) Fit(classes int) error {
	for _, m := range n.Memory {
		if need := m.Needed(classes); need > m.Available {
			return errs.E("table", errs.Infeasible, "", &ClassesError{For: m.For, Classes: classes, Needed: need, Available: m.Available})
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
	of := "classes"
	if e.Classes == 1 {
		of = "class"
	}
	return fmt.Sprintf("metric %s is not defined for these rows (%d %s)", e.Metric, e.Classes, of)
}

// ErrorID is stable.
func (e *MetricError) ErrorID() string { return "E-METRIC" }

// Hint says what to do.
func (e *MetricError) Hint() string {
	return "set downstream.metric to accuracy, f1-macro or log-loss; f1 needs two classes, auc rows of at least two"
}

// ClassesError says that models of so many classes do not fit into what the plan has for them.
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

// Hint says what to change. The plan was made for the classes that the table had then, and fits with those.
func (e *ClassesError) Hint() string {
	return fmt.Sprintf("the table has other classes than when the job was planned: submit it again, and it is planned for these; %s needs %d MiB then, unless it is done in smaller pieces", e.For, mebibytes(e.Needed))
}
