package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// fakeTracker answers as a tracker does that has two jobs, one of which has failed.
func fakeTracker(t *testing.T) string {
	t.Helper()
	m := http.NewServeMux()
	say := func(path, text string) {
		m.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	say("GET /api/v1/jobs/good", `{"schemaVersion":1,"job":{"id":"good","state":"succeeded","output":"/on/the/tracker","verdict":"fc6 helps"},"phases":[{"run":"r","id":"extract","state":"published","tasks":3,"committed":3}]}`)
	say("POST /api/v1/jobs", `{"schemaVersion":1,"job":{"id":"good","state":"queued"}}`)
	say("GET /api/v1/jobs/bad", `{"schemaVersion":1,"job":{"id":"bad","state":"failed","exitCode":5,"failure":{"id":"E-ONE-CLASS","cause":"one class only"}}}`)
	say("GET /api/v1/jobs/good/log", "driver starts\nand ends\n")
	say("GET /api/v1/jobs/good/logs/extract/00001", `{"schemaVersion":1,"attempts":[{"attempt":"extract/00001/1","state":"running","worker":"w","log":"it runs\n"}]}`)
	say("GET /api/v1/workers", `{"schemaVersion":1,"workers":[{"id":"w","host":"h","slots":2,"memory":33662672896}]}`)
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s.URL
}

// TestOneObject: with -o json each command prints one object with a version, and what failed has its exit code all the same.
func TestOneObject(t *testing.T) {
	url := fakeTracker(t)
	for _, c := range []struct {
		args string
		code exit.Class
		want string // of the object, "": none
	}{
		{"wait good -o json", 0, `"verdict": "fc6 helps"`},
		{"wait bad -o json", exit.JobFailed, `"state": "failed"`},
		{"status good -o json", 0, `"state": "published"`},
		{"logs good -o json", 0, `"log": "driver starts\nand ends\n"`},
		{"logs good extract/00001 -o json", 0, `"worker": "w"`},
		{"logs good -f -o json", exit.Usage, ""},
	} {
		var out, errOut bytes.Buffer
		p := process(&errOut)
		p.Stdout = &out
		code := Main(append(strings.Fields(c.args), "--tracker", url), p)
		var doc struct {
			SchemaVersion int `json:"schemaVersion"`
		}
		if code != int(c.code) {
			t.Errorf("%s: exit code %d\n%s", c.args, code, errOut.String())
		}
		if c.want == "" {
			if out.Len() > 0 {
				t.Errorf("%s prints %s", c.args, out.String())
			}
			continue
		}
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.SchemaVersion != 1 || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %v\n%s", c.args, err, out.String())
		}
	}
}

// TestPhasesOfAJobThatIsOver stand in the same table as those of one that runs.
func TestPhasesOfAJobThatIsOver(t *testing.T) {
	var out, errOut bytes.Buffer
	p := process(&errOut)
	p.Stdout = &out
	if code := Main([]string{"status", "good", "--tracker", fakeTracker(t)}, p); code != 0 || !strings.Contains(strings.Join(strings.Fields(out.String()), " "),
		"PHASE STATE TASKS DONE RUNNING FAILED LOST extract published 3 3 0 0 0") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errOut.String())
	}
}

func TestKilled(t *testing.T) {
	for want, k := range map[string]cluster.KillReply{
		"a is killed; it was running":                                          {Job: "a", Before: cluster.Running, After: cluster.Killed},
		"a is killed; it was queued":                                           {Job: "a", Before: cluster.Queued, After: cluster.Killed},
		"a had ended before: failed":                                           {Job: "a", Before: cluster.Failed, After: cluster.Failed},
		"a has succeeded before it could be killed":                            {Job: "a", Before: cluster.Running, After: cluster.Succeeded},
		"a was running and is told to end; vista-mr wait a follows it to that": {Job: "a", Before: cluster.Running, After: cluster.Running},
	} {
		if got := killed(k); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestNoState: a folder that is no tracker's is refused with what was looked for; one of a tracker that has had no job has none.
func TestNoState(t *testing.T) {
	var errOut bytes.Buffer
	dir := t.TempDir()
	if code := Main([]string{"jobs", "--state", dir}, process(&errOut)); code != int(exit.Invalid) || !strings.Contains(errOut.String(), "E-NO-STATE") || !strings.Contains(errOut.String(), dir) ||
		!strings.Contains(errOut.String(), "jobs/ID/job.json") {
		t.Errorf("exit code %d\n%s", code, errOut.String())
	}
	fs := mem.New()
	if err := fs.Claim(t.Context(), "epochs/0000000001"); err != nil {
		t.Fatal(err)
	}
	if list, err := cluster.ReadJobs(t.Context(), fs); err != nil || len(list.Jobs) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestSizesOfWorkers are for people, whatever number of bytes a machine has.
func TestSizesOfWorkers(t *testing.T) {
	var out, errOut bytes.Buffer
	p := process(&errOut)
	p.Stdout = &out
	if code := Main([]string{"workers", "--tracker", fakeTracker(t)}, p); code != 0 || !strings.Contains(out.String(), " 31 GiB ") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errOut.String())
	}
}

// TestStoppingIsSaidOnce of a cluster on one machine, whose processes all say it when it ends.
func TestStoppingIsSaidOnce(t *testing.T) {
	var errOut bytes.Buffer
	l := &lines{&devCluster{a: &app{Process: process(&errOut)}, listens: make(chan string, 1)}}
	if _, err := l.Write([]byte("tracker: http://127.0.0.1:7\n" + stopping + "\nwarn  look\n")); err != nil || errOut.String() != "warn  look\n" {
		t.Errorf("%q, %v", errOut.String(), err)
	}
}

// TestAnOutputThatOnlyTheTrackerSees: a job that has succeeded has, whoever can read its results.
func TestAnOutputThatOnlyTheTrackerSees(t *testing.T) {
	job := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(job, []byte("apiVersion: vista-mr/v1\nname: n\ntable: {uri: s3://b/t.csv, key: id, label: l}\nimages: {uri: s3://b/i}\ncnn: {model: alexnet, weights: random}\noutput: /not/here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"text": "fc6 helps\n", "json": `"verdict": "fc6 helps"`} {
		var out, errOut bytes.Buffer
		p := process(&errOut)
		p.Stdout = &out
		code := Main([]string{"submit", job, "-o", format, "--tracker", fakeTracker(t)}, p)
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d\n%s\n%s", format, code, out.String(), errOut.String())
		}
		if format == "text" && !strings.Contains(errOut.String(), "its results are in /on/the/tracker, which cannot be read from here") {
			t.Errorf("it says\n%s", errOut.String())
		}
	}
}
