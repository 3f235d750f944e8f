package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/hdfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// mainJob is what `make run` asks for beside the network.
const mainJob = "downstream: {iterations: 10, reg: 0.01, elasticNet: 0.5}\n"

// cluster runs the main job in one process on local files, and, in turns with that, on a tracker and two workers of one slot with
// all files in a store.
func (b *bench) cluster(ctx context.Context) error {
	b.records = cmp.Or(b.records, 1000)
	data, err := b.data(ctx, b.records)
	if err != nil {
		return err
	}
	c, err := b.start(ctx, data)
	if err != nil {
		return err
	}
	defer c.stop()
	var alone, there []usage
	var servers []float64
	for i := range b.rounds + 1 {
		file, out, err := b.jobFile("cluster", data, "{model: resnet50, weights: random}", mainJob)
		if err != nil {
			return err
		}
		u, err := run(ctx, c.command(ctx, "submit", file, "--tracker="))
		if err != nil {
			return err
		}
		before, err := c.served()
		if err != nil {
			return err
		}
		v, err := c.submit(ctx, file, i)
		if err != nil {
			return err
		}
		after, err := c.served()
		if err != nil {
			return err
		}
		note := ""
		if i == 0 {
			note = "  (first, not counted)"
		} else {
			alone, there, servers = append(alone, u), append(there, v), append(servers, after-before)
		}
		fmt.Printf("cluster resnet50, %d records: in process %s   on 2 workers over %-5s %6.1f s  %6.1f s of CPU, %.1f s of its servers   ratio %.3f, by CPU time %.3f%s\n",
			b.records, u, b.store, v.seconds, v.cpu, after-before, v.seconds/u.seconds, v.cpu/u.cpu, note)
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	fmt.Printf("cluster resnet50, %d records, %s, medians: %.3f times as long as in process, %.3f of its CPU time; the store's servers took %.1f s of the same cores\n", b.records, b.store,
		median(there, seconds)/median(alone, seconds), median(there, cpu)/median(alone, cpu), middle(servers))
	return nil
}

// empty runs the smallest job on a tracker that is warm: few records, a network of two small layers.
func (b *bench) empty(ctx context.Context) error {
	data, err := b.data(ctx, 20)
	if err != nil {
		return err
	}
	arch := layers.Arch{Name: "tiny", H: 32, W: 32, C: 3, Roster: []string{"one", "two"}, Steps: []layers.Step{
		{Op: "conv", Path: "c", Out: 8, Kernel: 3, Stride: 2}, {Op: "relu", Path: "r", Layer: "one"},
		{Op: "conv", Path: "d", Out: 8, Kernel: 3, Stride: 2}, {Op: "relu", Path: "s", Layer: "two"}}}
	cnn, err := layers.Build(ctx, arch, layers.Source{Weights: "random", Seed: 7})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "tiny.onnx"), cnn.Model.Marshal(), 0o666); err != nil {
		return err
	}
	c, err := b.start(ctx, data)
	if err != nil {
		return err
	}
	defer c.stop()
	var took []usage
	for i := range b.rounds + 1 {
		file, _, err := b.jobFile("empty", data, "{model: "+c.data+"/tiny.onnx, layers: 2, preprocess: {resize: 32, crop: 32}}", "")
		if err != nil {
			return err
		}
		u, err := c.submit(ctx, file, i)
		if err != nil {
			return err
		}
		note := ""
		if i == 0 {
			note = "  (first, not counted)"
		} else {
			took = append(took, u)
		}
		fmt.Printf("empty   over %-5s: %.3f s from submit to its end, %.2f s of CPU%s\n", b.store, u.seconds, u.cpu, note)
	}
	fmt.Printf("empty   over %-5s: median %.3f s, slowest %.3f s, of %d\n", b.store, median(took, seconds), slices.Max(each(took, seconds)), len(took))
	return nil
}

// running is a dev-cluster with files in a store.
type running struct {
	b       *bench
	env     []string
	uri     string // of a folder for outputs
	data    string // URI of the data set
	tracker string
	cluster *exec.Cmd
	stops   []func()
	servers string // folder of the store's servers; "": there are none
}

// served is the processor time that the store's servers have taken, in seconds.
func (c *running) served() (all float64, err error) {
	if c.servers == "" {
		return 0, nil
	}
	var files []string
	for _, pattern := range []string{"pid", "*.pid"} {
		found, err := filepath.Glob(filepath.Join(c.servers, pattern))
		if err != nil {
			return 0, err
		}
		files = append(files, found...)
	}
	for _, name := range files {
		pid, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		n, err := own(strings.TrimSpace(string(pid)))
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

func (c *running) stop() {
	for _, f := range slices.Backward(c.stops) {
		f()
	}
}

// start starts a store's server, if it has one, and a dev-cluster, and copies a data set into the store.
func (b *bench) start(ctx context.Context, data string) (_ *running, err error) {
	c := &running{b: b, env: os.Environ()}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, err
	}
	switch b.store {
	case "local":
		c.uri = filepath.Join(dir, "cluster-store")
		c.stops = append(c.stops, func() { _ = os.RemoveAll(c.uri) }) // it is the next run's, too
		if c.data, err = filepath.Abs(data); err != nil {
			return nil, err
		}
	case "hdfs", "s3":
		if err := c.serve(ctx, b.store, filepath.Join(dir, b.store)); err != nil {
			return nil, err
		}
		c.data = c.uri + "/data"
		if err := c.copy(ctx, data); err != nil {
			return nil, fmt.Errorf("copy %s to %s: %w", data, c.data, err)
		}
	default:
		return nil, fmt.Errorf("-store %s is none of local, hdfs and s3", b.store)
	}
	c.cluster = c.command(ctx, "dev-cluster", "--workers", "2", "--slots", "1", "--listen", "127.0.0.1:0", "--state", c.uri+"/state")
	c.cluster.Cancel = func() error { return c.cluster.Process.Signal(syscall.SIGTERM) }
	c.cluster.Stderr = os.Stderr
	out, err := c.cluster.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cluster.Start(); err != nil {
		return nil, err
	}
	c.stops = append(c.stops, func() {
		_ = c.cluster.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = c.cluster.Wait()
	})
	c.tracker, err = bufio.NewReader(out).ReadString('\n')
	c.tracker = strings.TrimSpace(c.tracker)
	return c, err
}

// serve starts a store's server with the project's script: HDFS as its users have it, not as tests need it.
func (c *running) serve(ctx context.Context, store, dir string) error {
	script, args := "tools/servers/"+store+".sh", []string{"start-plain"}
	if store == "s3" {
		args = []string{"start", "versitygw"}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, script, append(args, dir, fmt.Sprint(os.Getpid()))...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	c.servers = dir
	c.stops = append(c.stops, func() { _ = exec.Command(script, "stop", dir).Run() }) // it ends with this process at the latest
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `'"`)
		switch name {
		case "CONF":
			c.env = append(c.env, "HADOOP_CONF_DIR="+value)
		case "NN_RPC":
			c.uri = "hdfs://" + value + "/bench"
		default:
			c.env = append(c.env, name+"="+value)
		}
	}
	if store == "s3" {
		c.uri = "s3://vista/bench"
	}
	return nil
}

// copy copies a data set into the store.
func (c *running) copy(ctx context.Context, data string) error {
	u, err := url.Parse(c.data)
	if err != nil {
		return err
	}
	var to dfs.FS
	base := dfs.Path(strings.TrimPrefix(u.Path, "/"))
	if u.Scheme == "hdfs" {
		h, err := hdfs.New(hdfs.Options{Addresses: []string{u.Host}, User: hadoopUser()}, "/")
		if err != nil {
			return err
		}
		defer h.Close() // what was written has its name
		to = h
	} else {
		getenv := func(name string) string {
			for _, e := range slices.Backward(c.env) {
				if n, v, _ := strings.Cut(e, "="); n == name {
					return v
				}
			}
			return ""
		}
		if to, base, err = s3.NewOpener(func() s3.Config { return s3.Config{Env: getenv} }).Open(ctx, u); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	err = filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		g.Go(func() error {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			below, err := filepath.Rel(data, name)
			if err != nil {
				return err
			}
			return dfs.WriteFile(ctx, to, base.Join(filepath.ToSlash(below)), content)
		})
		return nil
	})
	return errors.Join(err, g.Wait())
}

func (c *running) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.b.bin, args...)
	cmd.Env = c.env
	return cmd
}

// submit runs a job on the cluster; the CPU time is that of all processes together. The output has a name of its own.
func (c *running) submit(ctx context.Context, file string, round int, args ...string) (usage, error) {
	before, err := tree(c.cluster.Process.Pid)
	if err != nil {
		return usage{}, err
	}
	var out bytes.Buffer
	cmd := c.command(ctx, append([]string{"submit", file, "--tracker", c.tracker, "--set", "table.uri=" + c.data + "/table.csv",
		"--set", "images.uri=" + c.data + "/images", "--set", fmt.Sprintf("output=%s/out-%d", c.uri, round)}, args...)...)
	cmd.Stderr = &out
	start := time.Now()
	err = cmd.Run()
	u := usage{seconds: time.Since(start).Seconds()}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", cmd, err, out.String())
	}
	after, err := tree(c.cluster.Process.Pid)
	u.cpu = after - before + (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return u, err
}

func seconds(u usage) float64 { return u.seconds }
func cpu(u usage) float64     { return u.cpu }

// each is a figure of all runs.
func each(us []usage, of func(usage) float64) []float64 {
	out := make([]float64, len(us))
	for i, u := range us {
		out[i] = of(u)
	}
	return out
}

// hadoopUser is who has started the cluster, and may write anywhere.
func hadoopUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}
