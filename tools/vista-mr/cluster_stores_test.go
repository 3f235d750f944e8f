//go:build linux

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
)

// server starts a storage server with the project's own script, and returns what it says of itself.
func server(t *testing.T, store, have string, args ...string) map[string]string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "build/servers", have)); err != nil {
		dfstest.Missing(t, store, "make servers has not been run: "+err.Error())
	}
	script, dir := filepath.Join(root, "tools/servers", store+".sh"), filepath.Join(t.TempDir(), "server")
	args = append(append([]string{"start"}, args...), dir, strconv.Itoa(os.Getpid()))
	if b, err := exec.CommandContext(t.Context(), script, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, b)
	}
	t.Cleanup(func() {
		if b, err := exec.Command(script, "stop", dir).CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, b)
		}
	})
	b, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		if name, value, ok := strings.Cut(in.Text(), "="); ok {
			out[name] = strings.Trim(value, `'"`)
		}
	}
	return out
}

// digests are those of the models and metrics of a job's results.
func (c *installed) digests(output string) []string {
	c.t.Helper()
	found := regexp.MustCompile(`"(models/[^"]*\.json|metrics\.csv)": "[0-9a-f]{64}"`).FindAllString(c.run("results", output, "-o", "json"), -1)
	slices.Sort(found)
	if len(found) < 3 {
		c.t.Fatalf("%s has the digests %q", output, found)
	}
	return found
}

// TestClusterOnStores runs the main job on two workers over real storage servers, where the job's output and the tracker's state
// lie, while a worker is killed: the models are byte for byte those of a run in one process on the local disk.
func TestClusterOnStores(t *testing.T) {
	for _, s := range []struct {
		name  string
		start func(c *installed) (uri string)
	}{
		{"hdfs", func(c *installed) string {
			return "hdfs://" + server(c.t, "hdfs", "hadoop")["NN_RPC"]
		}},
		{"s3", func(c *installed) string {
			for name, value := range server(c.t, "s3", "bin/versitygw", "versitygw") {
				c.env = append(c.env, name+"="+value)
			}
			return "s3://vista"
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := newInstalled(t)
			if err := os.WriteFile(filepath.Join(c.dir, "job.yaml"), []byte(clusterJob), 0o666); err != nil {
				t.Fatal(err)
			}
			uri := s.start(c)
			c.run("synth", "foods", "--records", "144", "--seed", "4", "data")
			c.run("submit", "job.yaml", "--set", "output=alone")
			pid := c.devCluster("--workers", "2", "--slots", "1", "--state", uri+"/state")
			id := strings.TrimSpace(c.run("submit", "job.yaml", "--set", "output="+uri+"/out", "--detach"))
			c.until(id, "extract", 3)
			kill(t, children(t, pid, "worker")[0])
			c.run("wait", id)
			if here, there := c.digests("alone"), c.digests(uri+"/out"); !slices.Equal(here, there) {
				t.Errorf("alone\n%s\non the cluster\n%s", strings.Join(here, "\n"), strings.Join(there, "\n"))
			}
			if r, ok := c.status(id); !ok || r.Job.Drivers != 1 {
				t.Errorf("the job is %+v", r.Job)
			}
		})
	}
}
