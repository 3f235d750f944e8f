package cli

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

func (a *app) initCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented example job file",
		Long:  "Write an example job file with every key explained, to FILE or to standard output. An existing file is left alone.",
		Example: `  vista-mr init foods.yaml
  vista-mr init > foods.yaml
  vista-mr init --force foods.yaml`,
		Args: arguments(0, "FILE"),
	}
	force := cmd.Flags().Bool("force", false, "overwrite an existing file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] == "-" {
			_, err := a.out.WriteString(conf.Example())
			return err
		}
		text := strings.ReplaceAll(conf.Example(), "validate FILE", "validate "+conf.Quote(args[0]))
		text = strings.ReplaceAll(text, "submit FILE", "submit "+conf.Quote(args[0]))
		flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
		if *force {
			flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		}
		f, err := os.OpenFile(args[0], flags, 0o666)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			e := &run.InputError{ID: "E-WRITE", Key: "init", Path: args[0], Cause: "cannot be written", Err: err, Next: "choose another file"}
			if errors.Is(err, fs.ErrExist) {
				e.Cause, e.Err, e.Next = "exists already", nil, "choose another file, or vista-mr init --force "+conf.Quote(args[0])
			}
			return exit.As(exit.Invalid, e)
		}
		a.next("vista-mr validate " + conf.Quote(args[0]))
		return nil
	}
	return cmd
}
