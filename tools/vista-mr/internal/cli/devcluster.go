package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

func (a *app) devClusterCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev-cluster",
		Short: "Run a tracker and workers on this machine",
		Long: `Run a tracker and workers as processes on this machine, to try a cluster out and to test against one. The tracker's address goes to
standard output; an interrupt ends all of them. One that dies is started again. With --state the next dev-cluster goes on with this one's jobs.`,
		Example: `  vista-mr dev-cluster --workers 3
  VISTA_MR_TRACKER=http://127.0.0.1:7531 vista-mr submit foods.yaml`,
		Args: arguments(0, ""),
	}
	workers := cmd.Flags().Int("workers", 2, "`number` of workers")
	slots := cmd.Flags().Int("slots", 0, "`number` of attempts at once of each worker; default: the cores shared out, at least 1")
	memory := cmd.Flags().String("memory", "", "`size` that jobs may take of each worker; default: the memory shared out, less an eighth for the tracker")
	listen := cmd.Flags().String("listen", "127.0.0.1:7531", "`HOST:PORT` of the tracker")
	jobs := cmd.Flags().Int("jobs", 4, "`number` of jobs that run at once, which share the tracker's memory; others wait")
	state := cmd.Flags().String("state", "", "`URI` of the folder for the tracker's state; default: one that is removed at the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if *workers < 1 {
			return usageOf(cmd, "--workers %d: a cluster has at least one", *workers)
		}
		if *jobs < 1 {
			return usageOf(cmd, "--jobs %d: a tracker runs at least one job at a time", *jobs)
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
		each, own, err := shareOut(*memory, machine.Shared(), *workers)
		if err != nil {
			return usageOf(cmd, "--memory: %v", err)
		}
		abs, err := absolute(*state)
		if err != nil {
			return err
		}
		d := &devCluster{a: a, level: a.logLevel(), listens: make(chan string, 1), barred: make(chan error, 1)}
		ctx, stop := context.WithCancel(cmd.Context())
		defer d.work.Wait()
		defer stop()
		d.keep(ctx, "tracker", func() []string {
			return []string{"--listen", d.address(*listen), "--state", abs, "--scratch", filepath.Join(dir, "tracker"), "--memory", own, "--jobs", fmt.Sprint(*jobs)}
		})
		select {
		case <-d.listens:
		case err := <-d.barred:
			return err
		case <-time.After(30 * time.Second):
			return exit.As(exit.Unreachable, errors.New("the tracker does not listen; what it says stands above"))
		case <-ctx.Done():
			return nil
		}
		url := "http://" + d.address("")
		for range *workers {
			d.keep(ctx, "worker", func() []string {
				return []string{"--tracker", url, "--slots", fmt.Sprint(*slots), "--memory", each, "--scratch", dir}
			})
		}
		if _, err := fmt.Fprintln(a.out, url); err != nil {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		a.next(trackerVariable + "=" + url + " vista-mr submit FILE")
		<-ctx.Done()
		return nil
	}
	return cmd
}

// shareOut divides a machine's memory into what each worker and the tracker may take, as flags. What flag leaves of it where that says
// what a worker takes is the tracker's, and an eighth in any case.
func shareOut(flag string, machine int64, workers int) (worker, tracker string, err error) {
	own := machine / 8
	each := (machine - own) / int64(workers)
	if flag != "" {
		n, err := conf.ParseBytes(flag)
		if err != nil {
			return "", "", err
		}
		each = min(int64(n), machine)
		own = max(own, machine-each*int64(workers))
	}
	return bytesize.Flag(each), bytesize.Flag(own), nil
}

// devCluster keeps the processes of a cluster on this machine running.
type devCluster struct {
	a       *app
	level   string
	work    sync.WaitGroup
	listens chan string
	barred  chan error // why the tracker cannot start at all

	mu  sync.Mutex
	url string // of the tracker, once it listens
}

// address is where the tracker listens: the same after it was started again.
func (d *devCluster) address(first string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.url == "" {
		return first
	}
	return strings.TrimPrefix(d.url, "http://")
}

// keep runs a process, and another one when it has died, until ctx ends.
func (d *devCluster) keep(ctx context.Context, role string, args func() []string) {
	d.work.Go(func() {
		// On Linux the process is told when the thread that has started it ends: the thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for ctx.Err() == nil {
			err := d.run(ctx, role, args())
			if ctx.Err() != nil {
				return
			}
			if role == "tracker" && d.address("") == "" && hopeless(err) {
				d.barred <- saidError{err}
				return
			}
			d.a.note(fmt.Sprintf("a %s has ended (%v); another one is started", role, err))
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
}

// hopeless tells whether a tracker that has not listened yet has ended so that another one would, too: with a wrong flag, or with an
// address, a state or a folder that it cannot use. One that has listened is started again whatever it ends with.
func hopeless(err error) bool {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return false
	}
	switch exit.Class(ended.ExitCode()) {
	case exit.Usage, exit.Invalid, exit.JobFailed, exit.Unreachable:
		return true
	}
	return false
}

// saidError is that a process of the cluster has ended, with its exit code. What was wrong stands on standard error already.
type saidError struct{ error }

func (e saidError) Unwrap() error { return e.error }

// said is the exit code of an error that needs no more words.
func said(err error) (code int, is bool) {
	var e saidError
	var ended *exec.ExitError
	if errors.As(err, &e) && errors.As(e.error, &ended) {
		return ended.ExitCode(), true
	}
	return 0, false
}

// run runs a process to its end. When ctx ends, it is told to end, and soon killed.
func (d *devCluster) run(ctx context.Context, role string, args []string) error {
	program, err := self()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{role, "--log-level", d.level}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = &lines{d}
	cmd.SysProcAttr = apart() // an interrupt of the terminal is for this process, which then ends the others
	cmd.Env = append(os.Environ(), trackerVariable+"=", cluster.DriverVariable+"=")
	return cmd.Run()
}

// lines passes on what a process says, but for where the tracker listens, and that it stops: all of them do when this one does, which has
// said so.
type lines struct{ d *devCluster }

func (l *lines) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if url, ok := bytes.CutPrefix(line, []byte("tracker: ")); ok {
			l.d.mu.Lock()
			l.d.url = string(bytes.TrimSpace(url))
			l.d.mu.Unlock()
			select {
			case l.d.listens <- "":
			default:
			}
			continue
		}
		if string(bytes.TrimSpace(line)) == stopping {
			continue
		}
		if _, err := l.d.a.Stderr.Write(line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// self is this program. A name that it was called by is preferred to the file behind it, which may serve several.
func self() (string, error) {
	if name, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(name)
	}
	return os.Executable()
}
