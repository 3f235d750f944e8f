package vistaopt

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenPlans is what is chosen over a grid of networks, layers, rows, columns, memory, cores and workers. One line of the
// golden file is one cell: of the machines, cores grow without workers and workers without cores.
func TestGoldenPlans(t *testing.T) {
	var b strings.Builder
	b.WriteString("# networks/layers, rows x columns, MiB of a worker, workers x cores: the choice, seconds, MiB written; or what it needs\n")
	for _, of := range []struct {
		networks []string
		last     int // layers of each; 0: all
	}{{[]string{"alexnet"}, 1}, {[]string{"alexnet"}, 0}, {[]string{"vgg16"}, 1}, {[]string{"vgg16"}, 0}, {[]string{"resnet50"}, 1}, {[]string{"resnet50"}, 0},
		{[]string{"alexnet", "resnet50"}, 2}, {[]string{"alexnet", "vgg16", "resnet50"}, 0}} {
		ns, _ := several(t, of.networks...)
		name := strings.Join(of.networks, "+")
		for i := range ns {
			if of.last > 0 {
				ns[i] = top(ns[i], of.last)
			}
			name += fmt.Sprintf("/%d", len(ns[i].Layers))
		}
		for _, rows := range []int64{300, 20_000, 3_000_000} {
			for _, columns := range []int{30, 5_000} {
				s, tr := shape(joined(ns), rows, columns)
				for _, memory := range []int64{200, 400, 800, 3200, 51_200} {
					for _, m := range []Machine{{Workers: 1, Cores: 1}, {Workers: 1, Cores: 2}, {Workers: 1, Cores: 16}, {Workers: 8, Cores: 2}, {Workers: 8, Cores: 16}, {Workers: 64, Cores: 2}} {
						m.Memory = memory * mib
						fmt.Fprintf(&b, "%s %dx%d %d %dx%d: %s\n", name, rows, columns, memory, m.Workers, m.Cores, cell(t, ns, s, tr, m))
					}
				}
			}
		}
	}
	golden(t, "testdata/plans.txt", b.String())
}

// cell is what is chosen, on one line. What is printed can be read again.
func cell(t *testing.T, ns []Network, s Stats, tr Training, m Machine) string {
	t.Helper()
	c, err := Choose(plan.Plan{}, ns, s, tr, m)
	var no *InfeasibleError
	switch {
	case errors.As(err, &no):
		return fmt.Sprintf("needs %d", (no.Needed+mib-1)/mib)
	case err != nil:
		t.Fatal(err)
	}
	again, err := plan.Parse(c.Plan.String())
	if err != nil || again != c.Plan {
		t.Errorf("%s is read as %s, %v", c.Plan, again, err)
	}
	return fmt.Sprintf("%s, %.3g s, %d", c.Plan, c.Estimate.Seconds, c.Estimate.Written/mib)
}

// golden compares a text with a file line by line, and shows the first that differ.
func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(text, "\n"), strings.Split(string(want), "\n")
	differ := 0
	for i := range max(len(got), len(old)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(old) {
			w = old[i]
		}
		if g == w {
			continue
		}
		if differ++; differ <= 10 {
			t.Errorf("line %d\n got %s\nwant %s", i+1, g, w)
		}
	}
	if differ > 0 {
		t.Errorf("%d lines differ; if the new ones are right: go test -run %s ./vistaopt -update", differ, t.Name())
	}
}
