//go:build unix

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What a driver leaves in its folder for temporary files goes with it, however it ends, and a Kerberos ticket is still looked for
// where the tracker's user has it.
func TestDriversLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KRB5CCNAME", "")
	seen := filepath.Join(dir, "seen")
	for name, ends := range map[string]string{"killed": "kill -KILL $$", "well": `echo '{"verdict":{"sentence":"it helps"}}'`} {
		program := filepath.Join(dir, name)
		script := fmt.Sprintf("#!/bin/sh\ntouch \"$TMPDIR/left\" && echo \"$TMPDIR $KRB5CCNAME $VISTA_MR_DRIVER $VISTA_MR_DRIVER_AGAIN\" >%s\n%s\n", seen, ends)
		if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		d := &drivers{program: program, scratch: filepath.Join(dir, "scratch")}
		end, err := d.start(t.Context(), &submission{ID: "job-" + name, again: name == "well"}, func(driverLine) {})
		if killed := name == "killed"; (err != nil) != killed || !killed && end.verdict != "it helps" {
			t.Errorf("%s: %+v, %v", name, end, err)
		}
		b, err := os.ReadFile(seen)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(string(b))
		want := fmt.Sprintf("FILE:%s job-%s", filepath.Join(os.TempDir(), fmt.Sprintf("krb5cc_%d", os.Getuid())), name)
		if name == "well" {
			want += " yes"
		}
		if len(got) < 3 || strings.Join(got[1:], " ") != want {
			t.Fatalf("%s: the driver has seen %q, want %q", name, got, want)
		}
		if _, err := os.Stat(got[0]); !os.IsNotExist(err) || !strings.HasPrefix(got[0], d.scratch) {
			t.Errorf("%s: %s: %v", name, got[0], err)
		}
	}
}

// A job whose driver ended well has ended well, also if what the driver has left cannot be removed.
func TestDriverThatCannotBeTidiedUp(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := `#!/bin/sh
d=$(dirname "$TMPDIR") && mv "$d" "$d.away" && touch "$d" && echo '{"verdict":{"sentence":"it helps"}}'
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	said, logs := observer.New(zap.WarnLevel)
	d := &drivers{program: program, scratch: filepath.Join(dir, "scratch"), log: zap.New(said)}
	end, err := d.start(t.Context(), &submission{ID: "job"}, func(driverLine) {})
	if err != nil || end.verdict != "it helps" {
		t.Errorf("%+v, %v", end, err)
	}
	if logs.Len() != 1 {
		t.Errorf("the tracker's log: %v", logs.All())
	}
}

// TestALongLineStopsNoDriver: of a line that is too long the beginning is kept, and what comes after it counts.
func TestALongLineStopsNoDriver(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := `#!/bin/sh
echo before >&2
head -c 3000000 /dev/zero | tr '\0' x >&2
echo >&2
echo '{"plan":"lazy"}' >&2
echo after >&2
echo '{"verdict":{"sentence":"it helps"}}'
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	d := &drivers{program: program, scratch: filepath.Join(dir, "scratch")}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	plan := ""
	end, err := d.start(ctx, &submission{ID: "job"}, func(l driverLine) { plan += l.Plan })
	if err != nil || end.verdict != "it helps" || plan != "lazy" {
		t.Errorf("%+v, %v; the plan is %q", end, err, plan)
	}
	log, err := os.ReadFile(logName(d.scratch, "job"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("before\n%s ... %d more bytes of this line are left out\nafter\n", strings.Repeat("x", maxLine), 3000000-maxLine); !strings.Contains(string(log), want) {
		t.Errorf("the log has %d bytes, %.200s", len(log), log)
	}
}

// TestDriverLines: lines are kept as they come, also the last one that does not end.
func TestDriverLines(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a\n", "a\n\nb\r\n": "a\n\nb\n", "{\"plan\":\"p\"}\n{\"x\":1}": "{\"x\":1}\n", "\n": "\n",
		strings.Repeat("y", 64<<10) + "\nz": strings.Repeat("y", 64<<10) + "\nz\n", strings.Repeat("y", maxLine) + "\n": strings.Repeat("y", maxLine) + "\n"} {
		var log strings.Builder
		if err := readDriver(strings.NewReader(in), &log, func(driverLine) {}); err != nil || log.String() != want {
			t.Errorf("%.20q is kept as %.20q (%d bytes), %v", in, log.String(), log.Len(), err)
		}
	}
}

// TestDriverWithoutRoom: no driver is started where the tracker's own folder cannot be written, and it is tried again after a while; the
// failure says so, and not that a driver has died.
func TestDriverWithoutRoom(t *testing.T) {
	scratch := filepath.Join(t.TempDir(), "scratch")
	if err := os.WriteFile(scratch, nil, 0o600); err != nil { // no folder can be made below
		t.Fatal(err)
	}
	d := &drivers{program: "/bin/true", scratch: scratch}
	_, err := d.start(t.Context(), &submission{ID: "job"}, func(driverLine) {})
	var not *notStarted
	if !errors.As(err, &not) || not.ErrorID() != "E-DRIVER" || !strings.Contains(err.Error(), scratch) {
		t.Errorf("%v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		full := d.not(&os.PathError{Op: "write", Path: "job.yaml", Err: syscall.ENOSPC})
		began := time.Now()
		m := newJobs(t, mem.New(), &drive{ends: map[string]func(context.Context) (ending, error){
			"never": func(context.Context) (ending, error) { return ending{}, full },
			"later": func(context.Context) (ending, error) {
				if time.Since(began) < 4*time.Second {
					return ending{}, full
				}
				return ending{verdict: "it helps"}, nil
			}}}, 2)
		never, later := submitted(t, m, "never"), submitted(t, m, "later")
		m.work.Wait()
		j, _ := m.get(never)
		var f struct{ ID, Cause, Next string }
		if err := json.Unmarshal(j.Failure, &f); err != nil || j.State != Failed || j.ExitCode != 5 || f.ID != "E-NO-SPACE" || !strings.Contains(f.Cause, scratch) || !strings.Contains(f.Next, "tracker's machine") {
			t.Errorf("%+v, %s, %v", j, j.Failure, err)
		}
		if took := j.Ended.Sub(j.Started); took < 20*time.Second || took > time.Minute {
			t.Errorf("given up after %v", took)
		}
		if j, _ := m.get(later); j.State != Succeeded {
			t.Errorf("with room later: %+v, %s", j, j.Failure)
		}
	})
}

// TestStateWithoutRoom: who submits a job learns whose disk is full.
func TestStateWithoutRoom(t *testing.T) {
	full := fault.New(mem.New(), fault.Options{Rules: []fault.Rule{{Do: fault.Fail, Op: fault.Create, Path: "*/job.json", Kind: errs.NoSpace}}})
	m := newJobs(t, full, &drive{}, 1)
	m.stateURI = "hdfs://ns/vista-mr"
	_, err := m.submit(t.Context(), Request{Name: "a", Text: "x"})
	if e := errs.Of("", err); e.ErrorID() != "E-NO-SPACE" || !strings.Contains(e.Error(), "--state hdfs://ns/vista-mr") || !strings.Contains(e.Hint(), "tracker") {
		t.Errorf("%v; %s", err, e.Hint())
	}
}

// TestEndedJobsLeaveTheirLogs, a bounded number of them, and nothing else; those of jobs that are not over are left alone.
func TestEndedJobsLeaveTheirLogs(t *testing.T) {
	scratch := t.TempDir()
	d := &drivers{program: "/bin/true", scratch: scratch}
	folder := func(id string) string { return filepath.Dir(logName(scratch, id)) }
	for i := range keptLogs + 20 {
		id := fmt.Sprintf("job-%03d", i)
		if _, err := d.start(t.Context(), &submission{ID: id}, func(driverLine) {}); err == nil {
			t.Fatal("it has printed results")
		}
		at := time.Now().Add(time.Duration(i-200) * time.Hour)
		if err := os.Chtimes(logName(scratch, id), at, at); err != nil {
			t.Fatal(err)
		}
		if i >= 10 { // the first ones are another tracker's, and not over
			d.over(id)
		}
	}
	for i := range keptLogs + 20 {
		id := fmt.Sprintf("job-%03d", i)
		_, file := os.Stat(filepath.Join(folder(id), jobFile))
		_, log := os.Stat(logName(scratch, id))
		_, dir := os.Stat(folder(id))
		if runs := i < 10; (file == nil) != runs || (log == nil) != (runs || i >= 20) || (dir == nil) != (log == nil) {
			t.Errorf("%s: its file: %v, its log: %v, its folder: %v", id, file, log, dir)
		}
	}
	old := time.Now().Add(-2 * abandoned)
	if err := errors.Join(os.Chtimes(filepath.Join(folder("job-003"), jobFile), old, old), os.Chtimes(logName(scratch, "job-003"), old, old)); err != nil {
		t.Fatal(err)
	}
	d.sweep()
	if all, err := os.ReadDir(filepath.Join(scratch, "jobs")); err != nil || len(all) != keptLogs+9 {
		t.Errorf("%d folders, %v", len(all), err)
	}
}
