package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/paper"
)

// refusedError is that no plan fits, with what explain shows of it beside the cause.
type refusedError struct {
	error
	shown *explain.Refusal
}

func (e *refusedError) Unwrap() error { return e.error }

func (a *app) explainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "Show the plan that a job would run, and why",
		Long: `Show the plan that a job would run: what each phase is expected to cost, what memory is for, where each knob's value
comes from, every other plan with the number that sank it, and what would change the choice. The table, the list of
images and a few of them are read, and no weights; nothing is run or written. With --tracker the plan is made for that
tracker's workers.

Where no plan fits, what each needs is listed with the error; -o json gives it as numbers.

--analyze shows the plan of a finished run, and what it has measured beside what it was expected to cost before it ran: JOB is its
output folder or URI, or a tracker's job. A run of other networks, layers, rows, columns or images is refused; what else differs
is said.
--paper adds what the formulas of the Vista paper choose for its data set Foods on its cluster, as text or JSON.`,
		Example: `  vista-mr explain foods.yaml
  vista-mr explain foods.yaml --set plan.inference=lazy
  vista-mr explain foods.yaml --analyze out/foods
  vista-mr explain foods.yaml --format dot | dot -Tsvg > plan.svg`,
		Args: arguments(1, "FILE"),
	}
	sets := setFlag(cmd)
	at := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "text", "json", "dot")
	same := *cmd.Flags().Lookup("output").Value.(*choice)
	cmd.Flags().Var(&same, "format", "the same as --output")
	analyze := cmd.Flags().String("analyze", "", "output of a finished run to compare with, as `JOB`")
	withPaper := cmd.Flags().Bool("paper", false, "add the choices of the Vista paper's own formulas")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("format") {
			if cmd.Flags().Changed("output") && *format != same.value {
				return usageOf(cmd, "--output %s and --format %s contradict each other", *format, same.value)
			}
			*format = same.value
		}
		if *withPaper && *format == "dot" {
			return usageOf(cmd, "--paper adds a table, which a graph (dot) has no place for; leave one of them out, or take text or json")
		}
		job, err := a.loadJob(args[0], *sets)
		if err != nil {
			return err
		}
		var o run.Options
		c, err := a.client(at)
		if err != nil {
			return err
		}
		if c != nil {
			o.Engine = &cluster.Engine{Client: *c}
		}
		if *analyze != "" {
			if o.Analyze, err = a.outputOf(cmd, at, *analyze); err != nil {
				return err
			}
		}
		x, err := run.Explain(cmd.Context(), job, o)
		var no *vistaopt.InfeasibleError
		if errors.As(err, &no) {
			return &refusedError{err, explain.Refused(no)}
		}
		if err != nil {
			return err
		}
		if *withPaper {
			for _, f := range paper.Roster() {
				c, err := paper.Choose(f, paper.Foods, paper.Testbed)
				if err != nil {
					return err
				}
				x.Paper = append(x.Paper, *c)
			}
		}
		var out []byte
		switch *format {
		case "json":
			out, err = x.JSON()
		case "dot":
			out = x.DOT()
		default:
			out = x.Text()
		}
		if err != nil {
			return err
		}
		if _, err := a.out.Write(out); err != nil {
			return stdoutError(err)
		}
		return nil
	}
	return cmd
}
