package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/export"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
)

// schemas are the published formats. Each is generated from the types of the package that owns it.
var schemas = []struct {
	name  string
	about string
	json  func() ([]byte, error)
}{
	{"job", "the job file", fixed(conf.JobSchema)},
	{"results", "results.json", fixed(results.Schema)},
	{"model", "models/LAYER.json", export.Schema},
	{"explain", "what explain -o json prints", fixed(explain.Schema)},
	{"events", "one line of events.jsonl", journal.Schema},
}

// fixed is a schema that is part of the program.
func fixed(schema func() []byte) func() ([]byte, error) {
	return func() ([]byte, error) { return schema(), nil }
}

func (a *app) schemaCmd() *cobra.Command {
	var names []string
	about := "Print the JSON Schema (draft-07) of one of the program's formats:\n"
	for _, s := range schemas {
		names = append(names, s.name)
		about += fmt.Sprintf("\n  %-8s %s", s.name, s.about)
	}
	return &cobra.Command{
		Use:   "schema [" + names[0] + "|...]",
		Short: "Print the JSON Schema of a format",
		Long:  about,
		Example: `  vista-mr schema > job.schema.json
  vista-mr schema results
  vista-mr schema job | jq '.properties.cnn'`,
		ValidArgs: names,
		Args:      arguments(0, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := names[0]
			if len(args) > 0 {
				name = args[0]
			}
			for _, s := range schemas {
				if s.name == name {
					b, err := s.json()
					if err == nil {
						_, err = a.out.Write(b)
					}
					return err
				}
			}
			return usageOf(cmd, "the format %v", &choiceError{name, names})
		},
	}
}
