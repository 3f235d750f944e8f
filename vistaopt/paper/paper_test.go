package paper

import (
	"errors"
	"testing"
)

// TestPublishedChoices are the partition counts and the parallelism that the paper reports for Foods on its cluster.
func TestPublishedChoices(t *testing.T) {
	want := map[string]int{"alexnet": 160, "vgg16": 160, "resnet50": 224}
	for _, f := range Roster() {
		c, err := Choose(f, Foods, Testbed)
		if err != nil {
			t.Fatal(err)
		}
		if c.Partitions != want[f.Name] || c.CPU != 4 || c.Join != "broadcast" || c.Persistence != "deserialized" {
			t.Errorf("%s: %+v, the paper has %d partitions and 4 threads", f.Name, c, want[f.Name])
		}
	}
}

func TestAmazonShuffles(t *testing.T) {
	c, err := Choose(Roster()[2], Amazon, Testbed)
	if err != nil || c.Join != "shuffle" || c.Persistence != "serialized" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestMemoryBoundsThreads: what does not fit is run on fewer threads, or refused.
func TestMemoryBoundsThreads(t *testing.T) {
	vgg := Roster()[1]
	before := 8
	for memory := 40.0; memory > 8; memory-- {
		c, err := Choose(vgg, Foods, Cluster{Nodes: 8, Cores: 8, Memory: memory * gigabyte})
		var no *InfeasibleError
		switch {
		case errors.As(err, &no):
			if before > 1 {
				t.Errorf("refused at %.0f GB, with %d threads at one more", memory, before)
			}
			before = 0
		case err != nil:
			t.Fatal(err)
		case c.CPU > before:
			t.Errorf("%d threads at %.0f GB, %d at one more", c.CPU, memory, before)
		default:
			before = c.CPU
		}
		if c != nil && c.DL+c.User+reserved+coreLeast > memory*gigabyte {
			t.Errorf("%.0f GB: %+v does not fit", memory, c)
		}
	}
	if before != 0 {
		t.Errorf("nothing is refused")
	}
}
