package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) resultsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "results DIR|FILE",
		Short: "Show what a job found out",
		Long: `Show the results of a finished job: the verdict, then metrics by layer with their 95 % intervals, beside the
baselines. DIR is the job's output folder; a job file stands for its output.`,
		Example: `  vista-mr results out/foods
  vista-mr results out/foods -o csv > layers.csv
  vista-mr results out/foods -o json | jq -r .verdict.bestLayer`,
		Args: arguments(1, "DIR"),
	}
	format := a.outputFlag(cmd, "table", "json", "csv")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		dir := conf.URI(args[0]).LocalPath()
		if info, err := os.Stat(dir); strings.HasSuffix(dir, ".yaml") || strings.HasSuffix(dir, ".yml") || err == nil && !info.IsDir() {
			job, err := a.loadJob(dir, nil)
			if err != nil {
				return err
			}
			if err := run.Supported(job); err != nil {
				return err
			}
			dir = job.Output.LocalPath()
		}
		data, s, err := readResults(dir)
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

// maxResults bounds results.json: with 100,000 columns it has some megabytes.
const maxResults = 256 << 20

// readResults reads results.json of a finished job.
func readResults(dir string) ([]byte, *results.Summary, error) {
	fail := func(id, cause, next string, err error) ([]byte, *results.Summary, error) {
		return nil, nil, exit.As(exit.Invalid, &run.InputError{ID: id, Key: "results", Path: dir, Cause: cause, Next: next, Err: err})
	}
	if _, err := os.Stat(dir); err != nil {
		return fail("E-NO-RESULTS", "cannot be read", "give the output folder of a finished job", err)
	}
	if _, err := os.Stat(filepath.Join(dir, run.SuccessFile)); err != nil {
		if _, err := os.Stat(filepath.Join(dir, run.MarkerFile)); err == nil {
			return fail("E-NO-RESULTS", "the job is not finished", "vista-mr submit FILE, with its job file, takes it up again", nil)
		}
		return fail("E-NO-RESULTS", "is not the output of a finished job (no "+run.SuccessFile+")", "give the output folder of a finished job", nil)
	}
	run.Tidy(dir)
	data, err := run.ReadFile(filepath.Join(dir, run.ResultsFile), maxResults)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("E-NO-RESULTS", "holds no "+run.ResultsFile, "give the output folder of a finished job", nil)
	}
	if err != nil {
		return fail("E-NO-RESULTS", "cannot be read", "check the permissions of "+run.ResultsFile, err)
	}
	s, err := results.Parse(data)
	if err != nil {
		return fail("E-RESULTS", run.ResultsFile+" cannot be understood", "use the version of vista-mr that wrote it, or run the job again", err)
	}
	return data, s, nil
}
