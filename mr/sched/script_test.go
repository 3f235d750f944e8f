package sched

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

var update = flag.Bool("update", false, "rewrite the traces in testdata")

// TestScripts runs every testdata/*.txt. A script is a list of commands, one to a line; below
// each stands what the state machine answered, indented. -update writes the answers anew;
// testdata/README.md lists the commands.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runScript(string(want))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(name, got, 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// script is a state machine driven by words.
type script struct {
	s     *State
	o     Options
	now   Tick
	jobs  map[string]*mr.JobSpec
	last  string // the job that commands are about
	specs map[mr.AttemptID]Launch
	order []mr.AttemptID // of launches that are not answered
	done  map[string]mr.PhaseManifest
	snap  Submit
}

func runScript(text string) ([]byte, error) {
	x := &script{jobs: map[string]*mr.JobSpec{}, specs: map[mr.AttemptID]Launch{}, done: map[string]mr.PhaseManifest{}}
	var out bytes.Buffer
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		answers, err := x.command(words[0], parseArgs(words[1:]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n+1, line, err)
		}
		for _, a := range answers {
			out.WriteString("  " + a + "\n")
		}
	}
	return out.Bytes(), nil
}

// args are a command's words: plain ones, and key=value.
type args struct {
	words []string
	named map[string]string
}

func parseArgs(words []string) args {
	a := args{named: map[string]string{}}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			a.named[k] = v
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a args) word(i int) string {
	if i < len(a.words) {
		return a.words[i]
	}
	return ""
}

func (a args) int(key string, otherwise int64) int64 {
	v, ok := a.named[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s=%s: %v", key, v, err))
	}
	return n
}

func ints(s string) []int {
	var out []int
	for _, f := range strings.Split(s, ",") {
		n, err := strconv.Atoi(f)
		if err != nil {
			panic(err)
		}
		out = append(out, n)
	}
	return out
}

func (x *script) command(cmd string, a args) ([]string, error) {
	switch cmd {
	case "options":
		x.o = Options{Epoch: a.int("epoch", 0), Expire: Tick(a.int("expire", 0)), Stall: Tick(a.int("stall", 0)),
			Exclude: Tick(a.int("exclude", 0)), Backoff: Tick(a.int("backoff", 0)), Speculate: a.word(0) == "speculate"}
		return nil, nil
	case "job":
		x.last = a.word(0)
		x.jobs[x.last] = &mr.JobSpec{ID: mr.JobID(x.last), MaxAttempts: int(a.int("attempts", 0))}
		return nil, nil
	case "phase":
		p, err := parsePhase(a)
		x.jobs[x.last].Phases = append(x.jobs[x.last].Phases, p)
		return nil, err
	case "budget": // budget COUNTER OF PHASE FRACTION
		f, err := strconv.ParseFloat(a.word(3), 64)
		x.jobs[x.last].Budgets = append(x.jobs[x.last].Budgets, mr.Budget{Counter: a.word(0), Of: a.word(1), Phase: mr.PhaseID(a.word(2)), Fraction: f})
		return nil, err
	case "view":
		return view(x.s.Job(mr.JobID(x.job(a)))), nil
	case "snapshot": // what another coordinator would be told now
		x.snap = x.s.Snapshot(mr.JobID(a.word(0)))
		return nil, nil
	case "workers":
		return workers(x.s.Workers()), nil
	case "okall": // every running attempt of a phase, in order of launch
		var out []string
		for _, id := range append([]mr.AttemptID(nil), x.order...) {
			if string(id.Task.Phase) == a.word(0) {
				out = append(out, x.step(Succeeded{Worker: x.specs[id].Worker, Job: x.specs[id].Spec.Job, Manifest: x.manifest(id, a)})...)
			}
		}
		return out, nil
	}
	ev, err := x.event(cmd, a)
	if err != nil {
		return nil, err
	}
	return x.step(ev), nil
}

func (x *script) job(a args) string {
	if j, ok := a.named["job"]; ok {
		return j
	}
	return x.last
}

func (x *script) event(cmd string, a args) (Event, error) {
	job := mr.JobID(x.job(a))
	worker := WorkerID(a.word(0))
	switch cmd {
	case "worker":
		ev := WorkerUp{Worker: worker, Slots: int(a.int("slots", 1)), Memory: a.int("mem", 0), Host: a.named["host"]}
		if r := a.named["running"]; r != "" {
			for _, name := range strings.Split(r, ",") {
				id, err := attemptID(name)
				if err != nil {
					return nil, err
				}
				ev.Running = append(ev.Running, Progress{Job: job, Attempt: id, Epoch: x.epoch(id, a)})
			}
		}
		return ev, nil
	case "down":
		return WorkerDown{Worker: worker}, nil
	case "beat": // beat WORKER ATTEMPT=DONE/TOTAL...
		ev := Beat{Worker: worker}
		for _, k := range slices.Sorted(maps.Keys(a.named)) {
			v := a.named[k]
			if k == "epoch" || k == "job" {
				continue
			}
			id, err := attemptID(k)
			if err != nil {
				return nil, err
			}
			p := Progress{Job: job, Attempt: id, Epoch: x.epoch(id, a)}
			if _, err := fmt.Sscanf(v, "%d/%d", &p.Done, &p.Total); err != nil {
				return nil, err
			}
			ev.Progress = append(ev.Progress, p)
		}
		return ev, nil
	case "tick":
		n, err := strconv.Atoi(a.word(0))
		x.now += Tick(n)
		return Time{}, err
	case "submit":
		x.last = a.word(0)
		ev := Submit{Job: *x.jobs[x.last]}
		if a.word(1) == "snapshot" {
			ev = x.snap
		}
		ev.Epoch = a.int("epoch", 0)
		if d := a.named["done"]; d != "" {
			for _, p := range strings.Split(d, ",") {
				ev.Done = append(ev.Done, x.done[p])
			}
		}
		return ev, nil
	case "restart": // a new coordinator, which knows what was published
		x.s, x.order = nil, nil
		return Time{}, nil
	case "kill":
		return Kill{Job: mr.JobID(a.word(0)), Reason: "asked to"}, nil
	case "published":
		return Published{Job: job, Phase: mr.PhaseID(a.word(0)), Revision: int(a.int("revision", 0))}, nil
	case "publish-failed":
		return PublishFailed{Job: job, Phase: mr.PhaseID(a.word(0)), Revision: int(a.int("revision", 0)), Err: failureOf(a, 1)}, nil
	case "loop-failed":
		return LoopFailed{Job: job, Phase: mr.PhaseID(a.word(0)), Err: failureOf(a, 1)}, nil
	case "message": // message PHASE ROUND [final]
		n, err := strconv.Atoi(a.word(1))
		return Message{Job: job, Phase: mr.PhaseID(a.word(0)), Round: n, Final: a.word(2) == "final"}, err
	case "round": // round WORKER PHASE ROUND TASKS
		n, err := strconv.Atoi(a.word(2))
		return RoundDone{Worker: worker, Job: job, Phase: mr.PhaseID(a.word(1)), Epoch: a.int("epoch", x.o.Epoch), Round: n, Tasks: ints(a.word(3))}, err
	}
	// ok, fail, held, opened ATTEMPT [worker=W]
	id, err := attemptID(a.word(0))
	if err != nil {
		return nil, err
	}
	worker = x.specs[id].Worker
	if l, ok := x.specs[id]; ok && a.named["job"] == "" {
		job = l.Spec.Job
	}
	if w, ok := a.named["worker"]; ok {
		worker = WorkerID(w)
	}
	switch cmd {
	case "ok":
		return Succeeded{Worker: worker, Job: job, Manifest: x.manifest(id, a)}, nil
	case "fail": // fail ATTEMPT KIND WORDS... [path=P]
		return Failed{Worker: worker, Job: job, Attempt: id, Epoch: x.epoch(id, a), Err: failureOf(a, 1)}, nil
	case "closing":
		return Closing{Worker: worker, Job: job, Attempt: id, Epoch: x.epoch(id, a)}, nil
	case "held":
		return Held{Job: job, Attempt: id, Epoch: x.epoch(id, a)}, nil
	case "opened":
		return Opened{Worker: worker, Job: job, Attempt: id, Epoch: x.epoch(id, a)}, nil
	}
	return nil, fmt.Errorf("unknown command")
}

// epoch is that in which an attempt was launched, unless the command says another one.
func (x *script) epoch(id mr.AttemptID, a args) int64 { return a.int("epoch", x.specs[id].Spec.Epoch) }

// failureOf is nil if the command says nothing of an error.
func failureOf(a args, from int) *errs.Error {
	if a.word(from) == "" {
		return nil
	}
	e := &errs.Error{Op: "run", Path: a.named["path"]}
	if err := e.Kind.UnmarshalText([]byte(a.word(from))); err != nil {
		panic(err)
	}
	if text := strings.Join(a.words[min(from+1, len(a.words)):], " "); text != "" {
		e.Err = errors.New(text)
	}
	return e
}

func attemptID(s string) (mr.AttemptID, error) {
	var id mr.AttemptID
	return id, id.UnmarshalText([]byte(s))
}

// manifest is what an attempt leaves: counters count=NAME:N,..., one file for every channel
// of files=..., and a shuffle file with a segment for each of segments=...
func (x *script) manifest(id mr.AttemptID, a args) mr.Manifest {
	m := mr.Manifest{Attempt: id, Epoch: x.epoch(id, a)}
	if c := a.named["count"]; c != "" {
		m.Counters = map[string]int64{}
		for _, kv := range strings.Split(c, ",") {
			k, v, _ := strings.Cut(kv, ":")
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				panic(err)
			}
			m.Counters[k] = n
		}
	}
	if f := a.named["files"]; f != "" {
		for _, channel := range strings.Split(f, ",") {
			m.Files = append(m.Files, mr.PartFile{Channel: channel, Task: id.Task.Index, Path: x.specs[id].Spec.Out.Join(channel)})
		}
	}
	if f := a.named["segments"]; f != "" {
		file := mr.PartFile{Task: id.Task.Index, Path: x.specs[id].Spec.Out.Join("shuffle")}
		for _, p := range ints(f) {
			file.Segments = append(file.Segments, mr.Segment{Partition: p})
		}
		m.Files = append(m.Files, file)
	}
	return m
}

// parsePhase reads: phase ID TYPE tasks=N|splits=HOST,... [in=PHASE:MODE[:CHANNEL],...]
// [after=P,...] [partitions=N] [mem=N] [drop=PHASE[:CHANNEL],...]
func parsePhase(a args) (mr.PhaseSpec, error) {
	p := mr.PhaseSpec{ID: mr.PhaseID(a.word(0)), Type: mr.PhaseType(a.word(1)), Kind: "k", Tasks: int(a.int("tasks", 0)),
		Partitions: int(a.int("partitions", 0)), Memory: a.int("mem", 0)}
	list := func(key string) []string {
		if v := a.named[key]; v != "" {
			return strings.Split(v, ",")
		}
		return nil
	}
	for _, h := range list("splits") {
		p.Splits = append(p.Splits, mr.Split{Hosts: []string{h}})
	}
	for _, in := range list("in") {
		f := append(strings.Split(in, ":"), "", "")
		p.Inputs = append(p.Inputs, mr.Input{Name: f[0], Phase: mr.PhaseID(f[0]), Mode: mr.Mode(f[1]), Channel: f[2]})
	}
	for _, id := range list("after") {
		p.After = append(p.After, mr.PhaseID(id))
	}
	for _, d := range list("drop") {
		phase, channel, _ := strings.Cut(d, ":")
		p.Drop = append(p.Drop, mr.Drop{Phase: mr.PhaseID(phase), Channel: channel})
	}
	return p, nil
}

func (x *script) step(ev Event) []string {
	if x.s == nil {
		x.s = New(x.o)
	}
	var out []string
	for _, a := range x.s.Step(x.now, ev) {
		switch a := a.(type) {
		case Launch:
			x.specs[a.Spec.Attempt] = a
			x.order = append(x.order, a.Spec.Attempt)
		case Publish:
			x.done[string(a.Manifest.Phase)] = a.Manifest
		case Cancel:
			x.forget(a.Attempt)
		}
		out = append(out, show(a))
	}
	switch ev := ev.(type) {
	case Succeeded:
		x.forget(ev.Manifest.Attempt)
	case Failed:
		x.forget(ev.Attempt)
	}
	return out
}

func (x *script) forget(id mr.AttemptID) {
	for i, v := range x.order {
		if v == id {
			x.order = append(x.order[:i:i], x.order[i+1:]...)
		}
	}
}

// show is an action in words.
func show(a Action) string {
	switch a := a.(type) {
	case Launch:
		s := fmt.Sprintf("launch %s on %s", a.Spec.Attempt, a.Worker)
		if a.Spec.Halvings > 0 {
			s += fmt.Sprintf(" halvings=%d", a.Spec.Halvings)
		}
		for _, in := range a.Spec.Inputs {
			var files []string
			for _, f := range in.Files {
				name := string(f.Path)
				for _, g := range f.Segments {
					name += fmt.Sprintf("[%d]", g.Partition)
				}
				files = append(files, name)
			}
			s += fmt.Sprintf(" %s=(%s)", in.Name, strings.Join(files, " "))
		}
		return s
	case Cancel:
		return fmt.Sprintf("cancel %s on %s%s", a.Attempt, a.Worker, showEpoch(a.Epoch))
	case Publish:
		return "publish " + showManifest(a.Manifest)
	case Gone:
		return "gone " + string(a.Worker)
	case NextMessage:
		return fmt.Sprintf("next-message %s round %d", a.Phase, a.Round)
	case RunRound:
		s := fmt.Sprintf("run-round %s round %d on %s %v", a.Phase, a.Round, a.Worker, a.Tasks)
		if a.Final {
			s += " final"
		}
		return s
	case AcceptSum:
		return fmt.Sprintf("accept-sum %s round %d of %s %v", a.Phase, a.Round, a.Worker, a.Tasks)
	case DropFiles:
		var files []dfs.Path
		for _, f := range a.Files {
			files = append(files, f.Path)
		}
		return fmt.Sprintf("drop-files %s %v", a.Phase, files)
	case ClosePhase:
		return fmt.Sprintf("close-phase %s", a.Phase)
	case Discard:
		return fmt.Sprintf("discard %s%s", a.Attempt, showEpoch(a.Epoch))
	case Done:
		if a.Err == nil {
			return fmt.Sprintf("done %s ok", a.Job)
		}
		return fmt.Sprintf("done %s %s %s: %v", a.Job, a.Err.Kind, a.Err.ErrorID(), a.Err)
	}
	return fmt.Sprintf("unknown %T", a)
}

func showEpoch(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" epoch=%d", n)
}

func showManifest(m mr.PhaseManifest) string {
	var ids []string
	for _, t := range m.Tasks {
		ids = append(ids, strconv.Itoa(t.Attempt.Number))
	}
	revision := ""
	if m.Revision > 0 {
		revision = fmt.Sprintf(" revision=%d", m.Revision)
	}
	return fmt.Sprintf("%s epoch=%d%s attempts=%s", m.Phase, m.Epoch, revision, strings.Join(ids, ","))
}

func view(v JobView) []string {
	out := []string{fmt.Sprintf("job %s counters=%v", v.ID, v.Counters)}
	for _, p := range v.Phases {
		out = append(out, fmt.Sprintf("phase %s %s %s waiting=%d running=%d committed=%d failures=%d losses=%d round=%d",
			p.ID, p.Type, p.State, p.Waiting, p.Running, p.Committed, p.Failures, p.Losses, p.Round))
	}
	for _, a := range v.Attempts {
		out = append(out, fmt.Sprintf("attempt %s on %s since %d %d/%d pinned=%v copy=%v", a.Attempt, a.Worker, a.Started, a.Done, a.Total, a.Pinned, a.Copy))
	}
	return out
}

func workers(vs []WorkerView) []string {
	var out []string
	for _, w := range vs {
		out = append(out, fmt.Sprintf("%s slots=%d/%d memory=%d/%d seen=%d", w.ID, w.Used, w.Slots, w.Held, w.Memory, w.Seen))
	}
	return out
}
