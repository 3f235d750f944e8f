package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) attemptCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attempt < SPEC > MANIFEST",
		Short: "Run one attempt of a task by hand",
		Long: `Run one attempt of a task: its specification, as JSON, is standard input, and its manifest standard output. Workers
run attempts in the same way, so that one that has failed can be looked at.

Files go to the folder of the job's store that the specification calls "out", under names that are used once: give it
a new one to run an attempt again. Nothing of it counts for the job.`,
		Example: `  vista-mr attempt < spec.json > manifest.json`,
		Args:    cobra.NoArgs,
	}
	lib := ortFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		data, err := io.ReadAll(io.LimitReader(a.Stdin, run.MaxSpec+1))
		if err != nil {
			return err
		}
		spec, err := run.ParseSpec(data)
		if err != nil {
			return err
		}
		var m *mr.Manifest
		if m, err = run.Attempt(cmd.Context(), spec, run.Options{Log: a.logger(a.Stderr), ORTLib: *lib}); err != nil {
			return err
		}
		return json.NewEncoder(a.out).Encode(m)
	}
	return cmd
}
