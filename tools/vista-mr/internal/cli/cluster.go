package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// trackerVariable names the tracker that commands talk to.
const trackerVariable = "VISTA_MR_TRACKER"

// trackerFlags are how a command finds a tracker.
type trackerFlags struct {
	url, tokenFile string
	certs          cluster.Certificates
}

func addTrackerFlags(cmd *cobra.Command) *trackerFlags {
	f := &trackerFlags{}
	cmd.Flags().StringVar(&f.url, "tracker", "", "`URL` of the tracker, http://HOST:PORT; default: $"+trackerVariable)
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "`file` with the tracker's token; default: $"+cluster.TokenVariable)
	fs := cmd.Flags()
	fs.StringVar(&f.certs.CA, "ca", "", "`file` of authorities that the tracker's certificate is signed by, or with that certificate itself; default: $"+cluster.CAVariable)
	fs.StringVar(&f.certs.Cert, "cert", "", "`file` with a certificate to show in place of a token; default: $"+cluster.CertVariable)
	fs.StringVar(&f.certs.Key, "key", "", "`file` with its key; default: $"+cluster.KeyVariable)
	return f
}

// token is the tracker's token: from a file, so that it does not stand in process lists, or from the environment.
func (a *app) token(file string) (string, error) {
	if file == "" {
		return a.Env(cluster.TokenVariable), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", exit.As(exit.Invalid, &run.InputError{ID: "E-TOKEN", Key: "--token-file", Path: file, Cause: "cannot be read", Err: err, Next: "check the path, and who may read it"})
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", exit.As(exit.Invalid, &run.InputError{ID: "E-TOKEN", Key: "--token-file", Path: file, Cause: "is empty", Next: "write the token into it"})
	}
	return t, nil
}

// client is the way to the tracker that the flags or the environment name; nil: none is named.
func (a *app) client(f *trackerFlags) (*cluster.Client, error) {
	url := f.url
	if url == "" {
		url = a.Env(trackerVariable)
	}
	if url == "" {
		return nil, nil
	}
	certs := cluster.Certificates{CA: cmp.Or(f.certs.CA, a.Env(cluster.CAVariable)), Cert: cmp.Or(f.certs.Cert, a.Env(cluster.CertVariable)),
		Key: cmp.Or(f.certs.Key, a.Env(cluster.KeyVariable))}
	if err := certs.Check(); err != nil {
		return nil, cluster.CertificateError(err)
	}
	token, err := a.token(f.tokenFile)
	h := certs.HTTP(url)
	if a.Env(cluster.DriverVariable) != "" {
		h = certs.Direct(url)
	}
	return &cluster.Client{URL: url, Token: token, HTTP: h}, err
}

// needClient is client for commands that make no sense without a tracker.
func (a *app) needClient(cmd *cobra.Command, f *trackerFlags) (*cluster.Client, error) {
	c, err := a.client(f)
	if c == nil && err == nil {
		return nil, usageOf(cmd, "no tracker is named: use --tracker URL or $%s", trackerVariable)
	}
	return c, err
}

func (a *app) trackerCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tracker",
		Short: "Run the tracker of a cluster",
		Long: `Run the tracker: it takes jobs, plans them, and has workers run them. It listens on this machine only, unless it is given
an address and a token or certificates. Its state is a folder of any store; a tracker that is started on the state of one that has ended, here or
on another machine, goes on with its jobs.`,
		Example: `  vista-mr tracker --state file:///var/lib/vista-mr
  vista-mr tracker --listen 0.0.0.0:7531 --token-file /etc/vista-mr/token --state hdfs://ns/vista-mr`,
		Args: arguments(0),
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:7531", "`HOST:PORT` to listen on")
	tokenFile := cmd.Flags().String("token-file", "", "`file` with the token that callers must have; default: $"+cluster.TokenVariable)
	var certs cluster.Certificates
	cmd.Flags().StringVar(&certs.Cert, "cert", "", "`file` with the tracker's certificate: it speaks TLS then. It is read again when it changes")
	cmd.Flags().StringVar(&certs.Key, "key", "", "`file` with its key")
	cmd.Flags().StringVar(&certs.CA, "client-ca", "", "`file` of authorities: whoever has a certificate of theirs needs no token")
	state := cmd.Flags().String("state", "", "`URI` of the folder for the tracker's state")
	scratch := cmd.Flags().String("scratch", "", "local `folder` for logs and the like; default: vista-mr-tracker-UID in the folder for temporary files")
	drivers := cmd.Flags().Int("jobs", 4, "`number` of jobs that run at once; others wait")
	memory := cmd.Flags().String("memory", "", "`size` that it and its jobs' drivers may take, as 4GiB, shared out to --jobs; never more than the machine, its control group or its ulimit allows")
	timeout := cmd.Flags().Duration("task-timeout", 5*time.Minute, "`time` for which an attempt may do nothing, as 90s or 5m, until it is given up and its task is run elsewhere")
	weights := cmd.Flags().StringToInt("weight", nil, "share of the workers that a user has, where others have 1: `USER=N`; may be repeated")
	var limits cluster.Limits
	cmd.Flags().StringToIntVar(&limits.Jobs, "max-jobs", nil, "jobs of a user that run at once, others wait: `USER=N`, or *=N for all who are not named; may be repeated")
	cmd.Flags().StringToIntVar(&limits.Slots, "max-slots", nil, "slots that jobs of a user take at once: `USER=N` or *=N; may be repeated")
	cmd.Flags().IntVar(&limits.Queued, "max-queued", 0, "`number` of jobs of each user that may wait; 0: any")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for user, n := range *weights {
			if n < 1 {
				return usageOf(cmd, "--weight %s=%d: a weight is 1 or more", user, n)
			}
		}
		for name, of := range map[string]map[string]int{"max-jobs": limits.Jobs, "max-slots": limits.Slots} {
			for user, n := range of {
				if n < 0 {
					return usageOf(cmd, "--%s %s=%d: a limit is 1 or more, and 0 is none", name, user, n)
				}
			}
		}
		if limits.Queued < 0 {
			return usageOf(cmd, "--max-queued %d: a limit is 1 or more, and 0 is none", limits.Queued)
		}
		if *drivers < 1 {
			return usageOf(cmd, "--jobs %d: a tracker runs at least one job at a time", *drivers)
		}
		if *timeout <= 0 {
			return usageOf(cmd, "--task-timeout %v: a time above 0", *timeout)
		}
		whole, own := machine.Least()
		limit, err := someMemory(*memory, whole)
		if err != nil {
			return usageOf(cmd, "--memory: %v", err)
		}
		a.noteUlimit(whole, own)
		if *state == "" {
			return usageOf(cmd, "--state is missing: the folder for the tracker's state")
		}
		token, err := a.token(*tokenFile)
		if err != nil {
			return err
		}
		return a.serveTracker(cmd.Context(), *state, cluster.TrackerOptions{Listen: *listen, Token: token, TLS: certs, Scratch: *scratch, Drivers: *drivers, Memory: limit, Whole: whole, Weights: *weights, Limits: limits, TaskTimeout: *timeout,
			Ready: func(url string) { a.note("tracker: " + url) }})
	}
	return cmd
}

// serveTracker runs a tracker with what all of them have.
func (a *app) serveTracker(ctx context.Context, state string, o cluster.TrackerOptions) error {
	abs, err := absolute(state)
	if err != nil {
		return err
	}
	o.Stores, o.StateURI = run.Stores(), abs
	if o.State, err = o.Stores.Folder(ctx, abs); err != nil {
		return exit.As(exit.Invalid, err)
	}
	if o.Registry, err = host.Loops(); err != nil {
		return err
	}
	if o.Scratch, err = cluster.TrackerScratch(o.Scratch); err != nil {
		return err
	}
	if o.Program, err = self(); err != nil {
		return err
	}
	o.Version, o.Log = a.buildVersion(), a.logger(a.Stderr)
	return cluster.ServeTracker(ctx, o)
}

// absolute makes a local path one from the root; other URIs stay.
func absolute(uri string) (string, error) {
	if dfs.HasScheme(uri) {
		return uri, nil
	}
	abs, err := filepath.Abs(uri)
	if err != nil {
		return "", exit.As(exit.Invalid, err)
	}
	return abs, nil
}

// someMemory is what a worker's jobs, or a tracker, may take: what the flag says, and never more than the machine, its control group or its ulimit allows.
func someMemory(flag string, machine int64) (int64, error) {
	if flag == "" {
		return machine, nil
	}
	n, err := conf.ParseBytes(flag)
	if err != nil {
		return 0, err
	}
	return min(machine, int64(n)), nil
}

// noteUlimit says that a limit of the process leaves less than there is: of the worker or tracker others see only how much it has.
func (a *app) noteUlimit(memory int64, own machine.Ulimit) {
	if own.Limit > 0 {
		a.note(fmt.Sprintf("memory: %s can be used under the process's own limit, %s", bytesize.AtMost(memory), own))
	}
}

func (a *app) workerCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run a worker of a cluster",
		Long: `Run a worker: it dials the tracker, and runs what that sends. When it is told to end (SIGTERM), it takes nothing new, brings what
runs to its end within the time of --grace, and leaves; nothing is lost if it is killed without warning.`,
		Example: `  vista-mr worker --tracker http://tracker:7531 --token-file /etc/vista-mr/token
  vista-mr worker --tracker http://127.0.0.1:7531 --slots 4 --memory 16GiB`,
		Args: arguments(0),
	}
	f := addTrackerFlags(cmd)
	slots := cmd.Flags().Int("slots", machine.Cores(), "`number` of attempts at once")
	memory := cmd.Flags().String("memory", "", "`size` that jobs may take, as 16GiB; never more than the machine, its control group or its ulimit allows")
	scratch := cmd.Flags().String("scratch", "", "local `folder` for spills; default: the folder for temporary files")
	grace := cmd.Flags().Duration("grace", 25*time.Second, "`time` that running attempts may take to end, as 90s or 5m, when the worker is told to")
	lib := ortFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, err := a.needClient(cmd, f)
		if err != nil {
			return err
		}
		if *slots < 1 {
			return usageOf(cmd, "--slots %d: a worker runs at least one attempt at a time", *slots)
		}
		if *grace < 0 {
			return usageOf(cmd, "--grace %v: a time of 0 or more", *grace)
		}
		whole, own := machine.Least()
		limit, err := someMemory(*memory, whole)
		if err != nil {
			return usageOf(cmd, "--memory: %v", err)
		}
		a.noteUlimit(whole, own)
		base := *scratch
		if base == "" {
			base = os.TempDir()
		}
		dir, remove, err := cluster.ScratchFolder(base)
		if err != nil {
			return cluster.ScratchError(base, err)
		}
		defer func() { // what cannot be removed costs room and no result
			if rerr := remove(); rerr != nil && err == nil {
				a.note(rerr.Error())
			}
		}()
		log := a.logger(a.Stderr)
		h, closeHost, err := run.OpenHost(dir, *slots, limit, run.Options{ORTLib: *lib, Log: log})
		if err != nil {
			return err
		}
		defer func() {
			if cerr := closeHost(); err == nil {
				err = cerr
			}
		}()
		// The signal ends the serving, not the command: a worker that has drained has done what it was told.
		return cluster.ServeWorker(cmd.Context(), cluster.WorkerOptions{Tracker: c.URL, Token: c.Token, HTTP: c.HTTP, Slots: *slots, Memory: limit, Whole: whole, Keeps: run.Keeps(), Scratch: dir,
			Grace: *grace, Env: h.Env, Version: a.buildVersion(), Log: log})
	}
	return cmd
}
