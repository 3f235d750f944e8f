package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) doctorCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [URI...]",
		Short: "Check the set-up, and what stores can do",
		Long: `Check the machine: the ONNX Runtime library, memory and its limits, room for temporary files, the clock. And of
each URI, a folder on a disk, hdfs://NAMENODE/FOLDER or s3://BUCKET/FOLDER, whether the store does what jobs rely on: that
of many writers of one name one wins, that what was written is read and listed at once, that large files come out whole,
that an operation whose reply was lost is not taken for another's, and that files can be removed.

A store is tried in a new folder below the URI, which is removed again; it takes less than a minute. The exit code is 6 if
a store does not answer or refuses, and 3 if something else is wrong.`,
		Example: `  vista-mr doctor
  vista-mr doctor s3://bucket/jobs
  vista-mr doctor /mnt/shared s3://bucket/jobs -o json | jq '.stores[].checks[] | select(.state == "failed")'`,
	}
	format := a.outputFlag(cmd, "text", "json")
	lib := ortFlag(cmd)
	races := cmd.Flags().Int("races", 1000, "how many `races` of claims a store has to stand")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *races < 1 {
			return usageOf(cmd, "--races must be at least 1; found %d", *races)
		}
		text := *format == "text"
		last := ""
		d, err := run.Doctor(cmd.Context(), run.Checkup{ORTLib: *lib, URIs: args, Probe: probe.Options{Races: *races},
			Settings: func(uri string, lines []string) {
				if text {
					a.doctorHead(&last, uri)
					fmt.Fprintf(a.out, "         %s\n", printable(strings.Join(lines, "; ")))
				}
			},
			Tell: func(uri string, c probe.Check) {
				if text {
					a.doctorHead(&last, uri)
					a.doctorLine(c)
					_ = a.out.Flush() // its error stays with the writer, and is reported at the end
				}
			}})
		if d != nil && *format == "json" {
			if err := a.printJSON(struct {
				SchemaVersion int  `json:"schemaVersion"`
				OK            bool `json:"ok"`
				*run.Diagnosis
			}{1, err == nil, d}); err != nil {
				return err
			}
		}
		return err
	}
	return cmd
}

// doctorHead names the store that the next lines are about.
func (a *app) doctorHead(last *string, uri string) {
	if uri != *last {
		fmt.Fprintf(a.out, "\n%s\n", printable(uri))
		*last = uri
	}
}

// doctorLine prints a finding.
func (a *app) doctorLine(c probe.Check) {
	mark := map[probe.State]string{probe.OK: "ok", probe.Failed: "FAILED", probe.Skipped: "skipped"}[c.State]
	detail, _, _ := strings.Cut(c.Detail, "\n")
	fmt.Fprintf(a.out, "%-7s  %-8s %s\n", mark, c.Name, printable(detail))
	if c.State == probe.Failed && c.Next != "" {
		fmt.Fprintf(a.out, "         %-8s %s\n", "next:", printable(c.Next))
	}
}
