package exit

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestCode(t *testing.T) {
	base := errors.New("x")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {base, 1}, {As(Usage, base), 2}, {As(Invalid, base), 3}, {As(Infeasible, base), 4}, {As(JobFailed, base), 5},
		{As(Unreachable, base), 6}, {As(Killed, base), 7}, {As(TimedOut, base), 124},
		{fmt.Errorf("op: %w", As(Invalid, base)), 3},
		{As(JobFailed, fmt.Errorf("op: %w", As(Invalid, base))), 3},
		{Interrupted{Signal: syscall.SIGINT}, 130}, {Interrupted{Signal: syscall.SIGTERM}, 143},
		{As(JobFailed, Interrupted{Signal: syscall.SIGTERM}), 143},
		{As(Usage, nil), 0},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("Code(%v) = %d, want %d", c.err, got, c.want)
		}
	}
	if !errors.Is(As(Invalid, base), base) {
		t.Error("the wrapped error is lost")
	}
}

func TestCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	failed := errors.New("read: cancelled")
	if got := Cause(ctx, failed); got != failed {
		t.Errorf("before the signal: %v", got)
	}
	cancel(Interrupted{Signal: syscall.SIGTERM})
	if got := Code(Cause(ctx, As(JobFailed, failed))); got != 143 {
		t.Errorf("after the signal: exit code %d", got)
	}
	if Cause(ctx, nil) != nil {
		t.Error("a job that finished in spite of the signal has not failed")
	}
}

func TestRunning(t *testing.T) {
	for kind, want := range map[errs.Kind]int{
		errs.Corrupt: 5, errs.Budget: 5, errs.NoSpace: 5, errs.NoMemory: 5, errs.Invalid: 5, errs.Lost: 5,
		errs.Unreachable: 6, errs.Unauthorized: 5, errs.Infeasible: 4, errs.Internal: 1,
	} {
		if got := Code(Running(errs.E("read", kind, "x", errors.New("y")))); got != want {
			t.Errorf("%v: exit code %d, want %d", kind, got, want)
		}
	}
	for path, want := range map[string]int{"s3://bucket/x": 6, "/data/x": 5, "file:///data/x": 5, "FILE:///data/x": 5} {
		if got := Code(Running(errs.E("task", errs.Unknown, "x", errs.E("open", errs.Unauthorized, path, errors.New("refused"))))); got != want {
			t.Errorf("%s is refused: exit code %d, want %d", path, got, want)
		}
	}
	if got := Code(Running(errors.New("unforeseen"))); got != 1 {
		t.Errorf("an unforeseen error: exit code %d, want 1", got)
	}
	if got := Code(Running(As(Invalid, errs.E("open", errs.Corrupt, "model", errors.New("y"))))); got != 3 {
		t.Errorf("classed before: exit code %d, want 3", got)
	}
}
