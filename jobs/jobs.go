// Package jobs is what the engine runs for vista-mr: named kinds with parameters as data.
//
// Invariant: a kind reads its parameters and its task's inputs, and nothing else decides what it
// writes; so attempts can run anywhere and again.
//
// The kinds by package: ingest (the table), extract (CNN programs), join (load, join, match,
// unmatched), train (rounds), features (export), evaluate (verdict). Package vistaopt/compile
// puts them together; results holds what a user gets.
package jobs

import (
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/join"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/mr"
)

// Registry holds all kinds; CNN programs run on the given engine.
func Registry(e extract.Engine) (*mr.Registry, error) {
	kinds := append([]mr.Kind{ingest.Kind(), extract.Kind(e), train.Kind(), features.Kind(), evaluate.Kind()}, join.Kinds()...)
	return mr.NewRegistry(kinds...)
}
