//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/hdfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
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

// put copies a local folder into a store.
func (c *installed) put(folder, uri string) {
	c.t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		c.t.Fatal(err)
	}
	var to dfs.FS
	base := dfs.Path(strings.TrimPrefix(u.Path, "/"))
	if u.Scheme == "hdfs" {
		h, err := hdfs.New(hdfs.Options{Addresses: []string{u.Host}, User: superuser()}, "/")
		if err != nil {
			c.t.Fatal(err)
		}
		defer h.Close() // what was written has its name
		to = h
	} else {
		getenv := func(name string) (value string) {
			for _, e := range c.env {
				if v, ok := strings.CutPrefix(e, name+"="); ok {
					value = v
				}
			}
			return value
		}
		if to, base, err = s3.NewOpener(func() s3.Config { return s3.Config{Env: getenv} }).Open(c.t.Context(), u); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := copyFolder(c.t.Context(), to, base, filepath.Join(c.dir, folder)); err != nil {
		c.t.Fatal(err)
	}
}

// copyFolder copies a local folder into a store.
func copyFolder(ctx context.Context, to dfs.FS, base dfs.Path, from string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		return dfs.WriteFile(ctx, to, base.Join(filepath.ToSlash(below)), data)
	})
}

// TestClusterOnStores runs the main job on two workers over real storage servers, where its table, images and output and the tracker's
// state lie, while a worker is killed: the models are byte for byte those of a run in one process on the local disk.
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
			c.put("data", uri+"/data")
			if err := os.RemoveAll(filepath.Join(c.dir, "data")); err != nil { // nothing is read here any more
				t.Fatal(err)
			}
			pid := c.devCluster("--workers", "2", "--slots", "1", "--state", uri+"/state")
			id := strings.TrimSpace(c.run("submit", "job.yaml", "--set", "table.uri="+uri+"/data/table.csv", "--set", "images.uri="+uri+"/data/images", "--set", "output="+uri+"/out", "--detach"))
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
