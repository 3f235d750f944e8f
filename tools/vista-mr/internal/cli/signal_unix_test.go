//go:build unix

package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

func TestSecondSignalEndsTheProcess(t *testing.T) {
	var stderr bytes.Buffer
	p := process(&stderr)
	codes := make(chan int, 1)
	p.Exit = func(code int) { codes <- code }
	a := &app{Process: p}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := a.watchSignals(cancel)
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if got := exit.Code(exit.Cause(ctx, errors.New("read: cancelled"))); got != 143 {
		t.Errorf("first signal: exit code %d, want 143", got)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := <-codes; got != 130 {
		t.Errorf("second signal: exit code %d, want 130", got)
	}
	if !strings.Contains(stderr.String(), "once more to stop at once") {
		t.Errorf("the first signal says nothing: %q", stderr.String())
	}
}
