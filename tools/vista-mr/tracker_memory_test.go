//go:build linux

package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const manyClassesJob = `apiVersion: vista-mr/v1
name: many
seed: 5
table: {uri: data/many.csv, key: id, label: class}
images: {uri: data/images}
cnn: {model: alexnet, weights: random, layers: [fc6]}
downstream: {iterations: 5, test: 0.2, folds: 3, grid: {reg: [0.001, 0.003, 0.01, 0.03, 0.1]}}
output: out
`

// TestLittleTracker runs a job whose models, all in training at once, make a tracker hold 550 MiB, on one that may hold 512 MiB: it
// holds far less, and the models are those of a run in one process. On one that has no room for a single model the job is refused.
func TestLittleTracker(t *testing.T) {
	if raced() {
		t.Skip("make test runs it without the race detector, which takes several times the memory that is promised")
	}
	c := newInstalled(t)
	if err := os.WriteFile(filepath.Join(c.dir, "job.yaml"), []byte(manyClassesJob), 0o666); err != nil {
		t.Fatal(err)
	}
	c.run("synth", "foods", "--records", "80", "--seed", "4", "data")
	manyClasses(t, filepath.Join(c.dir, "data"), 40)
	c.run("submit", "job.yaml", "--set", "output=alone")

	for name, memory := range map[string]string{"in waves": "512MiB", "refused": "160MiB"} {
		t.Run(name, func(t *testing.T) {
			lines, said, _ := c.daemon("tracker", "--listen", "127.0.0.1:0", "--state", t.TempDir(), "--scratch", t.TempDir(), "--jobs", "1", "--memory", memory)
			url := ""
			for line := range lines {
				if u, ok := strings.CutPrefix(line, "tracker: "); ok {
					url = u
					break
				}
			}
			if url == "" {
				t.Fatalf("the tracker does not listen:\n%s", said)
			}
			c.daemon("worker", "--tracker", url, "--slots", "1", "--memory", "2GiB", "--scratch", t.TempDir())
			_, errOut, err := c.try("submit", "job.yaml", "--tracker", url, "--set", "output="+name)
			if name == "refused" {
				if exitCode(err) != 4 || !strings.Contains(errOut, "in the tracker") || !strings.Contains(errOut, "start the tracker with --memory ") {
					t.Errorf("exit code %d\n%s", exitCode(err), errOut)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, errOut)
			}
			c.sameModels("alone", name)
			peak := peakOf(t, "tracker")
			t.Logf("the tracker held %d KiB", peak)
			if peak == 0 || peak > 512<<10 {
				t.Errorf("the tracker held %d KiB, and may hold 512 MiB", peak)
			}
		})
	}
}

// manyClasses writes a table of some of a data set's columns, with so many classes.
func manyClasses(t *testing.T, dir string, classes int) {
	t.Helper()
	in, err := os.Open(filepath.Join(dir, "table.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() // reading only
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := "id,one,two,class\n"
	for i, row := range rows[1:] {
		out += fmt.Sprintf("%s,%s,%s,c%02d\n", row[0], row[1], row[2], i%classes)
	}
	if err := os.WriteFile(filepath.Join(dir, "many.csv"), []byte(out), 0o666); err != nil {
		t.Fatal(err)
	}
}

// peakOf is the most that this process's child of a role held, in KiB.
func peakOf(t *testing.T, role string) (peak int) {
	t.Helper()
	for _, pid := range children(t, os.Getpid(), role) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var kb int
			if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
				peak = max(peak, kb)
			}
		}
	}
	return peak
}
