//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
)

// installed is the program in a folder, without a tracker unless one is named.
type installed struct {
	t       *testing.T
	program string
	dir     string
	env     []string
}

func newInstalled(t *testing.T) *installed {
	t.Helper()
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	c := &installed{t: t, program: filepath.Join(t.TempDir(), "vista-mr"), dir: t.TempDir()}
	args := []string{"build", "-o", c.program, "."}
	if raced() {
		args = slices.Insert(args, 1, "-race")
	}
	if b, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	c.env = append(os.Environ(), "VISTA_MR_ORT_LIB="+lib, "VISTA_MR_CACHE="+t.TempDir(), "TMPDIR="+t.TempDir())
	return c
}

// run runs a command and wants it to end well.
func (c *installed) run(args ...string) string {
	c.t.Helper()
	out, errOut, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("vista-mr %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
	return out
}

func (c *installed) try(args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(c.t.Context(), c.program, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// devCluster starts a cluster that ends with the test, and has the commands talk to it.
func (c *installed) devCluster(args ...string) (pid int) {
	c.t.Helper()
	cmd := exec.Command(c.program, append([]string{"dev-cluster", "--listen", "127.0.0.1:0", "--log-level", "info"}, args...)...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			c.t.Error(err)
		}
		err := cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 128+int(syscall.SIGTERM) {
			c.t.Errorf("dev-cluster: %v", err)
		}
		if c.t.Failed() {
			c.t.Logf("the cluster said:\n%s", said.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.t.Fatalf("dev-cluster: %v\n%s", err, said.String())
	}
	c.env = append(c.env, "VISTA_MR_TRACKER="+strings.TrimSpace(line))
	return cmd.Process.Pid
}

// children are a process's children whose first argument is role.
func children(t *testing.T, pid int, role string) []int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	var b []byte
	for _, task := range tasks {
		more, err := os.ReadFile(task)
		if err == nil {
			b = append(b, more...)
		}
	}
	for f := range strings.FieldsSeq(string(b)) {
		child, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if args := strings.Split(string(line), "\x00"); err == nil && len(args) > 1 && args[1] == role {
			out = append(out, child)
		}
	}
	return out
}

// status is what the tracker says of a job; it may be away.
func (c *installed) status(id string) (r cluster.JobReply, ok bool) {
	out, _, err := c.try("status", id, "-o", "json")
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		c.t.Fatalf("status: %v in %s", err, out)
	}
	return r, true
}

// until waits until a phase of a job has so many committed tasks, or the job is over.
func (c *installed) until(id, phase string, tasks int) {
	c.t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, ok := c.status(id)
		if ok && r.Job.State.Over() {
			return
		}
		for _, n := range r.Now {
			for _, p := range n.Phases {
				if string(p.ID) == phase && p.Committed >= tasks {
					return
				}
			}
		}
	}
	c.t.Fatalf("phase %s of %s has no %d tasks", phase, id, tasks)
}

// lost waits until the tracker lists an attempt of a job as lost, or the job is over.
func (c *installed) lost(id string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, ok := c.status(id)
		if ok && r.Job.State.Over() {
			return
		}
		for _, f := range r.Failed {
			if f.Kind == "lost" && f.Worker != "" && f.Error != "" {
				return
			}
		}
	}
	c.t.Fatalf("no attempt of %s is listed as lost", id)
}

// models are the trained models of an output: what must be the same bytes, whoever failed on the way.
func (c *installed) models(output string) map[string]string {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, output, "models", "*.json"))
	if err != nil || len(names) == 0 {
		c.t.Fatalf("%d models in %s: %v", len(names), output, err)
	}
	out := map[string]string{}
	for _, name := range append(names, filepath.Join(c.dir, output, "metrics.csv")) {
		b, err := os.ReadFile(name)
		if err != nil {
			c.t.Fatal(err)
		}
		out[filepath.Base(name)] = string(b)
	}
	return out
}

func (c *installed) sameModels(a, b string) {
	c.t.Helper()
	x, y := c.models(a), c.models(b)
	if len(x) != len(y) {
		c.t.Errorf("%s has %d files, %s %d", a, len(x), b, len(y))
	}
	for name := range x {
		if x[name] != y[name] {
			c.t.Errorf("%s differs between %s and %s", name, a, b)
		}
	}
}

const clusterJob = `apiVersion: vista-mr/v1
name: clustered
seed: 5
table: {uri: data/table.csv, key: id, label: label}
images: {uri: data/images}
cnn: {model: efficientnet-lite0, weights: random, layers: 2}
downstream: {iterations: 5, test: 0.3}
plan: {partitions: 24, batch: 1}
output: out
`

// TestDevCluster runs the main job on a cluster of processes of which a worker and the tracker are killed: the models are
// byte for byte those of a run in one process.
func TestDevCluster(t *testing.T) {
	c := newInstalled(t)
	if err := os.WriteFile(filepath.Join(c.dir, "job.yaml"), []byte(clusterJob), 0o666); err != nil {
		t.Fatal(err)
	}
	c.run("synth", "foods", "--records", "144", "--seed", "4", "data")
	c.run("submit", "job.yaml", "--set", "output=alone")
	pid := c.devCluster("--workers", "2", "--slots", "1")

	t.Run("undisturbed", func(t *testing.T) {
		if out := c.run("submit", "job.yaml", "--set", "output=calm"); !strings.Contains(out, "144 rows, 144 images, 144 matched, 0 bad") {
			t.Errorf("submit says\n%s", out)
		}
		c.sameModels("alone", "calm")
	})
	t.Run("a worker and the tracker are killed", func(t *testing.T) {
		id := strings.TrimSpace(c.run("submit", "job.yaml", "--set", "output=wild", "--detach"))
		c.until(id, "extract", 2)
		kill(t, children(t, pid, "worker")[0])
		c.lost(id)
		c.until(id, "extract", 4)
		kill(t, children(t, pid, "tracker")[0])
		out, said, err := c.try("wait", id)
		for exitCode(err) == 6 { // the tracker is started again
			time.Sleep(100 * time.Millisecond)
			out, said, err = c.try("wait", id)
		}
		if err != nil || out == "" {
			t.Errorf("wait says no verdict: %v\n%s", err, said)
		}
		r, ok := c.status(id)
		if !ok || r.Job.State != cluster.Succeeded || r.Job.Verdict == "" {
			t.Errorf("the job is %+v", r.Job)
		}
		c.sameModels("alone", "wild")
		if out := c.run("results", id); !strings.Contains(out, "144 rows") {
			t.Errorf("results says\n%s", out)
		}
		// What ended well at once has a log of a line.
		if log := c.run("logs", id, "extract/00000"); !strings.Contains(log, "extract/00000/1 (ended)") {
			t.Errorf("the log of a task:\n%s", log)
		}
		if log := c.run("logs", id); strings.Count(log, "driver of "+id+" starts") != 2 {
			t.Errorf("its log:\n%s", log)
		}
	})
	t.Run("a client goes away and comes back", func(t *testing.T) {
		client := exec.Command(c.program, "submit", "job.yaml", "--set", "output=left", "--log-level", "info")
		client.Dir, client.Env = c.dir, c.env
		said, err := client.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		id := ""
		for in := bufio.NewScanner(said); id == "" && in.Scan(); {
			if rest, ok := strings.CutPrefix(in.Text(), "job: "); ok {
				id, _, _ = strings.Cut(rest, " ")
			}
		}
		c.until(id, "extract", 1)
		kill(t, client.Process.Pid)
		_ = client.Wait() // it was killed
		c.run("wait", id)
		if r, ok := c.status(id); !ok || r.Job.State != cluster.Succeeded || r.Job.Drivers != 1 {
			t.Errorf("the job is %+v", r.Job)
		}
		c.sameModels("alone", "left")
		// Its output tells the same without a tracker.
		if out := c.run("status", "./left"); !strings.Contains(out, "succeeded") || !strings.Contains(out, "evaluate") {
			t.Errorf("the output's status:\n%s", out)
		}
		if out := c.run("wait", "./left"); out != c.run("wait", id) {
			t.Errorf("the output's verdict: %s", out)
		}
		// Both show the phases of a job that is over, in the same columns.
		phases := func(of string) (lines []string) {
			for line := range strings.Lines(c.run("status", of)) {
				if words := strings.Fields(line); len(words) == 7 {
					lines = append(lines, strings.Join(words, " "))
				}
			}
			return lines
		}
		if a, b := phases(id), phases("./left"); len(a) < 4 || !slices.Equal(a, b) || !slices.Contains(a, "extract published 24 24 0 0 0") {
			t.Errorf("phases of the job %q, of its output %q", a, b)
		}
	})
	t.Run("what is wrong is said as on one machine", func(t *testing.T) {
		_, said, err := c.try("submit", "job.yaml", "--set", "output=bad", "--set", "table.label=nothing")
		if exitCode(err) != 3 || !strings.Contains(said, "nothing") {
			t.Errorf("exit code %d\n%s", exitCode(err), said)
		}
		_, said, err = c.try("status", "nobody-abcdefgh")
		if exitCode(err) != 3 || !strings.Contains(said, "nobody-abcdefgh") {
			t.Errorf("exit code %d\n%s", exitCode(err), said)
		}
	})
	t.Run("kill", func(t *testing.T) {
		id := strings.TrimSpace(c.run("submit", "job.yaml", "--set", "output=killed", "--detach"))
		c.until(id, "extract", 1)
		var k cluster.KillReply
		if err := json.Unmarshal([]byte(c.run("kill", id, "-o", "json")), &k); err != nil || k != (cluster.KillReply{SchemaVersion: 1, Job: id, Before: cluster.Running, After: cluster.Killed}) {
			t.Errorf("kill: %+v, %v", k, err)
		}
		if out := c.run("kill", id); out != id+" had ended before: killed\n" {
			t.Errorf("kill, again: %s", out)
		}
		if _, said, err := c.try("wait", id); exitCode(err) != 7 || !strings.Contains(said, "E-KILLED") {
			t.Errorf("exit code %d\n%s", exitCode(err), said)
		}
		// What it has computed is not lost.
		if _, said, err := c.try("submit", "job.yaml", "--set", "output=new", "--resume"); exitCode(err) != 3 || !strings.Contains(said, "E-RESUME") {
			t.Errorf("what was never begun is taken up: exit code %d\n%s", exitCode(err), said)
		}
		c.run("submit", "job.yaml", "--set", "output=killed", "--resume")
		c.sameModels("alone", "killed")
	})
	var list cluster.JobList
	if err := json.Unmarshal([]byte(c.run("jobs", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	var states []cluster.State
	for _, j := range list.Jobs {
		states = append(states, j.State)
	}
	if want := []cluster.State{cluster.Succeeded, cluster.Failed, cluster.Killed, cluster.Failed, cluster.Succeeded, cluster.Succeeded, cluster.Succeeded}; !slices.Equal(states, want) {
		t.Errorf("the jobs are %v, want %v", states, want)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
