// Command job measures whole jobs of the built program as a user would: peak memory for few and for many
// records, whether jobs finish under a real memory limit, time and memory beside the same job written in
// Python, what it costs to read images from something else than a folder, and what a cluster adds. It prints one line for each run and
// a summary; it fails where a job does that should not. Figures are judged by optimizer -small alone, which CI runs: its estimates of memory and bytes have bounds.
//
//	make build
//	go run ./tools/bench/job memory         peak resident size of ResNet50, 500 and 5,000 records
//	go run ./tools/bench/job limits         three networks, each in a control group of its own limit (needs root)
//	go run ./tools/bench/job peers          ResNet50 and AlexNet beside tools/peers/onepass.py, in turns
//	go run ./tools/bench/job sources        AlexNet on the same images in a folder, tar, Parquet and packed files
//	go run ./tools/bench/job -store s3 cluster   the job of make run on two workers, its files in a store, beside one process
//	go run ./tools/bench/job optimizer      the chosen plan beside all that might be better, over a grid (make bench-optimizer)
//	go run ./tools/bench/job refusals       jobs in just the memory that the planner accepts, and in a tenth less (needs root)
//	go run ./tools/bench/job -store s3 empty     the smallest job on a tracker that is warm, from submit to its end
//
// peers wants a Python with onnxruntime, numpy and pillow: -python names it. sources has 10,000 records, cluster 1,000: -records. -store is local, hdfs or s3 (make servers). Data and outputs lie under -dir.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vista-mr/vista-mr/tools/cgroup"
)

// bench holds what all measurements share.
type bench struct {
	bin, python, dir, model, store string
	rounds, records                int
	small, there                   bool          // of optimizer: one network, one size, two limits; a cluster, too
	budget                         time.Duration // of optimizer
	log                            string        // of optimizer: file of all runs
}

func main() {
	var b bench
	flag.StringVar(&b.bin, "bin", "bin/vista-mr", "the program")
	flag.StringVar(&b.python, "python", "python3", "the interpreter for peers")
	flag.StringVar(&b.dir, "dir", "out/bench", "folder of data and outputs")
	flag.StringVar(&b.model, "model", "", "the only network of peers and optimizer")
	flag.IntVar(&b.rounds, "rounds", 3, "runs of each kind")
	flag.IntVar(&b.records, "records", 0, "records of sources and cluster, the most of optimizer; 0: as said above")
	flag.StringVar(&b.store, "store", "local", "where cluster and empty have their files: local, hdfs or s3")
	flag.BoolVar(&b.small, "small", false, "optimizer with one network, one size and two limits")
	flag.BoolVar(&b.there, "cluster", false, "optimizer on a cluster on this machine, too")
	flag.DurationVar(&b.budget, "budget", 25*time.Minute, "what optimizer may take; plans beside the chosen one are left out when it is used up")
	flag.StringVar(&b.log, "log", "", "file to which optimizer appends what the results of each run say of the plan, a line of JSON for each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	measure := map[string]func(context.Context) error{"memory": b.memory, "limits": b.limits, "peers": b.peers, "sources": b.sources,
		"cluster": b.cluster, "empty": b.empty, "optimizer": b.optimizer, "refusals": b.refusals}
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "job: name what to measure: memory, limits, peers, sources, cluster, empty, optimizer or refusals")
		os.Exit(2)
	}
	for _, what := range flag.Args() {
		f, ok := measure[what]
		if !ok {
			fmt.Fprintf(os.Stderr, "job: %q is none of memory, limits, peers, sources, cluster, empty, optimizer and refusals\n", what)
			os.Exit(2)
		}
		if err := f(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "job:", err)
			os.Exit(1)
		}
	}
}

// data makes the foods data set with so many records, once.
func (b *bench) data(ctx context.Context, records int) (string, error) {
	dir := filepath.Join(b.dir, "foods-"+strconv.Itoa(records))
	cmd := exec.CommandContext(ctx, b.bin, "synth", "foods", "--records", strconv.Itoa(records), dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return dir, nil
}

// jobFile writes a job over a data set; cnn is the network, or several, and extra are further lines of YAML.
func (b *bench) jobFile(name, data, cnn, extra string) (file, out string, err error) {
	out = filepath.Join(b.dir, name)
	if err := os.RemoveAll(out); err != nil {
		return "", "", err
	}
	file = out + ".yaml"
	text := fmt.Sprintf(`apiVersion: vista-mr/v1
name: bench
seed: 2019
table: {uri: %[1]s/table.csv, key: id, label: label}
images: {uri: %[1]s/images}
cnn: %[2]s
output: %[3]s
%[4]s`, data, cnn, out, extra)
	return file, out, os.WriteFile(file, []byte(text), 0o666)
}

// submit runs a job over a data set to its end, with further arguments, and removes its output.
func (b *bench) submit(ctx context.Context, name, data, model, extra string, args ...string) (usage, error) {
	file, out, err := b.jobFile(name, data, "{model: "+model+", weights: random}", extra)
	if err != nil {
		return usage{}, err
	}
	u, err := run(ctx, exec.CommandContext(ctx, b.bin, append([]string{"submit", file}, args...)...))
	if err != nil {
		return u, err
	}
	return u, os.RemoveAll(out)
}

// usage is what a finished process took.
type usage struct {
	seconds, cpu float64
	peak         float64 // MiB, resident
}

func (u usage) String() string {
	return fmt.Sprintf("%7.1f s  %7.1f s of CPU  %5.0f MiB", u.seconds, u.cpu, u.peak)
}

// median of a figure over runs.
func median(us []usage, of func(usage) float64) float64 { return middle(each(us, of)) }

func (b *bench) memory(ctx context.Context) error {
	for _, records := range []int{500, 5000} {
		data, err := b.data(ctx, records)
		if err != nil {
			return err
		}
		var all []usage
		for range b.rounds {
			u, err := b.submit(ctx, fmt.Sprintf("memory-%d", records), data, "resnet50", "plan: {cpu: 2, batch: 8}\n")
			if err != nil {
				return err
			}
			fmt.Printf("memory  resnet50, %5d records: %s\n", records, u)
			all = append(all, u)
		}
		fmt.Printf("memory  resnet50, %5d records: median peak %.0f MiB\n", records, median(all, func(u usage) float64 { return u.peak }))
	}
	return nil
}

func (b *bench) peers(ctx context.Context) error {
	for _, c := range []struct {
		model   string
		records int
	}{{"resnet50", 1000}, {"alexnet", 2000}} {
		if b.model != "" && b.model != c.model {
			continue
		}
		data, err := b.data(ctx, c.records)
		if err != nil {
			return err
		}
		graph := filepath.Join(b.dir, c.model+".onnx")
		make := exec.CommandContext(ctx, "go", "run", "./tools/peers/program", "-model", c.model, "-out", graph)
		make.Stderr = os.Stderr
		if err := make.Run(); err != nil {
			return fmt.Errorf("%s: %w", make, err)
		}
		var ours, theirs []usage
		for i := range b.rounds + 1 {
			u, err := b.submit(ctx, "peer-"+c.model, data, c.model, "")
			if err != nil {
				return err
			}
			v, err := run(ctx, exec.CommandContext(ctx, b.python, "tools/peers/onepass.py", graph, data))
			if err != nil {
				return err
			}
			note := ""
			if i == 0 {
				note = "  (first, not counted)"
			} else {
				ours, theirs = append(ours, u), append(theirs, v)
			}
			fmt.Printf("peers   %-8s ours %s   python %s   ratio %.3f%s\n", c.model, u, v, v.seconds/u.seconds, note)
		}
		fmt.Printf("peers   %-8s %d records, medians: %.3f times as fast by the clock, %.3f by CPU time, %.2f of the memory\n", c.model, c.records,
			median(theirs, seconds)/median(ours, seconds),
			median(theirs, cpu)/median(ours, cpu),
			median(ours, func(u usage) float64 { return u.peak })/median(theirs, func(u usage) float64 { return u.peak }))
	}
	return nil
}

func (b *bench) limits(ctx context.Context) error {
	data, err := b.data(ctx, 300)
	if err != nil {
		return err
	}
	var all []error
	for _, c := range []struct {
		model string
		limit int64 // MiB
	}{{"alexnet", 512}, {"resnet50", 512}, {"vgg16", 1536}} {
		file, out, err := b.jobFile("limit-"+c.model, data, "{model: "+c.model+", weights: random}", fmt.Sprintf("limits: {memory: %dMiB}\n", c.limit))
		if err != nil {
			return err
		}
		g, err := cgroup.New(fmt.Sprintf("%dM", c.limit))
		if err != nil {
			return fmt.Errorf("a control group with a limit cannot be made: %w", err)
		}
		u, err := run(ctx, g.Command(ctx, b.bin, "submit", file))
		peak, kills := g.Usage()
		fmt.Printf("limits  %-8s in %4d MiB: %s   group's peak %4.0f MiB, kills %d, %v\n", c.model, c.limit, u, float64(peak)/(1<<20), kills, state(err))
		all = append(all, err, g.Remove(), os.RemoveAll(out))
	}
	return errors.Join(all...)
}

func state(err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return "finished"
}
