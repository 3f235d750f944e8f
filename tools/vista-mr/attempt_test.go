package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// byHand is an engine that has every attempt of a map or reduce phase run by the attempt command, in a process of its
// own that shares nothing but the store. Rounds run here.
type byHand struct {
	t       *testing.T
	program string // vista-mr

	mu    sync.Mutex
	kinds map[string]int // attempts that have succeeded
	last  mr.TaskSpec    // of the last attempt of kind extract
}

func (*byHand) Machine(context.Context) (vistaopt.Machine, error) {
	return vistaopt.Machine{Cores: 2, Memory: 4 << 30}, nil
}

func (e *byHand) Run(ctx context.Context, w *run.Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	loops, err := host.Loops()
	if err != nil {
		return nil, err
	}
	h := &host.Host{Stores: dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open}), Scratch: w.Scratch, Slots: w.Slots}
	store, err := h.Stores.Folder(ctx, w.Spec.Store)
	if err != nil {
		return nil, err
	}
	pub := &commit.Publisher{FS: store, Root: dfs.Path(w.Spec.ID)}
	epoch, err := pub.ClaimEpoch(ctx)
	if err != nil {
		return nil, err
	}
	w.Resumed(nil, nil)
	t := tracker.New(tracker.Options{Registry: loops, Rules: sched.Options{Epoch: epoch}})
	defer t.Close()
	here := worker.New(worker.Options{ID: "here", Slots: w.Slots, Report: func(r worker.Report) { t.Report(r, nil) },
		Env: func(spec *mr.TaskSpec) (*task.Env, error) { return h.Env(context.WithoutCancel(ctx), spec) }})
	defer here.Close()
	t.Join(&door{e, here, t}, sched.WorkerUp{Worker: "here", Slots: w.Slots})
	return t.Run(ctx, &w.Spec, tracker.JobOptions{Store: store, Publisher: pub, Epoch: epoch, Observe: w.Observe})
}

// door lets launches out and the rest in.
type door struct {
	e    *byHand
	here *worker.Worker
	t    *tracker.Tracker
}

func (d *door) Send(c worker.Command) {
	l, ok := c.(worker.Launch)
	if !ok || l.Spec.Type == mr.RoundsPhase {
		d.here.Do(c)
		return
	}
	go func() {
		m, err := d.e.attempt(l.Spec)
		if err != nil {
			var failed *errs.Error
			errors.As(errs.E("attempt", errs.Invalid, "", err), &failed)
			d.t.Report(worker.Report{Event: sched.Failed{Worker: "here", Job: l.Spec.Job, Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch, Err: failed}}, nil)
			return
		}
		d.t.Report(worker.Report{Event: sched.Succeeded{Worker: "here", Job: l.Spec.Job, Manifest: *m}}, nil)
	}()
}

// attempt runs the command.
func (e *byHand) attempt(spec mr.TaskSpec) (*mr.Manifest, error) {
	out, stderr, code := e.command(spec)
	if code != 0 {
		return nil, fmt.Errorf("exit code %d: %s", code, stderr)
	}
	var m mr.Manifest
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kinds[spec.Kind]++
	if spec.Kind == "extract" {
		e.last = spec
	}
	return &m, nil
}

func (e *byHand) command(spec any) (stdout []byte, stderr string, code int) {
	in, ok := spec.(string)
	if !ok {
		b, err := json.Marshal(spec)
		if err != nil {
			e.t.Error(err)
		}
		in = string(b)
	}
	cmd := exec.Command(e.program, "attempt")
	cmd.Stdin = strings.NewReader(in)
	cmd.Dir = e.t.TempDir() // nothing in a specification may depend on where the process runs
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	return out, errText.String(), exitCode(err)
}

// TestAttemptsByHand runs a job whose attempts are all run by the attempt command; it gives what a job in one process gives.
func TestAttemptsByHand(t *testing.T) {
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("VISTA_MR_ORT_LIB", lib)
	t.Setenv("VISTA_MR_CACHE", filepath.Join(dir, "cache"))
	e := &byHand{t: t, program: filepath.Join(dir, "vista-mr"), kinds: map[string]int{}}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, e.program); err != nil { // TestMain makes it the program by its name
		t.Fatal(err)
	}
	if out, err := exec.Command(e.program, "synth", "foods", "--records", "30", "--seed", "4", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain.onnx"), small().Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{apiVersion: vista-mr/v1, name: own, seed: 5, table: {uri: %[1]s/data/table.csv, key: id, label: label}, images: {uri: %[1]s/data/images},
cnn: {model: %[1]s/plain.onnx, layers: [stem, layer1.1.out]}, downstream: {iterations: 5}, plan: {join: shuffle, placement: before-join, partitions: 3}, output: %[1]s/one}`, dir)
	submit := func(output string, o run.Options) {
		t.Helper()
		j, err := conf.Load("job.yaml", []byte(text), []string{"output=" + filepath.Join(dir, output)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run.Submit(t.Context(), j, o); err != nil {
			t.Fatal(err)
		}
	}
	submit("one", run.Options{})
	submit("by-hand", run.Options{Engine: &failing{byHand: e, dir: filepath.Join(dir, "by-hand")}})
	for _, name := range []string{"metrics.csv", "models/stem.json", "models/layer1.1.out.json", "models/best-pipeline.onnx"} {
		a, aerr := os.ReadFile(filepath.Join(dir, "one", name))
		b, berr := os.ReadFile(filepath.Join(dir, "by-hand", name))
		if aerr != nil || berr != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs (%v, %v)", name, aerr, berr)
		}
	}
	for _, kind := range []string{"ingest", "extract", "join", "evaluate"} {
		if e.kinds[kind] == 0 {
			t.Errorf("no attempt of kind %s was run; there were %v", kind, e.kinds)
		}
	}
}

// failing tries, while a job's store is there, what cannot be run, and an attempt again.
type failing struct {
	*byHand
	dir string
}

func (f *failing) Run(ctx context.Context, w *run.Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	out, err := f.byHand.Run(ctx, w)
	if err != nil {
		return nil, err
	}
	t := f.t
	rounds := f.last
	rounds.Type = mr.RoundsPhase
	nowhere := f.last
	nowhere.Store = "gopher://host/x"
	missing := f.last
	missing.Store, missing.Out = filepath.Join(f.dir, "none"), "again"
	escape := f.last
	escape.Out = "../../up"
	strange := f.last
	strange.Kind, strange.Out = "none", "again"
	for _, c := range []struct {
		what string
		spec any
		code int
		say  string
	}{
		{"empty", "", 3, "E-ATTEMPT"}, {"no JSON", "{", 3, "E-ATTEMPT"}, {"unknown field", `{"jab": "x"}`, 3, `unknown field "jab"`}, {"nothing in it", "{}", 3, "it has no out"},
		{"rounds", rounds, 3, "hold a partition"}, {"scheme", nowhere, 3, "E-URI-SCHEME"}, {"no files there", missing, 5, "E-NOT-EXIST"}, {"escape", escape, 3, "E-ATTEMPT"},
		{"kind", strange, 5, "unknown kind"},
	} {
		stdout, stderr, code := f.command(c.spec)
		if code != c.code || !strings.Contains(stderr, c.say) || len(stdout) > 0 {
			t.Errorf("%s: exit code %d, want %d and %q; output %q: %s", c.what, code, c.code, c.say, stdout, stderr)
		}
	}
	again := f.last
	again.Out = "again"
	m, err := f.attempt(again)
	if err != nil || m.Attempt != again.Attempt || !slices.ContainsFunc(m.Files, func(p mr.PartFile) bool { return p.Path.Under("again") && p.Rows > 0 }) {
		t.Errorf("in another folder: %+v, %v", m, err)
	}
	if _, stderr, code := f.command(again); code != 5 || !strings.Contains(stderr, "E-EXIST") {
		t.Errorf("a second time: exit code %d: %s", code, stderr)
	}
	return out, nil
}
