package run

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// endingJob is a job in a store in which runs are held up.
func endingJob(t *testing.T) (start func(s *stop) chan error, fs *mem.FS) {
	t.Helper()
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.CNN[0].Layers.Last, w.job.Keep.Features = 1, false
	fs = mem.New()
	bucket(t, stopped{fs})
	j := w.away(t, fs, "s3://bucket/out")
	return func(s *stop) chan error { return s.submit(t.Context(), j) }, fs
}

func isThere(t *testing.T, fs dfs.FS, p dfs.Path) bool {
	t.Helper()
	_, err := fs.Stat(t.Context(), p)
	if err != nil && !errs.Is(err, errs.NotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestStoppedBeforeItsEnd: a run that is stopped behind its last look at the claims, and goes on while a later one is in the midst of
// its files, writes no marker: nobody may take the output for whole.
func TestStoppedBeforeItsEnd(t *testing.T) {
	start, fs := endingJob(t)
	a := newStop()
	a.when = func(op string, p dfs.Path) bool { // its first words on its end, wherever they are written
		return op == "create" && (p == "out/"+SuccessFile || p.Under("out/"+workFolder+"/"+endingsFolder))
	}
	aOver := start(a)
	<-a.reached
	b := newStop()
	b.when = func(op string, p dfs.Path) bool { return op == "create" && p == "out/"+ResultsFile } // the old one is removed
	bOver := start(b)
	<-b.reached
	close(a.on)
	if err := <-aOver; idOf(err) != "E-OUTPUT-TAKEN" {
		t.Errorf("the first run: %v", err)
	}
	if isThere(t, fs, "out/"+SuccessFile) {
		t.Errorf("there is %s while a run writes; there is %s: %v", SuccessFile, ResultsFile, isThere(t, fs, "out/"+ResultsFile))
	}
	close(b.on)
	if err := <-bOver; err != nil {
		t.Error(err)
	}
	if why := notWhole(t, fs); why != "" {
		t.Error(why)
	}
}

// TestStoppedBehindItsEnd: what a run has left that was stopped, or killed, between deciding that its output is whole and saying so,
// counts. The next one touches nothing and says so.
func TestStoppedBehindItsEnd(t *testing.T) {
	for _, dies := range []bool{false, true} {
		start, fs := endingJob(t)
		a := newStop()
		a.dies = dies
		a.when = func(op string, p dfs.Path) bool { return op == "create" && p == "out/"+SuccessFile }
		aOver := start(a)
		<-a.reached
		_, before := tree(t, fs, "out")
		if err := <-start(newStop()); !isFinished(err) {
			t.Errorf("the second run: %v", err)
		}
		if why := notWhole(t, fs); why != "" {
			t.Error(why)
		}
		close(a.on)
		if err := <-aOver; err != nil && !dies {
			t.Error(err)
		}
		_, after := tree(t, fs, "out")
		for name, data := range before {
			if !strings.HasPrefix(name, workFolder+"/") && after[name] != data {
				t.Errorf("%s was touched", name)
			}
		}
		for name := range after {
			if strings.HasPrefix(name, workFolder+"/") {
				t.Errorf("left: %s", name)
			}
		}
		if why := notWhole(t, fs); why != "" {
			t.Error(why)
		}
	}
}

// TestKilledBehindTheLastLook: a run is stopped before it changes a file of the output, whichever; a later one comes to its end; the first
// does what it was about to do, and is killed. The output stays whole.
func TestKilledBehindTheLastLook(t *testing.T) {
	start, fs := endingJob(t)
	// Which changes there are.
	var changes []string
	all := newStop()
	all.when = func(op string, p dfs.Path) bool {
		if (op == "remove" || op == "create" || op == "commit") && p.Under("out") && !p.Under("out/"+workFolder) {
			changes = append(changes, op+" "+string(p))
		}
		return false
	}
	if err := <-start(all); err != nil {
		t.Fatal(err)
	}
	slices.Sort(changes)
	changes = slices.Compact(changes)
	if len(changes) < 15 {
		t.Fatalf("changes: %q", changes)
	}
	empty := func() {
		if err := dfs.RemoveAll(t.Context(), fs, "out"); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("VISTA_TOGETHER") == "" { // else all of them
		some := []string{ResultsFile, SuccessFile, EventsFile, "models/" + results.Folder(results.StructuredRow) + ".json"}
		changes = slices.DeleteFunc(changes, func(c string) bool {
			return !slices.ContainsFunc(some, func(name string) bool { return strings.HasSuffix(c, " out/"+name) })
		})
	}
	for _, change := range changes {
		empty()
		a := newStop()
		a.dies = true
		a.when = func(op string, p dfs.Path) bool { return op+" "+string(p) == change }
		aOver := start(a)
		select {
		case <-a.reached:
		case err := <-aOver: // whether a log of attempts is written depends on how long they took
			if err != nil {
				t.Errorf("%s: %v", change, err)
			}
			continue
		}
		err := <-start(newStop())
		if err != nil && !isFinished(err) {
			t.Errorf("%s: the second run: %v", change, err)
		}
		_, before := tree(t, fs, "out")
		close(a.on)
		if err := <-aOver; err == nil {
			t.Errorf("%s: the first run has ended well", change)
		}
		_, after := tree(t, fs, "out")
		if fmt.Sprint(before) != fmt.Sprint(after) {
			for name, data := range before {
				if d, ok := after[name]; d != data {
					t.Errorf("%s: %s has changed, it is there: %v", change, name, ok)
				}
			}
		}
		if why := notWhole(t, fs); why != "" {
			t.Errorf("%s: %s", change, why)
		}
	}
}
