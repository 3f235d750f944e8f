package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

func (a *app) devClusterCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev-cluster",
		Short: "Run a tracker and workers on this machine",
		Long: `Run a tracker and workers as processes on this machine, to try a cluster out and to test against one. The tracker's address goes to
standard output; an interrupt ends all of them. With --state the next dev-cluster goes on with this one's jobs.`,
		Example: `  vista-mr dev-cluster --workers 3
  VISTA_MR_TRACKER=http://127.0.0.1:7531 vista-mr submit foods.yaml`,
		Args: arguments(0, ""),
	}
	workers := cmd.Flags().Int("workers", 2, "`number` of workers")
	slots := cmd.Flags().Int("slots", 0, "`number` of attempts at once of each worker; default: the cores shared out, at least 1")
	memory := cmd.Flags().String("memory", "", "`size` that jobs may take of each worker; default: the memory shared out")
	listen := cmd.Flags().String("listen", "127.0.0.1:7531", "`HOST:PORT` of the tracker")
	state := cmd.Flags().String("state", "", "`URI` of the folder for the tracker's state; default: one that is removed at the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if *workers < 1 {
			return usageOf(cmd, "--workers %d: a cluster has at least one", *workers)
		}
		dir, err := os.MkdirTemp("", "vista-mr-cluster-*")
		if err != nil {
			return exit.As(exit.Invalid, err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if *state == "" {
			*state = filepath.Join(dir, "state")
		}
		if *slots < 1 {
			*slots = max(1, machine.Cores() / *workers)
		}
		if *memory == "" {
			*memory = fmt.Sprintf("%dMiB", machine.Memory()/int64(*workers)>>20)
		}
		abs, err := absolute(*state)
		if err != nil {
			return err
		}
		d := &devCluster{a: a, level: a.logLevel()}
		defer d.end()
		url, err := d.tracker(cmd.Context(), "--listen", *listen, "--state", abs, "--scratch", filepath.Join(dir, "tracker"))
		if err != nil {
			return err
		}
		for range *workers {
			if err := d.start("worker", nil, "--tracker", url, "--slots", fmt.Sprint(*slots), "--memory", *memory, "--scratch", dir); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(a.out, url); err != nil {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		a.next(trackerVariable + "=" + url + " vista-mr submit FILE")
		select {
		case <-cmd.Context().Done():
			return nil
		case err := <-d.ended:
			return err
		}
	}
	return cmd
}

// devCluster is the processes of a cluster on this machine.
type devCluster struct {
	a     *app
	level string
	procs []*exec.Cmd
	ended chan error // the first process that ended of its own
	waits []chan struct{}
}

// tracker starts the tracker and waits until it listens.
func (d *devCluster) tracker(ctx context.Context, args ...string) (string, error) {
	d.ended = make(chan error, 100)
	r, w := io.Pipe()
	if err := d.start("tracker", w, args...); err != nil {
		return "", err
	}
	found := make(chan string, 1)
	go func() {
		in := bufio.NewScanner(r)
		for in.Scan() {
			if url, ok := strings.CutPrefix(in.Text(), "tracker: "); ok {
				select {
				case found <- url:
				default:
				}
				continue
			}
			_, _ = fmt.Fprintln(d.a.Stderr, in.Text()) // nowhere left to report to
		}
		_, _ = io.Copy(io.Discard, r) // after a line that is too long
	}()
	select {
	case url := <-found:
		return url, nil
	case err := <-d.ended:
		return "", err
	case <-time.After(30 * time.Second):
		return "", exit.As(exit.Unreachable, errors.New("the tracker does not listen"))
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (d *devCluster) start(role string, stderr io.Writer, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if stderr == nil {
		stderr = d.a.Stderr
	}
	cmd := exec.Command(program, append([]string{role, "--log-level", d.level}, args...)...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = apart() // an interrupt of the terminal is for this process, which then ends the others in order
	cmd.Env = append(os.Environ(), trackerVariable+"=", cluster.DriverVariable+"=")
	if err := cmd.Start(); err != nil {
		return exit.As(exit.Invalid, err)
	}
	done := make(chan struct{})
	d.procs, d.waits = append(d.procs, cmd), append(d.waits, done)
	go func() {
		defer close(done)
		err := cmd.Wait()
		d.ended <- exit.As(exit.JobFailed, fmt.Errorf("the %s has ended: %v", role, errors.Join(err, errors.New(cmd.ProcessState.String()))))
	}()
	return nil
}

// end ends all processes, workers first, and those that do not end in time.
func (d *devCluster) end() {
	for i := len(d.procs) - 1; i >= 0; i-- {
		_ = d.procs[i].Process.Signal(syscall.SIGTERM) // it has ended, or ends
	}
	late := time.After(10 * time.Second)
	for i, w := range d.waits {
		select {
		case <-w:
		case <-late:
			_ = d.procs[i].Process.Kill()
			<-w
		}
	}
}
