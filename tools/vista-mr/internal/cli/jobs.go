package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
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
	for _, p := range []struct{ key, value string }{{"table.uri", string(job.Table.URI)}, {"images.uri", string(job.Images.URI)}, {"output", string(job.Output)},
		{"cnn.model", job.CNN.Model}, {"cnn.weights", job.CNN.Weights}} {
		if p.value == "" || dfs.HasScheme(p.value) || strings.HasPrefix(p.value, "/") {
			continue
		}
		// A word like "resnet50" or "random" is none of this machine's files, unless there is one of that name.
		if _, err := os.Stat(p.value); err != nil && strings.HasPrefix(p.key, "cnn.") && !strings.ContainsAny(p.value, "/.") {
			continue
		}
		abs, err := absolute(p.value)
		if err != nil {
			return nil, r, err
		}
		r.Sets = append(r.Sets, p.key+"="+abs)
		if p.key == "output" {
			job.Output = conf.URI(abs)
		}
	}
	r.Output = string(job.Output)
	return job, r, nil
}

// follow shows a job's progress until it is over.
func (a *app) follow(ctx context.Context, c *cluster.Client, id string) (cluster.Job, error) {
	sink, _, end := a.reporter()
	defer end()
	told := map[string]progress.Update{}
	return c.Follow(ctx, id, func(r cluster.JobReply) {
		for _, u := range r.Job.Progress {
			if told[u.Stage] != u {
				told[u.Stage] = u
				sink.Update(u)
			}
		}
	})
}

func (a *app) jobsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "jobs", Short: "List a tracker's jobs", Args: arguments(0, "")}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		jobs, err := c.Jobs(cmd.Context())
		if err != nil {
			return err
		}
		if *format == "json" {
			return a.printJSON(cluster.JobList{SchemaVersion: 1, Jobs: jobs})
		}
		w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "JOB\tSTATE\tUSER\tSUBMITTED\tTOOK\tVERDICT OR OUTPUT")
		for _, j := range jobs {
			last := cmp.Or(j.Verdict, j.Waits, j.Output)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.State, printable(j.User), j.Submitted.Local().Format(time.DateTime), took(j), printable(last))
		}
		return w.Flush()
	}
	return cmd
}

// took is how long a job has run.
func took(j cluster.Job) string {
	switch {
	case j.Started.IsZero():
		return "-"
	case j.Ended.IsZero():
		return time.Since(j.Started).Round(time.Second).String()
	}
	return j.Ended.Sub(j.Started).Round(time.Second).String()
}

func (a *app) statusCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "status JOB", Short: "Show where a job is", Args: arguments(1, "JOB")}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		r, err := c.Job(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *format == "json" {
			return a.printJSON(r)
		}
		j := r.Job
		fmt.Fprintf(a.out, "%s  %s, %s\noutput  %s\n", j.ID, j.State, took(j), printable(j.Output))
		if j.Verdict != "" {
			fmt.Fprintf(a.out, "verdict  %s\n", printable(j.Verdict))
		}
		if err := j.Outcome(); err != nil {
			fmt.Fprintf(a.out, "failure  %s\n", printable(err.Error()))
		}
		w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
		for _, n := range r.Now {
			fmt.Fprintln(w, "PHASE\tSTATE\tTASKS\tDONE\tRUNNING\tFAILED\tLOST")
			for _, p := range n.Phases {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", printable(string(p.ID)), p.State, p.Tasks, p.Committed, p.Running, p.Failures, p.Losses)
			}
		}
		return w.Flush()
	}
	return cmd
}

func (a *app) workersCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "workers", Short: "List a tracker's workers", Args: arguments(0, "")}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		list, err := c.Workers(cmd.Context())
		if err != nil {
			return err
		}
		if *format == "json" {
			return a.printJSON(list)
		}
		w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "WORKER\tHOST\tSLOTS\tUSED\tMEMORY\tLAST HEARD")
		for _, k := range list.Workers {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s ago\n", printable(string(k.ID)), printable(k.Host), k.Slots, k.Used, conf.Bytes(k.Memory), time.Since(k.Seen).Round(100*time.Millisecond))
		}
		return w.Flush()
	}
	return cmd
}

func (a *app) waitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait JOB",
		Short: "Wait for a job to end",
		Long:  "Wait for a job to end. The exit code is the job's; 124 if it has not ended when the time is over.",
		Args:  arguments(1, "JOB"),
	}
	f := addTrackerFlags(cmd)
	timeout := cmd.Flags().Duration("timeout", 0, "how long to wait; 0: as long as it takes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if *timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, *timeout)
			defer cancel()
		}
		j, err := a.follow(ctx, c, args[0])
		if errors.Is(err, context.DeadlineExceeded) {
			return exit.As(exit.TimedOut, fmt.Errorf("%s has not ended within %v", args[0], *timeout))
		}
		if err != nil {
			return err
		}
		if err := j.Outcome(); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, printable(j.Verdict))
		return err
	}
	return cmd
}

func (a *app) killCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "kill JOB", Short: "End a job", Args: arguments(1, "JOB")}
	f := addTrackerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		return c.Kill(cmd.Context(), args[0])
	}
	return cmd
}

func (a *app) logsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs JOB [PHASE/TASK[/ATTEMPT]]",
		Short: "Show what a job, or an attempt of a task, has logged",
		Long: `Show what a job's driver has logged, or, with PHASE/TASK, the attempts of that task, also while they run. An attempt that ended well within ten
seconds, at the first try and without a word of its own, leaves no log: the job's events.jsonl has a line for it.`,
		Example: `  vista-mr logs foods-2k4q6xyz
  vista-mr logs foods-2k4q6xyz extract/00007
  vista-mr logs foods-2k4q6xyz extract/00007/2`,
		Args: arguments(1, "JOB", "PHASE/TASK[/ATTEMPT]"),
	}
	f := addTrackerFlags(cmd)
	followIt := cmd.Flags().BoolP("follow", "f", false, "go on until the job ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		if len(args) == 2 {
			if *followIt {
				return usageOf(cmd, "-f follows a job's log, not an attempt's")
			}
			return c.AttemptLogs(cmd.Context(), args[0], args[1], a.out)
		}
		for at := int64(0); ; {
			r, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if at, err = c.Log(cmd.Context(), args[0], at, a.out); err != nil {
				return err
			}
			if err := a.out.Flush(); err != nil {
				return stdoutError(err)
			}
			if !*followIt || r.Job.State.Over() {
				return nil
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			}
		}
	}
	return cmd
}
