package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// request makes what a tracker is asked to run: the job file as it is, with overrides that make its paths good elsewhere.
func (a *app) request(name string, sets []string) (*conf.Job, cluster.Request, error) {
	data, err := a.readInput(name)
	if err != nil {
		return nil, cluster.Request{}, err
	}
	job, err := a.parseJob(name, data, sets)
	if err != nil {
		return nil, cluster.Request{}, err
	}
	r := cluster.Request{Name: job.Name, File: name, Text: string(data), Sets: append([]string(nil), sets...)}
	if u, err := user.Current(); err == nil {
		r.User = u.Username
	}
	rooted, paths, err := run.Rooted(job)
	if err != nil {
		return nil, r, exit.As(exit.Invalid, err)
	}
	r.Sets = append(r.Sets, paths...)
	job.Output = rooted.Output
	r.Output = string(job.Output)
	return job, r, nil
}

// follow shows a job's progress until it is over. An interrupt ends the following, and the failure says that the job goes on. The tracker is
// known to be there if it has just answered.
func (a *app) follow(ctx context.Context, c *cluster.Client, id string, known bool) (cluster.JobReply, error) {
	sink, logs, end := a.reporter()
	defer end()
	told := map[string]progress.Update{}
	var last cluster.JobReply
	see := func(r cluster.JobReply) {
		last = r
		for _, u := range r.Job.Progress {
			if told[u.Stage] != u {
				told[u.Stage] = u
				sink.Update(u)
			}
		}
	}
	j, err := c.Follow(ctx, id, cluster.Following{Known: known, See: see, Away: func(err error) {
		_, _ = fmt.Fprintf(logs, "%s; trying again for %v\n", printable(err.Error()), cluster.Patience) // nowhere left to report to
	}})
	var i exit.Interrupted
	if err != nil && errors.As(context.Cause(ctx), &i) {
		i.Next = fmt.Sprintf("the job goes on: vista-mr wait %s follows it further, vista-mr kill %[1]s ends it", j.ID)
		err = i
	}
	last.Job = j
	return last, err
}

// asks makes a command ask a tracker for something, and print it as JSON or show it.
func asks[T any](a *app, cmd *cobra.Command, f *trackerFlags, plain string, ask func(ctx context.Context, c *cluster.Client, args []string) (T, error), show func(w *tabwriter.Writer, v T)) {
	format := a.outputFlag(cmd, plain, "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		v, err := ask(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		return a.print(*format, v, func(w *tabwriter.Writer) { show(w, v) })
	}
}

// print prints something as JSON, or shows it.
func (a *app) print(format string, v any, show func(w *tabwriter.Writer)) error {
	if format == "json" {
		return a.printJSON(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	show(w)
	return w.Flush()
}

func (a *app) jobsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "jobs", Short: "List a tracker's jobs", Args: arguments(0),
		Long: "List a tracker's jobs, or, with --state, those in the state of a tracker that does not run."}
	state := cmd.Flags().String("state", "", "`URI` of a tracker's state, which is read instead of asking the tracker")
	f := addTrackerFlags(cmd)
	asks(a, cmd, f, "table", func(ctx context.Context, c *cluster.Client, _ []string) (cluster.JobList, error) {
		jobs, err := c.Jobs(ctx)
		return cluster.JobList{SchemaVersion: 1, Jobs: jobs}, err
	}, showJobs)
	tracker := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *state == "" {
			return tracker(cmd, args)
		}
		abs, err := absolute(*state)
		if err != nil {
			return err
		}
		fs, err := run.Stores().Folder(cmd.Context(), abs)
		if err != nil {
			return exit.As(exit.Invalid, err)
		}
		list, err := cluster.ReadJobs(cmd.Context(), fs)
		if no := (*errs.Error)(nil); errors.As(err, &no) && no.ID == "E-NO-STATE" {
			no.Path = abs
		}
		if err != nil {
			return exit.Running(err)
		}
		return a.print(cmd.Flag("output").Value.String(), list, func(w *tabwriter.Writer) { showJobs(w, list) })
	}
	return cmd
}

func showJobs(w *tabwriter.Writer, list cluster.JobList) {
	fmt.Fprintln(w, "JOB\tSTATE\tUSER\tSUBMITTED\tTOOK\tVERDICT OR OUTPUT")
	for _, j := range list.Jobs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.State, printable(j.User), j.Submitted.Local().Format(time.DateTime), took(j), printable(cmp.Or(j.Verdict, j.Waits, j.Output)))
	}
}

// took is how long a job has run.
func took(j cluster.Job) string {
	switch {
	case j.Started.IsZero(), j.State == cluster.Queued: // a tracker before may have begun it
		return "-"
	case j.Ended.IsZero():
		return time.Since(j.Started).Round(time.Second).String()
	}
	return j.Ended.Sub(j.Started).Round(time.Second).String()
}

func (a *app) statusCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "status JOB|OUTPUT", Short: "Show where a job is", Args: arguments(1, "JOB"), Long: overOutput("Show where a job is.")}
	f := addTrackerFlags(cmd)
	asks(a, cmd, f, "text", func(ctx context.Context, c *cluster.Client, args []string) (cluster.JobReply, error) {
		return c.Job(ctx, args[0])
	}, showStatus)
	tracker := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !a.isOutput(f, args[0]) {
			return tracker(cmd, args)
		}
		p, err := run.Look(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.print(cmd.Flag("output").Value.String(), p, func(w *tabwriter.Writer) { showPast(w, p) })
	}
	return cmd
}

func showStatus(w *tabwriter.Writer, r cluster.JobReply) {
	j := r.Job
	fmt.Fprintf(w, "%s  %s, %s\noutput  %s\n", j.ID, j.State, took(j), printable(j.Output))
	if j.Verdict != "" {
		fmt.Fprintf(w, "verdict  %s\n", printable(j.Verdict))
	}
	if j.Waits != "" {
		fmt.Fprintf(w, "waits  %s\n", printable(j.Waits))
	}
	if err := j.Outcome(); err != nil {
		fmt.Fprintf(w, "failure  %s\n", printable(err.Error()))
	}
	if len(r.Phases) > 0 {
		fmt.Fprintln(w, phaseTable)
	}
	for _, p := range r.Phases {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", printable(string(p.ID)), p.State, p.Tasks, p.Committed, p.Running, p.Failures, p.Losses)
	}
}

// phaseTable is the head of the table of a job's phases, whoever knows of them.
const phaseTable = "PHASE\tSTATE\tTASKS\tDONE\tRUNNING\tFAILED\tLOST"

func (a *app) workersCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "workers", Short: "List a tracker's workers", Args: arguments(0)}
	asks(a, cmd, addTrackerFlags(cmd), "table", func(ctx context.Context, c *cluster.Client, _ []string) (cluster.WorkerList, error) {
		return c.Workers(ctx)
	},
		func(w *tabwriter.Writer, list cluster.WorkerList) {
			fmt.Fprintln(w, "WORKER\tHOST\tSLOTS\tUSED\tMEMORY\tLAST HEARD")
			for _, k := range list.Workers {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s ago\n", printable(string(k.ID)), printable(k.Host), k.Slots, k.Used, bytesize.Nearest(k.Memory), time.Since(k.Seen).Round(100*time.Millisecond))
			}
		})
	return cmd
}

func (a *app) waitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait JOB|OUTPUT",
		Short: "Wait for a job to end",
		Long:  overOutput("Wait for a job to end. The exit code is the job's; 124 if it has not ended when the time is over."),
		Args:  arguments(1, "JOB"),
	}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "text", "json")
	timeout := cmd.Flags().Duration("timeout", 0, "`time` to wait, as 90s or 5m; 0: as long as it takes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *timeout < 0 {
			return usageOf(cmd, "--timeout %v: a time above 0, or 0 for as long as it takes", *timeout)
		}
		ctx := cmd.Context()
		if *timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, *timeout)
			defer cancel()
		}
		over, err := a.await(ctx, cmd, f, args[0])
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			return exit.As(exit.TimedOut, &errs.Error{Op: "wait", Kind: errs.Transient, ID: "E-TIMEOUT", Err: fmt.Errorf("%s has not ended within %v", args[0], *timeout),
				Fix: "wait again: vista-mr wait " + conf.Quote(args[0])})
		}
		if err != nil {
			return err
		}
		if *format == "json" { // of one that has failed, too
			err = a.printJSON(over.doc)
		} else if over.outcome == nil {
			_, err = fmt.Fprintln(a.out, printable(over.verdict))
		}
		return cmp.Or(over.outcome, err)
	}
	return cmd
}

// waited is a job that is over.
type waited struct {
	doc     any // what status says of it
	verdict string
	outcome error
}

// await waits for a job on a tracker or in an output.
func (a *app) await(ctx context.Context, cmd *cobra.Command, f *trackerFlags, arg string) (waited, error) {
	if a.isOutput(f, arg) {
		p, err := a.followOutput(ctx, arg)
		if err != nil {
			return waited{}, err
		}
		return waited{p, p.Verdict, p.Outcome()}, nil
	}
	c, err := a.needClient(cmd, f)
	if err != nil {
		return waited{}, err
	}
	r, err := a.follow(ctx, c, arg, false)
	return waited{r, r.Job.Verdict, r.Job.Outcome()}, err
}

func (a *app) killCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "kill JOB", Short: "End a job", Args: arguments(1, "JOB"),
		Long: "End a job, and say where it was before and is now. Of one that had ended before nothing is changed, and that is said."}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if a.isOutput(f, args[0]) {
			return usageOf(cmd, "%s is an output: a job is killed by its id through its tracker (vista-mr jobs), and one without a tracker by an interrupt of its process", args[0])
		}
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		k, err := c.Kill(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.print(*format, k, func(w *tabwriter.Writer) { fmt.Fprintln(w, killed(k)) })
	}
	return cmd
}

// killed says what a kill has done.
func killed(k cluster.KillReply) string {
	switch {
	case k.Before.Over():
		return fmt.Sprintf("%s had ended before: %s", k.Job, k.Before)
	case k.After == cluster.Killed:
		return fmt.Sprintf("%s is killed; it was %s", k.Job, k.Before)
	case k.After.Over():
		return fmt.Sprintf("%s has %s before it could be killed", k.Job, k.After)
	}
	return fmt.Sprintf("%s was %s and is told to end; vista-mr wait %[1]s follows it to that", k.Job, k.Before)
}
