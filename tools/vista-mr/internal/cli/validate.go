package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) validateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a job file and its inputs, run nothing",
		Long: `Check a job file, and then what it names: table header, images, weights, layers, output folder and the
ONNX Runtime library. A network of your own (an ONNX file) is tried on a few images of noise. All problems are
reported at once; no job is run and nothing is written. The exit code is the one that submit would end with: 3 for
what the file or its inputs lack, 4 for a plan that does not fit, 5 for a job that must fail on what the table and the
list of images say, such as one class only or too many rows without image. Warnings, such as of images in a sample that
cannot be used, change no exit code. FILE "-" is standard input.`,
		Example: `  vista-mr validate foods.yaml
  vista-mr validate foods.yaml --set table.label=cuisine
  vista-mr validate foods.yaml -o json | jq .origins`,
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
		checks, err := run.Validate(cmd.Context(), job, run.Options{ORTLib: *lib})
		if err != nil {
			return err
		}
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int           `json:"schemaVersion"`
				Job           *conf.Job     `json:"job"`
				Digest        string        `json:"digest"`
				Origins       []conf.Origin `json:"origins"`
				Checks        []run.Check   `json:"checks"`
			}{1, job, job.Digest(), job.Origins(), checks})
		}
		for _, c := range checks {
			state := "ok  "
			if c.Warning {
				state = "warning "
			}
			fmt.Fprintf(a.out, "%s%-8s %s\n", state, c.Name, results.Visible(c.Detail))
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		a.next("vista-mr submit " + conf.Quote(args[0]))
		return nil
	}
	return cmd
}
