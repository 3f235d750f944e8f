package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// usageError is a command line that cannot be understood.
type usageError struct {
	text string
	hint string
}

func (e *usageError) Error() string   { return e.text }
func (e *usageError) ErrorID() string { return "E-USAGE" }
func (e *usageError) Hint() string    { return e.hint }

// usageOf is a wrong command line, with the help of its command as the next step.
func usageOf(cmd *cobra.Command, format string, args ...any) error {
	return exit.As(exit.Usage, &usageError{fmt.Sprintf(format, args...), cmd.CommandPath() + " --help"})
}

type choiceError struct {
	found string
	of    []string
}

func (e *choiceError) Error() string {
	s := fmt.Sprintf("must be %s; found %q", orList(e.of), e.found)
	if near := conf.Nearest(e.found, e.of); near != "" {
		s += fmt.Sprintf("; did you mean %q?", near)
	}
	return s
}

// flagError words what the flag parser refused and suggests the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 { // the flag is that of a command that is not there
		return unknownCommand(cmd, args[0])
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		if s := unknown.GetSpecifiedShortnames(); s != "" {
			return usageOf(cmd, "unknown flag -%s", name)
		}
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if near := conf.Nearest(name, known); near != "" {
			return usageOf(cmd, "unknown flag --%s; did you mean --%s?", name, near)
		}
		return usageOf(cmd, "unknown flag --%s", name)
	}
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		f := value.GetFlag()
		var word *choiceError
		if errors.As(err, &word) {
			return usageOf(cmd, "--%s %v", f.Name, word)
		}
		kind := map[string]string{"int": "a whole number", "uint64": "a whole number from 0 on", "duration": "a time with its unit, such as 90s or 5m", "stringToInt": "NAME=NUMBER", "bool": "true or false"}[f.Value.Type()]
		if kind == "" {
			return usageOf(cmd, "--%s %v", f.Name, value.Unwrap())
		}
		return usageOf(cmd, "--%s takes %s; found %q", f.Name, kind, value.GetValue())
	}
	return usageOf(cmd, "%v", err)
}

// emptyFlag refuses a file, folder, address or size that is given and empty, as a script's variable that is not set: the flag would be
// left alone without a word.
func emptyFlag(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			name, _ := pflag.UnquoteUsage(f)
			err = usageOf(cmd, "--%s is empty; give a %s, or leave the flag out", f.Name, name)
		}
	})
	return err
}

// subcommand is the argument check of a command that only has subcommands.
func (a *app) subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(parent *cobra.Command, name string) error {
	var known []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			known = append(known, c.Name())
		}
	}
	s := fmt.Sprintf("unknown command %q for %s", name, parent.CommandPath())
	if near := conf.Nearest(name, known); near != "" {
		s += fmt.Sprintf("; did you mean %q?", near)
	}
	return usageOf(parent, "%s", s)
}

// arguments checks the number of arguments; names are what the command calls them.
func arguments(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageOf(cmd, "missing %s; usage: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return usageOf(cmd, "unexpected argument %q; usage: %s", args[len(names)], cmd.UseLine())
		}
		for i, arg := range args {
			if arg == "" && names[i] == "JOB" { // a script's variable that is not set
				return usageOf(cmd, "an empty %s; usage: %s", names[i], cmd.UseLine())
			}
		}
		return nil
	}
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
