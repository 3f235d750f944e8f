package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// bucket makes a file system be s3://bucket for a test. No other test may run meanwhile.
func bucket(t *testing.T, fs dfs.FS) {
	t.Helper()
	before := stores
	t.Cleanup(func() { stores = before })
	stores = func() *dfs.Mux {
		return dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open, "s3": func(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
			if u.Host != "bucket" {
				return nil, "", errs.E("open", errs.NotExist, u.String(), errors.New("no such bucket"))
			}
			return fs, dfs.Path(strings.TrimPrefix(u.Path, "/")), nil
		}})
	}
}

// upload copies a local file or folder into a store.
func upload(t *testing.T, fs dfs.FS, from string, to dfs.Path) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			upload(t, fs, filepath.Join(from, e.Name()), to.Join(e.Name()))
		}
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := dfs.WriteFile(t.Context(), fs, to, data); err != nil {
		t.Fatal(err)
	}
}

// ownNetwork makes the world's job one of a network of the user's own, in files as users have them.
func (w *world) ownNetwork(t *testing.T) {
	t.Helper()
	cnn, err := layers.Build(t.Context(), small, layers.Source{Weights: "random", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	var graph, weights bytes.Buffer
	if err := cnn.Model.WriteExternal(&graph, &weights, "small.data", 1); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(w.dir, "net", "small.onnx"), graph.Bytes())
	save(t, filepath.Join(w.dir, "net", "small.data"), weights.Bytes())
	save(t, filepath.Join(w.dir, "net", "preprocessor_config.json"), []byte(`{"do_resize": true, "size": {"shortest_edge": 32}, "resample": 2,
		"do_center_crop": true, "crop_size": {"height": 30, "width": 30}, "do_rescale": true, "rescale_factor": 0.00392156862745098,
		"do_normalize": true, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}`))
	w.job.CNN[0].Model, w.job.CNN[0].Weights = filepath.Join(w.dir, "net", "small.onnx"), ""
	w.job.CNN[0].Preprocess = conf.Preprocess{Name: filepath.Join(w.dir, "net", "preprocessor_config.json")}
	w.job.CNN[0].Layers.Last = 2
	w.job.Limits.MaxBadFraction = 1
	w.job.Output = conf.URI(filepath.Join(w.dir, "out"))
}

// away is a copy of the job with everything in a store.
func (w *world) away(t *testing.T, fs dfs.FS, output string) *conf.Job {
	t.Helper()
	for from, to := range map[string]dfs.Path{w.table: "in/t.csv", w.images: "in/images", filepath.Join(w.dir, "net"): "in/net"} {
		upload(t, fs, from, to)
	}
	j := *w.job
	j.CNN = slices.Clone(j.CNN)
	j.Table.URI, j.Images.URI, j.Output = "s3://bucket/in/t.csv", "s3://bucket/in/images", conf.URI(output)
	j.CNN[0].Model, j.CNN[0].Preprocess.Name = "s3://bucket/in/net/small.onnx", "s3://bucket/in/net/preprocessor_config.json"
	return &j
}

// alone gives a test caches and temporary folders of its own, and says what is left in the latter.
func alone(t *testing.T) (left func() []string) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	if _, err := ort.FindLibrary(); err != nil && !strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	return func() []string { return below(t, tmp) }
}

// tree lists a store's files below a folder, with their contents.
func tree(t *testing.T, fs dfs.FS, dir dfs.Path) (names []string, data map[string]string) {
	t.Helper()
	data = map[string]string{}
	for i, err := range dfs.Sub(fs, dir).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := dfs.ReadFile(t.Context(), dfs.Sub(fs, dir), i.Path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		names, data[string(i.Path)] = append(names, string(i.Path)), string(b)
	}
	return names, data
}

// wantSame compares what a job has left in a store with what it leaves on this machine: the same files, the same
// metrics, and the same bytes of models, although the network's file lies elsewhere.
func (w *world) wantSame(t *testing.T, fs dfs.FS, dir dfs.Path) {
	t.Helper()
	wantNames, want := tree(t, local.New(w.dir, false), "out")
	gotNames, got := tree(t, fs, dir)
	logs := func(n string) bool { return n == AttemptsFile } // whether there is one depends on how long attempts took
	wantNames, gotNames = slices.DeleteFunc(wantNames, logs), slices.DeleteFunc(gotNames, logs)
	if !slices.Equal(wantNames, gotNames) {
		t.Fatalf("there is %q,\nwant %q", gotNames, wantNames)
	}
	for _, n := range wantNames {
		if (strings.HasPrefix(n, "models/") || n == "metrics.csv") && want[n] != got[n] {
			t.Errorf("%s differs", n)
		}
	}
}

// phasesBegun counts, in an event log, runs and, for each phase, the times that it was begun.
func phasesBegun(t *testing.T, log string) (runs int, phases map[string]int, last journal.Event) {
	t.Helper()
	phases = map[string]int{}
	err := journal.Read(strings.NewReader(log), func(e journal.Event) error {
		switch last = e; e.Kind {
		case started:
			runs++
		case "phase-started":
			phases[e.Phase]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs, phases, last
}

func TestJobInAStore(t *testing.T) {
	left := alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	if _, err := Submit(t.Context(), w.job, Options{}); err != nil {
		t.Fatal(err)
	}
	under := mem.New()
	fs := fault.New(under, fault.Options{})
	bucket(t, fs)
	j := w.away(t, under, "s3://bucket/team/out/")
	checks, err := Validate(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == "output" }); i < 0 || checks[i].Detail != "s3://bucket/team/out, new" {
		t.Errorf("checks: %+v", checks)
	}
	if n := len(left()); n > 0 {
		t.Errorf("validate has left %q", left())
	}
	s, err := Submit(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.wantSame(t, under, "team/out")
	data, again, err := Results(t.Context(), "s3://bucket/team/out")
	if err != nil || again.Verdict.Sentence != s.Verdict.Sentence || !bytes.Contains(data, []byte(`"schemaVersion"`)) {
		t.Errorf("results: %v", err)
	}
	_, files := tree(t, under, "team/out")
	if runs, _, last := phasesBegun(t, files[EventsFile]); runs != 1 || last.Kind != "job-done" || last.Error != "" {
		t.Errorf("%d runs, at last %+v", runs, last)
	}
	if n := left(); len(n) > 0 {
		t.Errorf("the run has left %q", n)
	}
	if l := fs.Leaks(); len(l) > 0 {
		t.Errorf("open: %q", l)
	}
	_, err = Submit(t.Context(), j, Options{})
	if refused(t, err, "E-OUTPUT"); !strings.Contains(fmt.Sprint(err), "s3://bucket/team/out: holds the finished results") {
		t.Errorf("once more: %v", err)
	}
}

// stopAt cancels a run when something has happened.
func stopAt(t *testing.T, when func(progress.Update) bool) (context.Context, progress.Sink) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, sinkFunc(func(u progress.Update) {
		if when(u) {
			cancel()
		}
	})
}

type sinkFunc func(progress.Update)

func (f sinkFunc) Update(u progress.Update) { f(u) }

func TestJobInAStoreGoesOn(t *testing.T) {
	left := alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	fs := mem.New()
	bucket(t, fs)
	j := w.away(t, fs, "s3://bucket/out")
	ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract" && u.End })
	if _, err := Submit(ctx, j, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	names, files := tree(t, fs, "out")
	if !slices.Contains(names, EventsFile) || slices.Contains(names, SuccessFile) || len(left()) > 0 {
		t.Fatalf("after the first run there is %q, and %q here", names, left())
	}
	if runs, phases, last := phasesBegun(t, files[EventsFile]); runs != 1 || phases["extract"] != 1 || last.Error == "" {
		t.Errorf("first run: %d runs, phases %v, at last %+v", runs, phases, last)
	}
	if _, _, err := Results(t.Context(), "s3://bucket/out"); errorID(err) != "E-NO-RESULTS" || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("results: %v", err)
	}
	if _, err := Submit(t.Context(), j, Options{}); err != nil {
		t.Fatal(err)
	}
	_, files = tree(t, fs, "out")
	runs, phases, _ := phasesBegun(t, files[EventsFile])
	if runs != 2 || phases["table"] != 1 || phases["extract"] != 1 {
		t.Errorf("%d runs, phases %v", runs, phases)
	}
	// Another job is refused, and a changed table makes a run start anew.
	other := *j
	other.Seed++
	_, err := Submit(t.Context(), &other, Options{})
	refused(t, err, "E-OUTPUT")
}

// engineFunc runs phases by a function.
type engineFunc struct {
	inProcess
	run func(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error)
}

func (e *engineFunc) Run(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	return e.run(ctx, w)
}

// Of two runs of a job in a store the later one goes on. The other finds out at the latest when it would show something.
func TestTwoRunsInAStore(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	for _, at := range []string{"in the middle", "at the end"} {
		t.Run(at, func(t *testing.T) {
			fs := mem.New()
			bucket(t, fs)
			j := w.away(t, fs, "s3://bucket/out")
			submit := func(o Options) *results.Summary {
				s, err := Submit(t.Context(), j, o)
				if err != nil {
					t.Error(err)
				}
				return s
			}
			var second *results.Summary
			e := &engineFunc{inProcess: inProcess{stores: stores()}}
			e.run = func(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
				inner := *w
				inner.Observe = func(u tracker.Update) {
					w.Observe(u)
					if at == "in the middle" && u.Kind == tracker.PhasePublished && u.Phase == "table" {
						c, err := ClaimOutput(t.Context(), j)
						if err != nil || c.State != OutputUnfinished || c.Close() != nil {
							t.Errorf("claim: %+v, %v", c, err)
						}
					}
				}
				out, err := e.inProcess.Run(ctx, &inner)
				if at == "at the end" {
					second = submit(Options{})
				}
				return out, err
			}
			_, err := Submit(t.Context(), j, Options{Engine: e})
			var id interface{ ErrorID() string }
			if !errors.As(err, &id) || id.ErrorID() != "E-OUTPUT-TAKEN" || exit.Code(err) != int(exit.JobFailed) {
				t.Errorf("the first run: %v (exit code %d)", err, exit.Code(err))
			}
			if at == "in the middle" {
				second = submit(Options{})
			}
			data, s, err := Results(t.Context(), "s3://bucket/out")
			if err != nil {
				t.Fatal(err)
			}
			if want, err := results.Marshal(second); err != nil || !bytes.Equal(want, data) || s.Verdict.BestLayer == "" {
				t.Errorf("the results are not those of the second run (%v)", err)
			}
		})
	}
}

// A store that does not answer, or refuses, is exit code 6, whatever was wanted of it, and says which key it is about.
func TestStoresThatFail(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	under := mem.New()
	bucket(t, under)
	j := w.away(t, under, "s3://bucket/out")
	for _, c := range []struct {
		path string
		op   fault.Op
		key  string
	}{
		{"in/t.csv", fault.Stat, "table.uri"}, {"in/t.csv", fault.Open, "table.uri"}, {"in/images", fault.List, "images.uri"},
		{"in/net/small.onnx", fault.Open, "cnn.model"}, {"in/net/small.data", fault.Open, "cnn.model"},
		{"in/net/preprocessor_config.json", fault.Open, "cnn.preprocess"}, {"out/_job.json", fault.Open, "output"},
	} {
		for _, kind := range []errs.Kind{errs.Unreachable, errs.Unauthorized} {
			bucket(t, fault.New(under, fault.Options{Rules: []fault.Rule{{Op: c.op, Path: c.path, Do: fault.Fail, Kind: kind}}}))
			_, err := Validate(t.Context(), j, Options{})
			var e *InputError
			if exit.Code(err) != int(exit.Unreachable) || !errors.As(err, &e) || e.Key != c.key || e.Next == "" {
				t.Errorf("%v of %s is %v: %v (exit code %d)", c.op, c.path, kind, err, exit.Code(err))
			}
			_, err = Submit(t.Context(), j, Options{})
			if exit.Code(err) != int(exit.Unreachable) {
				t.Errorf("submit: %v of %s is %v: %v (exit code %d)", c.op, c.path, kind, err, exit.Code(err))
			}
		}
	}
	bucket(t, under)
	if names, _ := tree(t, under, "out"); len(names) > 0 {
		t.Errorf("jobs that were refused have left %q", names)
	}
	for _, uri := range []string{"s3://other/t.csv", "s3://bucket/none.csv"} {
		bad := *j
		bad.Table.URI = conf.URI(uri)
		_, err := Validate(t.Context(), &bad, Options{})
		refused(t, err, "E-TABLE")
	}
}

func TestFolderURIs(t *testing.T) {
	for in, want := range map[string][2]string{
		"s3://bucket":           {"s3://bucket", "s3://bucket/_work"},
		"s3a://bucket/a/b//":    {"s3a://bucket/a/b", "s3a://bucket/a/b/_work"},
		"hdfs:///":              {"hdfs:///", "hdfs:///_work"},
		"hdfs:///user/x":        {"hdfs:///user/x", "hdfs:///user/x/_work"},
		"hdfs://host:8020/out/": {"hdfs://host:8020/out", "hdfs://host:8020/out/_work"},
	} {
		if got := folderURI(in); got != want[0] || inFolder(got, workFolder) != want[1] {
			t.Errorf("%s: %s and %s", in, got, inFolder(got, workFolder))
		}
	}
	if n := OutputFile("s3://bucket/out/", ResultsFile); n != "s3://bucket/out/results.json" {
		t.Errorf("results are in %s", n)
	}
}

// Failures of a store below the output name the output, those of input in the same store do not.
func TestFailuresNameTheOutputInAStore(t *testing.T) {
	bucket(t, mem.New())
	at, err := openPlace(t.Context(), "s3://bucket/out")
	if err != nil {
		t.Fatal(err)
	}
	inner := func(kind errs.Kind, path, uri string) error {
		return errs.E("read", kind, path, errs.E("", kind, uri, errors.New("no")))
	}
	for _, c := range []struct {
		err  error
		text string
		code int
	}{
		{inner(errs.NoSpace, "out/x", "s3://bucket/out/x"), "output s3://bucket/out: ", 5},
		{inner(errs.Corrupt, "out/_work/x", "s3://bucket/out/_work/x"), "output s3://bucket/out: ", 5},
		{inner(errs.Corrupt, "out2/x", "s3://bucket/out2/x"), "read: ", 5},
		{inner(errs.Unauthorized, "out/x", "s3://bucket/out/x"), "output s3://bucket/out: ", 6},
		{inner(errs.Unreachable, "out/x", "s3://bucket/out/x"), "read: ", 6},
	} {
		got := exit.Running(inOutput(at, c.err))
		if !strings.HasPrefix(got.Error(), c.text) || exit.Code(got) != c.code {
			t.Errorf("got %v (exit code %d), want %q and %d", got, exit.Code(got), c.text, c.code)
		}
	}
}

// Whatever operation of the store fails, or has its reply lost: the run says so or gets by, and the next one gives what
// a run without failures gives.
func TestAStoreThatFailsOnce(t *testing.T) {
	left := alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	if _, err := Submit(t.Context(), w.job, Options{}); err != nil {
		t.Fatal(err)
	}
	counter := fault.New(mem.New(), fault.Options{})
	bucket(t, counter)
	j := w.away(t, counter, "s3://bucket/out")
	before := map[fault.Action]int{fault.Fail: counter.Count(fault.Fail), fault.Lose: counter.Count(fault.Lose)}
	if _, err := Submit(t.Context(), j, Options{}); err != nil {
		t.Fatal(err)
	}
	tries := 9
	if testing.Short() {
		tries = 3
	}
	for do, from := range before {
		n := counter.Count(do) - from
		failed := 0
		for i := range tries {
			nth := 1 + (n-1)*i/(tries-1)
			under := mem.New()
			w.away(t, under, "s3://bucket/out")
			fs := fault.New(under, fault.Options{Rules: []fault.Rule{{Do: do, Nth: nth, Kind: errs.Transient}}})
			bucket(t, fs)
			if _, err := Submit(t.Context(), j, Options{}); err != nil {
				failed++
				if exit.Code(err) == int(exit.Internal) {
					t.Errorf("%v of operation %d of %d: %v", do, nth, n, err)
				}
				if _, err := Submit(t.Context(), j, Options{}); err != nil && errorID(err) != "E-OUTPUT" { // it may be done
					t.Errorf("%v of operation %d of %d: the next run: %v", do, nth, n, err)
				}
			}
			// How many operations a run takes differs by a few: the last one of another may not have come yet.
			bucket(t, under)
			_, _, err := Results(t.Context(), string(j.Output)) // removes what a last step has left
			if err != nil {
				t.Errorf("%v of operation %d of %d: %v", do, nth, n, err)
			}
			w.wantSame(t, under, "out")
			if l := fs.Leaks(); len(l) > 0 {
				t.Errorf("%v of operation %d of %d: open: %q", do, nth, n, l)
			}
		}
		t.Logf("%v: %d of %d runs failed, of %d operations", do, failed, tries, n)
	}
	if l := left(); len(l) > 0 {
		t.Errorf("the runs have left %q", l)
	}
}
