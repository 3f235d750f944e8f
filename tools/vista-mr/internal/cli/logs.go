package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// logsReply is what logs prints with -o json: of a job's driver its log, of an output its events, of a task its attempts.
type logsReply struct {
	SchemaVersion int              `json:"schemaVersion"`
	Job           string           `json:"job,omitempty"`    // of a tracker
	Output        string           `json:"output,omitempty"` // without one
	Task          string           `json:"task,omitempty"`   // PHASE/TASK or PHASE/TASK/ATTEMPT
	Log           *string          `json:"log,omitempty"`
	Events        []journal.Event  `json:"events,omitzero"`
	Attempts      []run.AttemptLog `json:"attempts,omitempty"`
}

func (a *app) logsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs JOB|OUTPUT [PHASE/TASK[/ATTEMPT]]",
		Short: "Show what a job, or an attempt of a task, has logged",
		Long: overOutput(`Show what a job's driver has logged, or, with PHASE/TASK, the attempts of that task, also while they run. An attempt that ended well within ten
seconds, at the first try and without a word of its own, leaves no log: the job's events.jsonl has a line for it. Of an output, its events are shown, and with PHASE/TASK what attempts.log has of it, once the job has succeeded.`),
		Example: `  vista-mr logs foods-2k4q6xyz
  vista-mr logs foods-2k4q6xyz extract/00007
  vista-mr logs foods-2k4q6xyz extract/00007/2`,
		Args: arguments(1, "JOB", "PHASE/TASK[/ATTEMPT]"),
	}
	f := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "text", "json")
	follow := cmd.Flags().BoolP("follow", "f", false, "go on until the job ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		whole := *format == "json"
		switch {
		case *follow && whole:
			return usageOf(cmd, "-f shows lines as they come, and -o json is one object")
		case *follow && len(args) == 2:
			return usageOf(cmd, "-f follows a job's log, not an attempt's")
		}
		reply := logsReply{SchemaVersion: 1}
		if len(args) == 2 {
			reply.Task = args[1]
		}
		if a.isOutput(f, args[0]) {
			reply.Output = args[0]
			return a.logsOfOutput(cmd.Context(), reply, whole, *follow)
		}
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		reply.Job = args[0]
		return a.logsOfJob(cmd.Context(), c, reply, whole, *follow)
	}
	return cmd
}

func (a *app) logsOfOutput(ctx context.Context, reply logsReply, whole, follow bool) error {
	switch {
	case reply.Task != "":
		all, err := run.TaskLogs(ctx, reply.Output, reply.Task)
		if err != nil {
			return err
		}
		reply.Attempts = all
		return a.printLogs(reply, whole)
	case whole:
		p, err := run.Look(ctx, reply.Output)
		if err != nil {
			return err
		}
		reply.Events = p.Events()
		return a.printJSON(reply)
	}
	return a.eventsOf(ctx, reply.Output, follow)
}

func (a *app) logsOfJob(ctx context.Context, c *cluster.Client, reply logsReply, whole, follow bool) (err error) {
	switch {
	case reply.Task != "":
		if reply.Attempts, err = c.AttemptLogs(ctx, reply.Job, reply.Task); err != nil {
			return err
		}
		return a.printLogs(reply, whole)
	case whole:
		var log strings.Builder
		if _, err := c.Log(ctx, reply.Job, 0, &log); err != nil {
			return err
		}
		text := log.String()
		reply.Log = &text
		return a.printJSON(reply)
	}
	for at := int64(0); ; {
		r, err := c.Job(ctx, reply.Job)
		if err != nil {
			return err
		}
		if at, err = c.Log(ctx, reply.Job, at, a.out); err != nil {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		if !follow || r.Job.State.Over() {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printLogs shows the logs of attempts.
func (a *app) printLogs(reply logsReply, whole bool) error {
	if whole {
		return a.printJSON(reply)
	}
	for _, l := range reply.Attempts {
		if err := l.Write(a.out); err != nil {
			return stdoutError(err)
		}
	}
	return nil
}
