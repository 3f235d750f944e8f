// Package cli is the command line of vista-mr: commands, flags, streams, exit codes, and how failures
// are shown. One file per command; each reads its arguments, calls the package that does the work,
// and prints what comes back.
//
// Invariant: data goes to standard output, everything else to standard error; with -o json standard error
// holds nothing but, after a failure, one JSON object. Every failure has an id, a cause and a next step, and
// the exit code that package exit gives it.
//
// Caller: package main. The package keeps no state outside of Main and never ends the process
// itself, but for the function that Process lends it for a second interrupt.
package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Process is what a command gets from its process.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(string) string
	Exit           func(code int) // for a second interrupt, when cleaning up takes too long for its user
	Version        string         // empty: taken from the build
}

// app is the state of one invocation.
type app struct {
	Process
	out      *bufio.Writer // standard output; flushed, and its errors seen, in Main
	json     bool          // the result and a failure are wanted as JSON
	logLevel func() string
	started  bool // a command's own code has been reached; before that, errors are about usage
}

// Main runs one command line and returns its exit code.
func Main(args []string, p Process) int {
	a := &app{Process: p, out: bufio.NewWriter(p.Stdout), json: wantsJSON(args)}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stop := a.watchSignals(cancel)
	defer stop()

	root := a.root()
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(a.out)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = exit.As(exit.Usage, err)
	}
	if flushErr := a.out.Flush(); flushErr != nil && (err == nil || errors.Is(err, flushErr)) { // a command may have seen it first
		err = stdoutError(flushErr)
	}
	err = exit.Cause(ctx, err)
	if code, is := said(err); is {
		return code
	}
	if err != nil {
		a.fail(err)
	}
	return exit.Code(err)
}

// stopping is said at the first signal.
const stopping = "stopping; once more to stop at once"

// watchSignals cancels the command at the first interrupt or termination and ends the process at the
// second. The function it returns waits for its goroutine.
func (a *app) watchSignals(cancel context.CancelCauseFunc) func() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for seen := 0; ; seen++ {
			select {
			case <-done:
				return
			case s := <-signals:
				sig, ok := s.(syscall.Signal)
				if !ok {
					sig = syscall.SIGINT
				}
				if seen > 0 {
					a.Exit(128 + int(sig))
					return
				}
				a.note(stopping)
				cancel(exit.Interrupted{Signal: sig})
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-stopped
	}
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vista-mr",
		Short: "Which layer of a CNN makes the better model on your table?",
		Long: `vista-mr takes a table, images and a pre-trained CNN, and finds out which layer of the CNN gives
features that make a simple model on the table better, by how much, or that none does.

Start with:  vista-mr synth foods --records 200 data/foods
             vista-mr init foods.yaml
             vista-mr submit foods.yaml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.subcommand,
		RunE:          help,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			return emptyFlag(cmd)
		},
	}
	root.SetFlagErrorFunc(flagError)
	level := &choice{value: "warn", of: []string{"debug", "info", "warn", "error"}, kind: "level"}
	root.PersistentFlags().Var(level, "log-level", "what is logged to standard error: "+orList(level.of))
	a.logLevel = level.String
	root.AddCommand(a.submitCmd(), a.validateCmd(), a.explainCmd(), a.initCmd(), a.synthCmd(), a.packCmd(), a.attemptCmd(), a.modelCmd(), a.resultsCmd(), a.doctorCmd(), a.schemaCmd(), a.versionCmd(),
		a.trackerCmd(), a.workerCmd(), a.devClusterCmd(), a.jobsCmd(), a.statusCmd(), a.workersCmd(), a.waitCmd(), a.killCmd(), a.logsCmd())
	root.SetHelpCommand(a.helpCmd())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = a.subcommand, help
		}
	}
	return root
}

// help is the body of a command that only has subcommands.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// helpCmd is cobra's help command with an error for unknown topics.
func (a *app) helpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show help for a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if found == nil || err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// outputFlag gives a command -o with its formats; the first is the default.
func (a *app) outputFlag(cmd *cobra.Command, formats ...string) *string {
	v := &choice{value: formats[0], of: formats, kind: "format"}
	cmd.Flags().VarP(v, "output", "o", "format of the output: "+orList(formats))
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was defined in the line above
	}
	return &v.value
}

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	of    []string
	kind  string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return c.kind }
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return &choiceError{s, c.of}
	}
	c.value = s
	return nil
}

// wantsJSON finds out whether failures are to be JSON even if the flags cannot be parsed.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "-ojson", arg == "-o=json", arg == "--output=json":
			return true
		case (arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

// note tells the user something on standard error that is neither data nor a failure.
func (a *app) note(text string) {
	if !a.json {
		_, _ = io.WriteString(a.Stderr, text+"\n") // nowhere left to report to
	}
}

// next tells what to type next.
func (a *app) next(command string) { a.note("next: " + printable(command)) }

// reporter shows progress on standard error, and nothing with -o json.
func (a *app) reporter() (progress.Sink, io.Writer, func()) {
	if a.json {
		return progress.Discard, io.Discard, func() {}
	}
	width, live := a.terminal()
	r := progress.New(a.Stderr, progress.Options{Live: live && a.Env("CI") == "", Width: width, Now: time.Now})
	return r, r, r.Close
}

// terminal tells whether standard error is one that can move its cursor, and its width.
func (a *app) terminal() (width func() int, is bool) {
	f, ok := a.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || a.Env("TERM") == "dumb" {
		return nil, false
	}
	return func() int {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
		return 80
	}, true
}

// colour tells whether standard error takes colours: a terminal whose user has not said no.
func (a *app) colour() bool {
	_, live := a.terminal()
	return live && a.Env("NO_COLOR") == ""
}

// logger logs to w, one line per entry, and to nowhere with -o json.
func (a *app) logger(w io.Writer) *zap.Logger {
	level, err := zapcore.ParseLevel(a.logLevel())
	if err != nil || a.json {
		return zap.NewNop()
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.AddSync(w), level))
}

// buildVersion is the program's version.
func (a *app) buildVersion() string {
	if a.Version != "" {
		return a.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
