package cli

import (
	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) submitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Run a job",
		Long: `Run the job of a job file in this process, on local cores. FILE "-" is standard input.

The verdict and the table of layers go to standard output, progress to standard error. A run that was
interrupted is taken up again by the same command.`,
		Example: `  vista-mr submit foods.yaml
  vista-mr submit foods.yaml --set cnn.layers=3 --set output=out/foods-3
  vista-mr submit foods.yaml -o json | jq -r .verdict.sentence`,
		Args: arguments(1, "FILE"),
	}
	sets := setFlag(cmd)
	format := a.outputFlag(cmd, "text", "json")
	lib := ortFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		job, err := a.loadJob(args[0], *sets)
		if err != nil {
			return err
		}
		sink, logs, end := a.reporter()
		defer end()
		summary, err := run.Submit(cmd.Context(), job, run.Options{Progress: sink, Log: a.logger(logs), ORTLib: *lib, Version: a.buildVersion()})
		end()
		if err != nil {
			return err
		}
		if *format == "json" {
			b, err := results.Marshal(summary)
			if err != nil {
				return err
			}
			_, err = a.out.Write(b)
			return err
		}
		if err := results.WriteText(a.out, summary); err != nil {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		dir := job.Output.LocalPath()
		a.note("report: " + run.OutputFile(job.Output, run.ResultsFile) + ", with models/ and more beside it")
		a.next("vista-mr results " + run.Quote(dir) + " -o csv")
		return nil
	}
	return cmd
}

// ortFlag gives a command the path of the ONNX Runtime library.
func ortFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("ort-lib", "", "ONNX Runtime `library`; default: $VISTA_MR_ORT_LIB, then the one beside this program")
}
