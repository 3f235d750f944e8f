//go:build linux

// Command chaos runs small real jobs on clusters of real processes while it kills, stops and cuts them off at moments that
// a seed decides, and compares what the jobs leave, byte for byte, with what they leave undisturbed.
//
//	make build
//	go run ./tools/chaos -seed 1 -runs 20                     twenty runs on the local disk
//	go run ./tools/chaos -for 1m -store local,s3              as many as begin within a minute
//	go run ./tools/chaos -seed 17 -runs 1 -store s3 -v        one again, and every fault as it happens
//	go run ./tools/chaos -seed 17 -runs 1 -store s3 -dry      only the schedule
//
// A run is a tracker, three workers and a job. Each process has its own way to the tracker, and to the store, through a proxy of
// this program that can hold one direction, both, delay or cut. A run is good if the job succeeds, its files are those of the calm run,
// nothing is left behind, no process is, and its event log can be read to a good end. What is not is printed with the
// seed and what happened when, with the logs of all processes kept, and ends the program with code 1.
//
// Invariant: the seed, the store and the calm run's time decide what is done and when; the program decides nothing else by chance.
// Whatever ends it, the processes that it has started end. It changes no mounts but in a mount namespace of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	seed     int64
	runs     int
	last     time.Duration
	stores   []string
	parallel int
	limit    time.Duration
	dir      string
	bin      string
	pace     time.Duration
	dry      bool
	verbose  bool
}

func main() {
	var o options
	var stores string
	flag.Int64Var(&o.seed, "seed", 1, "seed of the first run; each further one has the next")
	flag.IntVar(&o.runs, "runs", 0, "number of runs; default: 1, or no limit with -for")
	flag.DurationVar(&o.last, "for", 0, "no run begins later than that")
	flag.StringVar(&stores, "store", "local", "where output and state lie: local, s3, hdfs, or several in turn; a + behind one skips it where its servers are not there")
	flag.IntVar(&o.parallel, "parallel", 2, "runs at once")
	flag.DurationVar(&o.limit, "limit", 4*time.Minute, "a run that takes longer hangs")
	flag.StringVar(&o.dir, "dir", "", "folder of the runs; those that fail stay; default: a new one")
	flag.StringVar(&o.bin, "bin", "bin", "folder of the program and ONNX Runtime")
	flag.DurationVar(&o.pace, "pace", 0, "time of a calm run, of which moments are shares; default: it is measured")
	flag.BoolVar(&o.dry, "dry", false, "print the schedules and run nothing")
	flag.BoolVar(&o.verbose, "v", false, "print faults as they happen")
	flag.Parse()
	o.stores = strings.Split(stores, ",")
	if o.runs == 0 && o.last == 0 {
		o.runs = 1
	}
	if os.Getenv(insideVariable) == "" && !o.dry {
		if code, ok := inNamespace(); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bad, err := chaos(ctx, &o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if bad > 0 || err != nil {
		stop()
		os.Exit(1)
	}
}

// insideVariable says that the program runs in a mount namespace of its own.
const insideVariable = "VISTA_CHAOS_INSIDE"

// inNamespace runs this program again where it may mount file systems, if the system lets it.
func inNamespace() (code int, ok bool) {
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	spawn(func() { err = cmd.Start() })
	if err != nil {
		return 0, false // no namespace may be made here: disks cannot be filled, all else can be done
	}
	go func() {
		for range signals {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it has ended, or is told
		}
	}()
	err = cmd.Wait()
	if code = cmd.ProcessState.ExitCode(); code < 0 {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		code = 1
	}
	return code, true
}

// spawn has f called on a thread that lives as long as the program: the children that f starts die with it.
var spawn = func() func(func()) {
	calls := make(chan func())
	var once sync.Once
	return func(f func()) {
		once.Do(func() { go spawner(calls) })
		done := make(chan struct{})
		calls <- func() { defer close(done); f() }
		<-done
	}
}()

// chaos does all runs and returns how many were bad.
func chaos(ctx context.Context, o *options) (bad int, err error) {
	if o.dry {
		for i := range max(1, o.runs) {
			p := newSchedule(o.seed+int64(i), strings.TrimSuffix(o.stores[i%len(o.stores)], "+"))
			fmt.Print(p.text(o.pace))
		}
		return 0, nil
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	start := time.Now()
	var mu sync.Mutex
	var next int
	done := map[string]int{}
	faults := map[string]int{}
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if o.runs > 0 && next >= o.runs || o.last > 0 && time.Since(start) > o.last || ctx.Err() != nil || err != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var wg sync.WaitGroup
	for l := range o.parallel {
		wg.Go(func() {
			lane := &lane{bench: b, number: l}
			defer lane.close()
			for i, ok := take(); ok; i, ok = take() {
				store := b.stores[i%len(b.stores)]
				r, lerr := lane.run(ctx, store, o.seed+int64(i))
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				if lerr != nil {
					err = errors.Join(err, lerr)
				} else {
					r.print(os.Stdout, o)
					done[store]++
					for _, f := range r.done {
						faults[f.kind]++
					}
					if len(r.wrong) > 0 {
						bad++
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d runs, %d bad, in %.0f s: %s; faults: %s\n", sum(done), bad, time.Since(start).Seconds(), counts(done), counts(faults))
	if err == nil {
		err = context.Cause(ctx)
	}
	return bad, err
}

// folder of the runs.
func (o *options) folder() (string, error) {
	if o.dir == "" {
		return os.MkdirTemp("", "vista-chaos-*")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o777)
}
