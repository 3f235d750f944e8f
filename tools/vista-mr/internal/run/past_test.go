package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// TestLook: an output tells where its job is, while it runs, when it was stopped, and when it is done.
func TestLook(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	under := mem.New()
	bucket(t, under)
	for name, j := range map[string]*conf.Job{"of this machine": w.job, "in a store": w.away(t, under, "s3://bucket/out")} {
		t.Run(name, func(t *testing.T) {
			output := string(j.Output)
			if _, err := Look(t.Context(), output); errorID(err) != "E-NO-JOB" {
				t.Errorf("before: %v", err)
			}
			var during *Past
			ctx, stop := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract" && u.End })
			_, err := Submit(ctx, j, Options{Progress: sinkFunc(func(u progress.Update) {
				if u.Stage == "extract" && u.End {
					if during, _ = Look(t.Context(), output); during == nil {
						t.Error("while it runs nothing is told")
					}
				}
				stop.Update(u)
			})})
			if !errs.Is(err, errs.Canceled) {
				t.Fatalf("stopped: %v", err)
			}
			want := PastRunning
			if name == "in a store" {
				want = PastUnfinished
			}
			if during.State != want || during.Outcome() != nil {
				t.Errorf("while it runs: %+v", during)
			}
			p, err := Look(t.Context(), output)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(p.Phases, func(q PastPhase) bool { return q.Name == "extract" })
			if p.State != PastStopped || exit.Code(p.Outcome()) != int(exit.JobFailed) || p.Runs != 1 || i < 0 || p.Phases[i].Done == 0 || p.Phases[i].Done != p.Phases[i].Tasks || p.Phases[i].State == "running" {
				t.Errorf("stopped: %+v", p)
			}
			s, err := Submit(t.Context(), j, Options{Resume: true})
			if err != nil {
				t.Fatal(err)
			}
			if p, err = Look(t.Context(), output); err != nil || p.State != PastSucceeded || p.Verdict != s.Verdict.Sentence || p.Runs != 2 || p.Outcome() != nil {
				t.Errorf("done: %+v, %v", p, err)
			}
			for _, q := range p.Phases {
				if q.State != "published" || q.Running != 0 || q.Done != q.Tasks {
					t.Errorf("done: %+v", q)
				}
			}
			if events := p.Events(); len(events) == 0 || events[len(events)-1].Kind != "job-done" {
				t.Errorf("%d events", len(events))
			}
			var log bytes.Buffer
			n, err := p.Log(0, &log)
			if err != nil || n != log.Len() || !bytes.Contains(log.Bytes(), []byte(`"phase-published"`)) {
				t.Errorf("%d of %d bytes of events, %v", n, log.Len(), err)
			}
			if again, err := p.Log(n, &log); err != nil || again != n || log.Len() != n {
				t.Errorf("further events: %d, %v", again, err)
			}
		})
	}
}

// TestResumeOnly: what would start anew is refused, says why, and leaves what there is.
func TestResumeOnly(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	refusedWith := func(what, id, words string) {
		t.Helper()
		_, err := Submit(t.Context(), w.job, Options{Resume: true})
		var says interface{ ErrorID() string }
		if !errors.As(err, &says) || says.ErrorID() != id || exit.Code(err) != int(exit.Invalid) || !bytes.Contains([]byte(err.Error()), []byte(words)) {
			t.Errorf("%s: %v (exit code %d)", what, err, exit.Code(err))
		}
	}
	refusedWith("nothing to take up", "E-RESUME", "no run")
	if _, err := os.Stat(w.job.Output.LocalPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has left something: %v", err)
	}
	ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract" && u.End })
	if _, err := Submit(ctx, w.job, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	w.job.Seed++
	refusedWith("another seed", "E-OUTPUT", "other settings")
	w.job.Seed--
	table, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	save(t, w.table, append(slices.Clone(table), table[bytes.LastIndexByte(table[:len(table)-1], '\n')+1:]...)) // its last row once more
	refusedWith("another table", "E-RESUME", "table")
	save(t, w.table, table)
	kept, err := os.ReadFile(filepath.Join(w.job.Output.LocalPath(), workFolder, keptFile))
	if err != nil || len(kept) == 0 {
		t.Errorf("what was computed is gone: %v", err)
	}
	if _, err := Submit(t.Context(), w.job, Options{Resume: true}); err != nil {
		t.Errorf("as it was: %v", err)
	}
	refusedWith("it is done", "E-OUTPUT", "finished results")
	log, err := os.ReadFile(filepath.Join(w.job.Output.LocalPath(), EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	if runs, phases, _ := phasesBegun(t, string(log)); runs != 2 || phases["extract"] != 1 {
		t.Errorf("%d runs, phases %v", runs, phases)
	}
}

// TestAnewIsAnotherRun: a run that is taken up has its name, and one that starts anew has another: what still lives of the one before can
// neither write into its folder nor be taken for it.
func TestAnewIsAnotherRun(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	under := mem.New()
	bucket(t, under)
	j := w.away(t, under, "s3://bucket/out")
	var ids []mr.JobID
	stopped := errs.E("test", errs.Canceled, "", errors.New("stopped"))
	e := &engineFunc{inProcess: inProcess{stores: stores()}}
	e.run = func(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
		ids = append(ids, w.Spec.ID)
		store, err := stores().Folder(ctx, w.Spec.Store)
		if err != nil {
			return nil, err
		}
		if _, err := (&commit.Publisher{FS: store, Root: dfs.Path(w.Spec.ID)}).ClaimEpoch(ctx); err != nil {
			return nil, err
		}
		return nil, stopped
	}
	for range 2 {
		if _, err := Submit(t.Context(), j, Options{Engine: e}); !errs.Is(err, errs.Canceled) {
			t.Fatal(err)
		}
	}
	if err := under.Remove(t.Context(), dfs.Path("out").Join(workFolder, keptFile)); err != nil { // nobody knows what it was made from
		t.Fatal(err)
	}
	if _, err := Submit(t.Context(), j, Options{Engine: e}); !errs.Is(err, errs.Canceled) {
		t.Fatal(err)
	}
	if len(ids) != 3 || ids[0] != ids[1] || ids[2] == ids[0] {
		t.Fatalf("runs %v", ids)
	}
	names, _ := tree(t, under, "out")
	left := func(of dfs.Path) bool {
		return slices.ContainsFunc(names, func(n string) bool { return dfs.Path(n).Under(dfs.Path(workFolder).Join(string(of))) })
	}
	if left(dfs.Path(ids[0])) || !left(dfs.Path(ids[2])) || !left(runsFolder) {
		t.Errorf("it leaves %q", names)
	}
}

// late is a folder in which a job ends just after it was looked for its end.
type late struct {
	dfs.FS
	asked int
}

func (l *late) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	if p == SuccessFile {
		if l.asked++; l.asked == 1 {
			return dfs.Info{}, errs.E("stat", errs.NotExist, string(p), nil)
		}
	}
	return l.FS.Stat(ctx, p)
}

// TestLookAtTheEnd: a job that comes to its end while its output is looked at has succeeded; it was not stopped.
func TestLookAtTheEnd(t *testing.T) {
	j := job(t, t.TempDir())
	c, err := ClaimOutput(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := Look(t.Context(), string(j.Output)); err != nil || p.State != PastStopped {
		t.Errorf("before its end: %+v, %v", p, err)
	}
	at, err := openPlace(t.Context(), j.Output)
	if err != nil {
		t.Fatal(err)
	}
	if err := dfs.WriteFile(t.Context(), at.out, SuccessFile, nil); err != nil {
		t.Fatal(err)
	}
	at.out = &late{FS: at.out}
	if p, err := look(t.Context(), at, string(j.Output)); err != nil || p.State != PastSucceeded {
		t.Errorf("at its end: %+v, %v", p, err)
	}
}
