// Package conf defines the job file: its keys, their types, ranges, defaults and meaning, and a
// reader that refuses everything else with the place and the nearest correct spelling.
//
// Invariant: a *Job that Load returns is complete (every key has a value), well-formed (every value
// is of its type and in its range) and free of contradictions, and for every value Origins tells
// where it came from. Load reports all problems of a file at once, each with file:line:column.
//
// How a file is read:
//
//  1. YAML is parsed to nodes, which keep line and column. Several documents, anchors, aliases,
//     merge keys and explicit tags are refused: a job file is data, not a program.
//  2. Each --set path=value is written into the node tree, typed by the schema, and remembered.
//  3. The tree is walked along the JSON Schema in schema/job.schema.json, which is generated from
//     the Go types below (go test ./conf -update) and is the same file that editors get. What does
//     not fit is reported and dropped, so that the walk goes on.
//  4. The rest is decoded over Defaults, and rules between keys are checked (see check.go).
//
// Callers: tools/vista-mr, and through *Job everything that runs a job. The package opens no file, reads no
// clock and no environment, and does not know which formats, models or stores this build supports:
// that a key is well-formed says nothing about its target being there or being usable.
package conf
