//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
)

// bench holds what all runs share.
type bench struct {
	o       *options
	root    string // of the working tree
	dir     string
	program string
	lib     string
	dataDir string
	model   string
	stores  []string
	disks   bool // small file systems may be mounted

	mu    sync.Mutex
	alone map[string]files // by variant: what the job leaves in one process on the local disk
	calm  map[string]*calm // by store and variant
}

// calm is a run that nothing was done to.
type calm struct {
	files files
	pace  time.Duration // from submission to the job's end
}

// variants are the jobs. Together they have every kind of phase.
var variants = []struct {
	name string
	sets []string
}{
	{"broadcast", []string{"plan.join=broadcast"}},
	{"shuffle", []string{"plan.join=shuffle", "plan.inference=staged"}},
	{"rounds", []string{"downstream.iterations=150", "downstream.folds=2", "downstream.tol=0"}},
}

// A few pictures are broken, so that there is something to set aside.
const jobText = `apiVersion: vista-mr/v1
name: chaos
seed: 5
table: {uri: DATA/table.csv, key: id, label: label}
images: {uri: DATA/images}
cnn: {model: MODEL, layers: 2, pool: avg-1x1}
downstream: {iterations: 20, test: 0.3}
plan: {partitions: 16, batch: 2, cpu: 1}
limits: {maxBadFraction: 0.1}
keep: {features: true}
output: out
`

const records = "240"

func newBench(ctx context.Context, o *options) (_ *bench, err error) {
	b := &bench{o: o, alone: map[string]files{}, calm: map[string]*calm{}}
	if b.root, err = os.Getwd(); err != nil {
		return nil, err
	}
	if b.program, err = filepath.Abs(filepath.Join(o.bin, "vista-mr")); err != nil {
		return nil, err
	}
	b.lib = filepath.Join(filepath.Dir(b.program), "libonnxruntime.so")
	for _, name := range []string{b.program, b.lib} {
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("%w: run make build", err)
		}
	}
	for _, s := range o.stores {
		name, optional := strings.CutSuffix(s, "+")
		switch err := servers(name); {
		case err != nil && optional:
			fmt.Printf("%s is left out: make servers has not been run (%v)\n", name, err)
		case err != nil:
			return nil, err
		default:
			b.stores = append(b.stores, name)
		}
	}
	if len(b.stores) == 0 {
		return nil, errors.New("no store is left")
	}
	if b.dir, err = o.folder(); err != nil {
		return nil, err
	}
	if err := b.mayMount(); err != nil {
		fmt.Printf("disks are not filled: %v\n", err)
	} else {
		b.disks = true
	}
	b.dataDir, b.model = filepath.Join(b.dir, "data"), filepath.Join(b.dir, "small.onnx")
	if err := b.makeData(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// mayMount keeps this program's mounts to itself and tries one.
func (b *bench) mayMount() error {
	if os.Getenv(insideVariable) == "" {
		return errors.New("no mount namespace may be made here")
	}
	return private(b.dir)
}

// makeData makes the table, the pictures and a small network, and runs each job alone.
func (b *bench) makeData(ctx context.Context) error {
	if _, err := os.Stat(b.dataDir); err != nil {
		if err := b.command(ctx, "synth", "foods", "--records", records, "--broken", "3", "--seed", "4", b.dataDir); err != nil {
			return err
		}
	}
	arch := layers.Arch{Name: "small", H: 32, W: 32, C: 3, Roster: []string{"low", "high"}, Steps: []layers.Step{
		{Op: "conv", Path: "a", Out: 8, Kernel: 3, Stride: 2}, {Op: "relu", Path: "b", Layer: "low"},
		{Op: "conv", Path: "c", Out: 16, Kernel: 3, Stride: 2}, {Op: "relu", Path: "d", Layer: "high"}}}
	cnn, err := layers.Build(ctx, arch, layers.Source{Weights: "random", Seed: 3})
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.model, cnn.Model.Marshal(), 0o666); err != nil {
		return err
	}
	for _, v := range variants {
		out := filepath.Join(b.dir, "alone-"+v.name)
		job := out + ".yaml"
		if err := errors.Join(os.RemoveAll(out), os.WriteFile(job, b.jobFile(b.dataDir), 0o666)); err != nil {
			return err
		}
		args := []string{"submit", job, "--set", "output=" + out}
		for _, s := range v.sets {
			args = append(args, "--set", s)
		}
		if err := b.command(ctx, args...); err != nil {
			return err
		}
		all, err := snapshot(ctx, local.New(out, false), "")
		if err != nil {
			return err
		}
		b.alone[v.name] = all
	}
	return nil
}

func (b *bench) jobFile(data string) []byte {
	return []byte(strings.NewReplacer("DATA", data, "MODEL", b.model).Replace(jobText))
}

// command runs the program on this machine, without a tracker.
func (b *bench) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Env = append(os.Environ(), "VISTA_MR_TRACKER=", "VISTA_MR_ORT_LIB="+b.lib, "VISTA_MR_CACHE="+filepath.Join(b.dir, "cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("vista-mr %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// close removes what runs have shared, and the folder if no run has left anything.
func (b *bench) close() error {
	err := os.RemoveAll(filepath.Join(b.dir, "cache"))
	all, rerr := filepath.Glob(filepath.Join(b.dir, "run-*"))
	if b.o.dir == "" && len(all) == 0 {
		return errors.Join(err, rerr, os.RemoveAll(b.dir))
	}
	return errors.Join(err, rerr)
}

// lane does runs one after the other, with servers of its own.
type lane struct {
	bench  *bench
	number int
	stores map[string]storage
}

func (l *lane) storage(ctx context.Context, store string) (storage, error) {
	if s := l.stores[store]; s != nil {
		return s, nil
	}
	s, err := newStorage(ctx, l.bench, store, filepath.Join(l.bench.dir, fmt.Sprintf("%s-%d-%d", store, l.number, os.Getpid())))
	if err != nil {
		return nil, err
	}
	if l.stores == nil {
		l.stores = map[string]storage{}
	}
	l.stores[store] = s
	return s, nil
}

func (l *lane) close() {
	for s := range maps.Values(l.stores) {
		if err := s.close(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
		}
	}
}

// run does one run. An error says that it could not be done; what was wrong in it is in the run.
func (l *lane) run(ctx context.Context, store string, seed int64) (*run, error) {
	st, err := l.storage(ctx, store)
	if err != nil {
		return nil, err
	}
	s := newSchedule(seed, store)
	c, err := l.calm(ctx, st, store, s.job)
	if err != nil {
		return nil, err
	}
	r := newRun(l.bench, st, s, c)
	return r, r.all(ctx)
}

// calm is the undisturbed run of a job on a store: done once, and compared with the job alone.
func (l *lane) calm(ctx context.Context, st storage, store, job string) (*calm, error) {
	b := l.bench
	b.mu.Lock() // also while it runs: its time counts
	defer b.mu.Unlock()
	key := store + "/" + job
	if c := b.calm[key]; c != nil {
		return c, nil
	}
	r := newRun(b, st, schedule{store: store, job: job}, nil)
	if err := r.all(ctx); err != nil {
		return nil, err
	}
	if len(r.wrong) == 0 {
		for _, d := range differences(b.alone[job], r.files, func(name string) bool { return !strings.HasPrefix(name, "quarantine/") }) {
			r.bad("not as alone: %s", d)
		}
	}
	if len(r.wrong) > 0 {
		r.print(os.Stdout, b.o)
		return nil, fmt.Errorf("%s: the run without faults is wrong", key)
	}
	c := &calm{files: r.files, pace: r.took}
	if b.o.pace > 0 {
		c.pace = b.o.pace
	}
	b.calm[key] = c
	return c, nil
}
