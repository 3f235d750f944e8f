package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) submitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Run a job",
		Long: `Run the job of a job file in this process, on local cores, or, with --tracker or $VISTA_MR_TRACKER, on that tracker's workers.
FILE "-" is standard input.

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
	at := addTrackerFlags(cmd)
	resume := cmd.Flags().Bool("resume", false, "only take an unfinished run up: fail where it would start anew, because job file or inputs have changed, or there is none")
	detach := cmd.Flags().Bool("detach", false, "with a tracker: print the job's id and do not wait for its end")
	priority := cmd.Flags().Int("priority", 0, "with a tracker: whose tasks come first where jobs share workers, the higher `number` first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := a.client(at)
		if err != nil {
			return err
		}
		id := a.Env(cluster.DriverVariable)
		if client != nil && id == "" {
			return a.submitTo(cmd.Context(), client, args[0], *sets, *format, *priority, *resume, *detach)
		}
		if *detach {
			return usageOf(cmd, "--detach needs a tracker: nobody else would run the job")
		}
		if client == nil && cmd.Flags().Changed("priority") {
			return usageOf(cmd, "--priority needs a tracker: without one, jobs share nothing")
		}
		job, err := a.loadJob(args[0], *sets)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		sink, logs, end := a.reporter()
		defer end()
		o := run.Options{Progress: sink, Log: a.logger(logs), ORTLib: *lib, Version: a.buildVersion(), Resume: *resume}
		if client != nil {
			var cancel context.CancelCauseFunc
			ctx, cancel = context.WithCancelCause(context.WithoutCancel(ctx))
			defer cancel(nil)
			defer context.AfterFunc(cmd.Context(), func() { cancel(client.WhyEnded(cmd.Context(), id)) })()
			cluster.EndWith(a.Stdin, cancel)
			tell := cluster.ProgressLines{W: a.Stderr}
			o.Patience, o.Again = driverPatience, a.Env(cluster.AgainVariable) != ""
			o.Progress, o.Engine = tell, &cluster.Engine{Client: *client, Job: id, Tell: tell, Log: o.Log}
		}
		summary, err := run.Submit(ctx, job, o)
		end()
		if err != nil {
			return err
		}
		return a.showSubmitted(job, summary, *format)
	}
	return cmd
}

// driverPatience is how long a driver waits for the one before it, whose tracker may be stopped: longer than that one waits for its
// tracker.
const driverPatience = 6 * time.Minute

// submitTo hands a job to a tracker, and follows it unless it is detached. An interrupt ends the following, not the job.
func (a *app) submitTo(ctx context.Context, c *cluster.Client, name string, sets []string, format string, priority int, resume, detach bool) error {
	job, r, err := a.request(name, sets)
	if err != nil {
		return err
	}
	r.Priority, r.Resume = priority, resume
	j, err := c.Submit(ctx, r)
	if err != nil {
		return err
	}
	if detach {
		if format == "json" {
			return a.printJSON(cluster.JobReply{SchemaVersion: 1, Job: j})
		}
		_, err := fmt.Fprintln(a.out, j.ID)
		return err
	}
	a.note("job: " + j.ID + " on " + c.URL)
	over, err := a.follow(ctx, c, j.ID, true)
	if err != nil {
		return err
	}
	if err := over.Job.Outcome(); err != nil {
		return err
	}
	_, summary, err := run.Results(ctx, job.Output.LocalPath())
	if err != nil {
		return a.showVerdict(over, format, err)
	}
	return a.showSubmitted(job, summary, format)
}

// showVerdict prints what the tracker says of a job that has ended well, where its results cannot be read from here, as from another machine
// than those that see its output: that is no failure of the job.
func (a *app) showVerdict(over cluster.JobReply, format string, why error) error {
	var err error
	if format == "json" {
		err = a.printJSON(over)
	} else {
		_, err = fmt.Fprintln(a.out, printable(over.Job.Verdict))
	}
	if err == nil {
		err = a.out.Flush()
	}
	if err != nil {
		return stdoutError(err)
	}
	a.note(fmt.Sprintf("the job has succeeded, and its results are in %s, which cannot be read from here: %s", printable(over.Job.Output), printable(why.Error())))
	return nil
}

// showSubmitted prints what a job has found out.
func (a *app) showSubmitted(job *conf.Job, summary *results.Summary, format string) error {
	if format == "json" {
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
	a.next("vista-mr results " + conf.Quote(dir) + " -o csv")
	return nil
}

// ortFlag gives a command the path of the ONNX Runtime library.
func ortFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("ort-lib", "", "ONNX Runtime `library`; default: $VISTA_MR_ORT_LIB, then the one beside this program")
}
