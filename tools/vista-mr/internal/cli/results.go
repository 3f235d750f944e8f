package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) resultsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "results DIR|FILE|JOB",
		Short: "Show what a job found out",
		Long: `Show the results of a finished job: the verdict, then metrics by layer with their 95 % intervals, beside the
baselines. DIR is the job's output folder, or its URI; a job file stands for its output.`,
		Example: `  vista-mr results out/foods
  vista-mr results out/foods -o csv > layers.csv
  vista-mr results out/foods -o json | jq -r .verdict.bestLayer`,
		Args: arguments(1, "DIR"),
	}
	at := addTrackerFlags(cmd)
	format := a.outputFlag(cmd, "table", "json", "csv")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := a.outputOf(cmd, at, args[0])
		if err != nil {
			return err
		}
		if isJobFile(dir) {
			job, err := a.loadJob(dir, nil)
			if err != nil {
				return err
			}
			if err := run.Supported(job); err != nil {
				return err
			}
			dir = job.Output.LocalPath()
		}
		data, s, err := run.Results(cmd.Context(), dir)
		if err != nil {
			return err
		}
		switch *format {
		case "json":
			_, err = a.out.Write(data)
		case "csv":
			err = results.WriteCSV(a.out, s)
		default:
			err = results.WriteText(a.out, s)
		}
		return err
	}
	return cmd
}

// outputOf is the output that an argument names: a tracker's job, if one is asked and there is no such file here.
func (a *app) outputOf(cmd *cobra.Command, at *trackerFlags, arg string) (string, error) {
	dir := conf.URI(arg).LocalPath()
	if dfs.HasScheme(arg) || strings.ContainsRune(arg, '/') {
		return dir, nil
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	c, err := a.client(at)
	if c == nil || err != nil {
		return dir, err
	}
	r, err := c.Job(cmd.Context(), arg)
	if err != nil {
		return "", err
	}
	if err := r.Job.Outcome(); err != nil {
		return "", err
	}
	return conf.URI(r.Job.Output).LocalPath(), nil
}

// isJobFile tells whether an argument that may be an output is a job file.
func isJobFile(arg string) bool {
	if conf.URI(arg).Scheme() != "file" {
		return false
	}
	info, err := os.Stat(arg)
	return strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml") || err == nil && !info.IsDir()
}
