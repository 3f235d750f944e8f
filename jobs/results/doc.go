// Package results defines what a job says about itself when it is done: the content of results.json
// and metrics.csv, the names of folders that carry a layer's name, and how both are shown as text.
//
// Invariant: what Marshal writes, Parse reads, and it satisfies Schema(); every number in it is
// finite, and the layer that the verdict names is among the layers. The keys are a published
// interface: keys are added, never renamed or given another meaning, while SchemaVersion stays.
//
// Callers: the job that produces the results, and everything that shows them (command line, pages,
// reports). The package computes no metric and takes no decision; it opens no file.
//
// Format of results.json: one JSON object, UTF-8, indented, schema/results.schema.json. Format of
// metrics.csv: header "layer,fold,reg,metric,value", comma, LF, one row per number; see WriteMetrics.
package results
