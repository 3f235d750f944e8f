package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/synth"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) synthCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "synth foods|amazon OUT",
		Short: "Make a data set to try things with",
		Long: `Make a data set of the shape of the Vista paper's: OUT/table.csv and OUT/images/ID.jpg. Labels depend on the table and on
the images, so that neither side alone does as well as both. The same seed gives the same bytes; an interrupted
run is completed by the same command.

  foods   20,000 records, 130 structured features
  amazon  200,000 records, 200 structured features`,
		Example: `  vista-mr synth foods --records 200 data/foods
  vista-mr synth amazon data/amazon
  vista-mr synth foods --records 1000 --broken 5 data/damaged`,
		ValidArgs: []string{"foods", "amazon"},
		Args:      arguments(2, "foods|amazon", "OUT"),
	}
	records := cmd.Flags().Int("records", 0, "`number` of records; default: the paper's")
	seed := cmd.Flags().Uint64("seed", 1, "`number` that every random choice comes from")
	broken := cmd.Flags().Int("broken", 0, "`number` of images that are deliberately unreadable")
	format := a.outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		shape := args[0]
		if shape != "foods" && shape != "amazon" {
			return usageOf(cmd, "the shape %v", &choiceError{shape, []string{"foods", "amazon"}})
		}
		if *records < 0 || cmd.Flags().Changed("records") && *records == 0 {
			return usageOf(cmd, "--records must be at least 1; found %d", *records)
		}
		if *broken < 0 {
			return usageOf(cmd, "--broken must be at least 0; found %d", *broken)
		}
		sink, _, end := a.reporter()
		defer end()
		sum, err := synth.Generate(cmd.Context(), synth.Config{Shape: shape, Records: *records, Seed: *seed, Out: args[1], Broken: *broken}, func(done, total int) {
			sink.Update(progress.Update{Stage: "synth", Done: int64(done), Total: int64(total), Unit: "images"})
		})
		end()
		if err != nil {
			return synthError(args[1], err)
		}
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int `json:"schemaVersion"`
				synth.Summary
			}{1, sum})
		}
		_, err = a.out.WriteString(strings.Join([]string{
			"table   " + sum.Table,
			"images  " + sum.Images,
			"records " + results.Count(int64(sum.Records)) + ", " + results.Count(int64(sum.Positive)) + " with label 1, " + results.Count(int64(sum.Features)) + " features",
		}, "\n") + "\n")
		if err != nil {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		a.next("vista-mr init FILE, with table.uri: " + sum.Table + " and images.uri: " + sum.Images)
		return nil
	}
	return cmd
}

// synthError puts what synth reports into its class: a bad number is a matter of flags, a folder that
// is not to be touched or cannot be written is not, and anything else went wrong while writing.
func synthError(out string, err error) error {
	switch describe(err).ID {
	case "E-SYNTH-CONFIG":
		return exit.As(exit.Usage, err)
	case "E-OUTPUT-NOT-EMPTY":
		return exit.As(exit.Invalid, err)
	}
	return exit.As(exit.JobFailed, run.BadPlace(out, err))
}
