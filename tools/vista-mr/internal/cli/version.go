package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the program's version",
		Example: `  vista-mr version
  vista-mr version -o json`,
		Args: arguments(0),
	}
	format := a.outputFlag(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int    `json:"schemaVersion"`
				Version       string `json:"version"`
				Go            string `json:"go"`
				Platform      string `json:"platform"`
			}{1, a.buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
		}
		_, err := fmt.Fprintf(a.out, "vista-mr %s (%s, %s/%s)\n", a.buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return cmd
}
