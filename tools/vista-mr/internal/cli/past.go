package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// overOutput is the description of a command that can do without a tracker.
func overOutput(what string) string {
	return what + `

JOB is a tracker's job. OUTPUT is the output of a job, a folder or a URI: then what is there is read, and no tracker is asked.`
}

// isOutput tells whether an argument names a job's output and not a job of a tracker's: ids have no slash, and begin with a letter or digit.
func (a *app) isOutput(f *trackerFlags, arg string) bool {
	if dfs.HasScheme(arg) || strings.ContainsRune(arg, '/') || arg == "." || arg == ".." {
		return true
	}
	if f.url != "" || a.Env(trackerVariable) != "" {
		return false
	}
	info, err := os.Stat(arg)
	return err == nil && info.IsDir()
}

func showPast(w *tabwriter.Writer, p *run.Past) {
	fmt.Fprintf(w, "%s  %s", printable(p.Name), p.State)
	if !p.Last.IsZero() {
		fmt.Fprintf(w, ", %s; last heard of %s", p.Last.Sub(p.Started).Round(time.Second), p.Last.Local().Format(time.DateTime))
	}
	fmt.Fprintf(w, "\noutput  %s\n", printable(p.Output))
	if p.Verdict != "" {
		fmt.Fprintf(w, "verdict  %s\n", printable(p.Verdict))
	}
	if p.Error != "" {
		fmt.Fprintf(w, "failure  %s\n", printable(p.Error))
	}
	if len(p.Phases) > 0 {
		fmt.Fprintln(w, phaseTable)
	}
	for _, q := range p.Phases {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", printable(q.Name), q.State, q.Tasks, q.Done, q.Running, q.Failed, q.Lost)
	}
}

// How an output is followed: how often it is looked at, and how long nobody may work on it until it counts as given up. A
// tracker starts a job's process again when it has died.
const (
	lookEvery = time.Second
	lookGrace = 10 * time.Second
)

// followOutput waits until the job of an output is over, and returns what is known of it then.
func (a *app) followOutput(ctx context.Context, output string) (*run.Past, error) {
	sink, _, end := a.reporter()
	defer end()
	told := map[string]progress.Update{}
	alive, noted := time.Now(), false
	for {
		p, err := run.Look(ctx, output)
		if err != nil {
			return nil, err
		}
		took := p.Seconds()
		for _, q := range p.Phases {
			u := progress.Update{Stage: q.Name, Unit: "tasks", Done: int64(q.Done), Total: int64(max(q.Tasks, q.Done)), End: q.Published, Seconds: took[q.Name]}
			if told[q.Name] != u && (q.Published || u.Done < u.Total) {
				told[q.Name] = u
				sink.Update(u)
			}
		}
		switch p.State {
		case run.PastSucceeded, run.PastFailed:
			return p, nil
		case run.PastStopped:
			if time.Since(alive) > lookGrace {
				return p, nil
			}
		case run.PastUnfinished:
			if !noted && !p.Last.IsZero() && time.Since(p.Last) > 10*time.Minute {
				noted = true
				a.note(fmt.Sprintf("nothing was heard of it since %s: it may have been stopped, which cannot be told from its output", p.Last.Local().Format(time.DateTime)))
			}
			alive = time.Now()
		default:
			alive = time.Now()
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// eventsOf prints the events of an output's job, and goes on while it runs.
func (a *app) eventsOf(ctx context.Context, output string, follow bool) error {
	for at := 0; ; {
		p, err := run.Look(ctx, output)
		if err != nil {
			return err
		}
		if at, err = p.Log(at, a.out); err != nil {
			return stdoutError(err)
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		if !follow || p.State != run.PastRunning && p.State != run.PastUnfinished {
			return nil
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
