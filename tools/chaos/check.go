//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/journal"
)

// files are the digests of a job's files, by their names. What tells times, names and machines is reduced to what does not.
type files map[string]string

// volatile are files whose bytes tell when and where a job ran.
var volatile = []string{"events.jsonl", "_job.json"}

// snapshot reads a job's output.
func snapshot(ctx context.Context, f dfs.FS, dir dfs.Path) (files, error) {
	out := files{}
	for info, err := range f.List(ctx, dir) {
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(string(info.Path), string(dir)), "/")
		if name == "attempts.log" { // it is there if an attempt had something to say, as those have that were killed
			continue
		}
		if slices.Contains(volatile, name) {
			out[name] = "there"
			continue
		}
		b, err := dfs.ReadFile(ctx, f, info.Path, 64<<20)
		if err != nil {
			return nil, err
		}
		if name == "results.json" {
			if b, err = lasting(b); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		sum := sha256.Sum256(b)
		out[name] = hex.EncodeToString(sum[:])
	}
	return out, nil
}

// lasting is what results say that does not depend on when and where the job ran: among it all counters, which those of
// attempts that have lost must not be in.
func lasting(results []byte) ([]byte, error) {
	var r struct {
		Verdict   json.RawMessage `json:"verdict"`
		Counters  map[string]any  `json:"counters"`
		Baselines struct {
			Majority   json.RawMessage                                `json:"majority"`
			Structured struct{ Dim, Metrics, Chosen json.RawMessage } `json:"structured"`
		} `json:"baselines"`
		Layers []struct{ Name, Dim, Metrics, Chosen, Bytes, Shape json.RawMessage } `json:"layers"`
	}
	if err := json.Unmarshal(results, &r); err != nil {
		return nil, err
	}
	if other, ok := r.Counters["other"].(map[string]any); ok {
		for name := range other {
			if strings.HasPrefix(name, "time.") {
				delete(other, name)
			}
		}
	}
	return json.Marshal(r)
}

// differences tells how files differ from what they should be, of those whose names count.
func differences(want, got files, counts func(name string) bool) (out []string) {
	for name, digest := range want {
		switch there, ok := got[name]; {
		case !counts(name):
		case !ok:
			out = append(out, name+" is missing")
		case there != digest:
			out = append(out, name+" differs")
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && counts(name) {
			out = append(out, name+" should not be there")
		}
	}
	slices.Sort(out)
	return out
}

// check looks at what a job and its cluster have left.
func (r *run) check(ctx context.Context) {
	f, err := r.store.open(r)
	if err != nil {
		r.bad("%v", err)
		return
	}
	defer closeFS(f)
	if r.files, err = snapshot(ctx, f, "out"); err != nil {
		r.bad("the output cannot be read: %v", err)
		return
	}
	if r.calm != nil {
		for _, d := range differences(r.calm.files, r.files, func(string) bool { return true }) {
			r.bad("output: %s", d)
		}
	}
	r.checkEvents(ctx, f)
	r.checkState(ctx)
	left, err := r.store.left(ctx, r, "out")
	if err != nil {
		r.bad("%v", err)
	}
	for _, name := range left {
		r.bad("left in the output: %s", name)
	}
	if r.store.server() != "" {
		if left, err = r.store.left(ctx, r, "state"); err != nil {
			r.bad("%v", err)
		}
	}
	for _, name := range left {
		if !strings.HasSuffix(name, "/") {
			r.bad("left in the state: %s", name)
		}
	}
	for _, dir := range []string{"scratch", "tmp"} {
		all, err := os.ReadDir(filepath.Join(r.dir, dir))
		if err != nil {
			r.bad("%v", err)
		}
		for _, d := range all {
			r.bad("left in %s: %s", dir, d.Name())
		}
	}
}

// checkEvents reads the job's event log: it must begin each run with what says so, and end well.
func (r *run) checkEvents(ctx context.Context, f dfs.FS) {
	in, err := f.Open(ctx, "out/events.jsonl")
	if err != nil {
		r.bad("the event log: %v", err)
		return
	}
	defer in.Close() // reading only
	var last journal.Event
	starts := 0
	published, ran := map[string]bool{}, map[string]bool{}
	err = journal.Read(io.NewSectionReader(in, 0, in.Size()), func(e journal.Event) error {
		switch last = e; e.Kind {
		case "job-started":
			starts++
		case "phase-published":
			published[e.Phase] = true
		case "attempt-succeeded":
			ran[e.Phase] = true
		}
		return nil
	})
	switch {
	case err != nil:
		r.bad("the event log: %v", err)
	case starts == 0:
		r.bad("the event log does not say that the job has begun")
	case last.Kind != "job-done" || last.Error != "":
		r.bad("the event log ends with %+v", last)
	case !published["evaluate"]:
		r.bad("the event log does not say that the last phase was published")
	}
	for phase := range ran {
		if !published[phase] && r.whole() {
			r.bad("the event log does not say that %s was published", phase)
		}
	}
}

// checkState looks at what the next tracker would find: the last job succeeded, and each of its ends counts once.
func (r *run) checkState(ctx context.Context) {
	p, err := r.start("state", r.storeEnv[workers], "tracker", "--listen", "127.0.0.1:0", "--state", r.state(), "--scratch", filepath.Join(r.dir, "tracker-last"))
	if err != nil {
		r.bad("%v", err)
		return
	}
	at := ""
	err = until(ctx, time.Minute, func() bool {
		for line := range strings.Lines(p.said()) {
			if url, ok := strings.CutPrefix(line, "tracker: "); ok && strings.HasSuffix(url, "\n") {
				at = strings.TrimSpace(url)
			}
		}
		return at != ""
	})
	if err == nil {
		var list struct {
			Jobs []struct{ ID, State string }
		}
		if err = get(at+"/api/v1/jobs", &list); err == nil && (len(list.Jobs) != r.submits || list.Jobs[0].State != "succeeded") {
			err = fmt.Errorf("it has %+v", list.Jobs)
		}
	}
	if err != nil {
		r.bad("a tracker that starts on this one's state: %v", err)
	}
	p.end(syscall.SIGTERM)
	if !p.waitFor(time.Minute) {
		p.end(syscall.SIGKILL)
		r.bad("it does not end")
	}
}

// whole tells whether nothing was done that may cost events: those of a driver that is killed may not have been written.
func (r *run) whole() bool {
	for _, f := range r.done {
		switch f.kind {
		case "kill-driver", "kill-tracker", "usurp-tracker", "stop-tracker", "stop-driver", "full-output":
			return false
		}
	}
	return !r.storeFailed
}

// private keeps mounts of this program's namespace to it, and tries one.
func private(dir string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if !mountDisk(dir) {
		return fmt.Errorf("no file system can be mounted on %s", dir)
	}
	return syscall.Unmount(dir, 0)
}
