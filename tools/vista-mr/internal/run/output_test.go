package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// CheckOutput looks at a job's output as validate does.
func CheckOutput(ctx context.Context, j *conf.Job) (OutputState, error) {
	p, err := openPlace(ctx, j.Output)
	if err != nil {
		return 0, err
	}
	return p.check(ctx, j)
}

// ClaimOutput claims a job's output as submit does.
func ClaimOutput(ctx context.Context, j *conf.Job) (*Claim, error) {
	p, err := openPlace(ctx, j.Output)
	if err != nil {
		return nil, err
	}
	return p.claim(ctx, j)
}

// below lists what is in a folder, at any depth.
func below(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if p != dir {
			out = append(out, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A claim that is undone leaves what was there: no folder, an empty one, or the run that somebody has left.
func TestUndo(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "a", "b", "out")
	for _, dir := range []string{deep, filepath.Join(top, "empty")} {
		if dir != deep {
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		before := below(t, top)
		c, err := ClaimOutput(t.Context(), job(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, workFolder, modelsFolder), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Undo(t.Context()), c.Close()); err != nil {
			t.Error(err)
		}
		if after := below(t, top); !slices.Equal(before, after) {
			t.Errorf("%s: there is %q, there was %q", dir, after, before)
		}
	}
	// Somebody's file in a folder on the way keeps it, and an unfinished run stays.
	c, err := ClaimOutput(t.Context(), job(t, deep))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "a", "note"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Undo(t.Context()), c.Close()); err != nil {
		t.Error(err)
	}
	if after := below(t, top); !slices.Equal(after, []string{"a", "a/note", "empty"}) {
		t.Errorf("there is %q", after)
	}
	if c, err = ClaimOutput(t.Context(), job(t, deep)); err != nil || c.Close() != nil {
		t.Fatal(err)
	}
	before := below(t, top)
	if c, err = ClaimOutput(t.Context(), job(t, deep)); err != nil || c.Undo(t.Context()) != nil || c.Close() != nil {
		t.Fatal(err)
	}
	if after := below(t, top); !slices.Equal(before, after) {
		t.Errorf("of the unfinished run there is %q, there was %q", after, before)
	}
}

// validate says what submit would, and submit says it before it reads anything: these jobs have no input.
func TestOutputThatAnotherProcessHas(t *testing.T) {
	j := job(t, t.TempDir())
	c, err := ClaimOutput(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckOutput(t.Context(), j); !busy(err) || exit.Code(err) != 3 {
		t.Errorf("claimed: %v", err)
	}
	if _, err := Submit(t.Context(), j, Options{}); !busy(err) {
		t.Errorf("submit: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if state, err := CheckOutput(t.Context(), j); err != nil || state != OutputUnfinished {
		t.Errorf("let go of: %v, %v", state, err)
	}
	if _, err := Submit(t.Context(), j, Options{}); err == nil || busy(err) {
		t.Errorf("let go of: submit: %v", err)
	}
}

// A driver waits for the one before it, which has the output and may not have noticed that it is to end.
func TestOutputIsWaitedFor(t *testing.T) {
	j := job(t, t.TempDir())
	c, err := ClaimOutput(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	core, said := observer.New(zap.WarnLevel)
	ended := make(chan error, 1)
	go func() {
		_, err := Submit(t.Context(), j, Options{Patience: time.Hour, Log: zap.New(core)})
		ended <- err
	}()
	for said.Len() == 0 {
		select {
		case err := <-ended:
			t.Fatalf("it does not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || busy(err) { // the job has no input
		t.Errorf("let go of: %v", err)
	}
	if _, err := Submit(t.Context(), j, Options{}); busy(err) {
		t.Errorf("it keeps the output: %v", err)
	}
}

// A driver that takes the place of one that was killed behind the end of the job tells its results. Whoever submits a finished
// job is refused.
func TestFinishedByTheDriverBefore(t *testing.T) {
	j := job(t, t.TempDir())
	c, err := ClaimOutput(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	b, err := results.Marshal(&results.Summary{Layers: []results.Layer{{Name: "a", Folder: "a"}}, Verdict: results.Verdict{BestLayer: "a", Metric: "accuracy", On: "test", Sentence: "it helps"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := j.Output.LocalPath()
	err = errors.Join(c.Close(), os.WriteFile(filepath.Join(dir, ResultsFile), b, 0o666), os.WriteFile(filepath.Join(dir, SuccessFile), nil, 0o666),
		os.MkdirAll(filepath.Join(dir, workFolder), 0o777))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckOutput(t.Context(), j); !isFinished(err) {
		t.Errorf("submitted once more: %v", err)
	}
	s, err := Submit(t.Context(), j, Options{Again: true})
	if err != nil || s.Verdict.Sentence != "it helps" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(dir, workFolder)); !os.IsNotExist(err) {
		t.Errorf("what the run was made from is left: %v", err)
	}
}

// Whoever waits for an output whose claim is undone does not get a file that is gone.
func TestClaimOfAFileThatIsGone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !there(f) {
		t.Error("the file is there")
	}
	if err := errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	if there(f) {
		t.Error("another file has its name")
	}
}

// Failures of the disk below the output name it and say what to do; those of input have names of their own.
func TestFailuresNameTheOutput(t *testing.T) {
	at, err := openPlace(t.Context(), "some/out")
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs("some/out")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		id   string
		text string
		code int
	}{
		{errs.E("write", errs.Unknown, "features/fc6/part-00000.avro", syscall.ENOSPC), "E-NO-SPACE", "output " + abs + ": write: features/fc6/part-00000.avro: no space left on device", 5},
		{&os.PathError{Op: "write", Path: "events.jsonl", Err: syscall.EDQUOT}, "E-NO-SPACE", "output " + abs, 5},
		{errs.E("read", errs.Corrupt, "job/table/part.avro", errors.New("damaged")), "E-CORRUPT", "output " + abs, 5},
		{errs.E("open", errs.Unauthorized, "job/table/part.avro", errors.New("refused")), "E-UNAUTHORIZED", "output " + abs, 5},
		{errs.E("open", errs.Unauthorized, "/data/t.csv", errors.New("refused")), "E-UNAUTHORIZED", "open: /data/t.csv: refused", 5},
		{errs.E("open", errs.Unauthorized, "s3://bucket/t.csv", errors.New("refused")), "E-UNAUTHORIZED", "open: s3://bucket/t.csv", 6},
	} {
		got := exit.Running(inOutput(at, c.err))
		var says interface{ ErrorID() string }
		if !errors.As(got, &says) || says.ErrorID() != c.id || !strings.HasPrefix(got.Error(), c.text) || exit.Code(got) != c.code {
			t.Errorf("got %v (exit code %d), want %s: %s", got, exit.Code(got), c.id, c.text)
		}
		var hint interface{ Hint() string }
		if strings.HasPrefix(got.Error(), "output") && (!errors.As(got, &hint) || hint.Hint() == "") {
			t.Errorf("%v: no next step", got)
		}
	}
}

func TestLabelRemarks(t *testing.T) {
	for _, c := range []struct {
		labels []string
		rows   int64
		want   []string
	}{
		{[]string{"0", "1"}, 3, nil},
		{[]string{"cat", "dog", "owl"}, 6, nil},
		{[]string{"1", "1.0", "1e0"}, 60, []string{`Labels that look alike are classes of their own: "1", "1.0" and "1e0".`}},
		{[]string{"A", "B", "a", "b"}, 7, []string{`Labels that look alike are classes of their own: "A" and "a"; "B" and "b".`, "There are 4 classes in 7 rows: is that what table.label should name?"}},
		{[]string{"NaN", "nan"}, 60, []string{`Labels that look alike are classes of their own: "NaN" and "nan".`}},
	} {
		if got := labelRemarks(c.labels, c.rows); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d rows: %q, want %q", c.labels, c.rows, got, c.want)
		}
	}
	if got := listed([]string{"a", "b", "c", "d", "e", "f", "g"}, " and "); got != `"a", "b", "c", "d", "e" and 2 more` {
		t.Errorf("got %s", got)
	}
}

// TestOutputRemovedMeanwhile: whoever removes an output in a store while its job runs is told so, and not that another run has taken over.
func TestOutputRemovedMeanwhile(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	for what, want := range map[string]string{"removed": "E-OUTPUT-GONE", "done": "E-OUTPUT-TAKEN", "taken": "E-OUTPUT-TAKEN"} {
		fs := mem.New()
		bucket(t, fs)
		j := w.away(t, fs, "s3://bucket/out")
		c, err := ClaimOutput(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(t.Context()); err != nil {
			t.Errorf("%s: before: %v", what, err)
		}
		if what == "taken" {
			if _, err := ClaimOutput(t.Context(), j); err != nil {
				t.Fatal(err)
			}
		} else if err := dfs.RemoveAll(t.Context(), c.place.out, ""); err != nil {
			t.Fatal(err)
		}
		if what == "done" { // by another run, which has removed what it was made from
			if err := dfs.WriteFile(t.Context(), c.place.out, SuccessFile, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Check(t.Context()); err == nil || errs.Of("", err).ErrorID() != want || exit.Code(exit.Running(err)) != int(exit.JobFailed) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
}
