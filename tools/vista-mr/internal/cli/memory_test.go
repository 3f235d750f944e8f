package cli

import "testing"

// TestWorkerMemory is the least of the flag and what the machine and its control group have.
func TestWorkerMemory(t *testing.T) {
	for _, c := range []struct {
		flag          string
		machine, want int64
	}{{"", 8 << 30, 8 << 30}, {"2GiB", 8 << 30, 2 << 30}, {"16GiB", 8 << 30, 8 << 30}} {
		if got, err := someMemory(c.flag, c.machine); err != nil || got != c.want {
			t.Errorf("%q of %d: %d, %v", c.flag, c.machine, got, err)
		}
	}
	if _, err := someMemory("much", 1); err == nil {
		t.Error("much is a size")
	}
}

// TestShareOut: the workers and the tracker of a machine together take no more than it has, unless the workers are told to.
func TestShareOut(t *testing.T) {
	for name, c := range map[string]struct {
		flag, worker, tracker string
		workers               int
	}{
		"by itself":          {"", "3584MiB", "1024MiB", 2},
		"the rest":           {"2GiB", "2048MiB", "4096MiB", 2},
		"too much is wanted": {"4GiB", "4096MiB", "1024MiB", 2},
		"more than there is": {"16GiB", "8192MiB", "1024MiB", 1},
	} {
		worker, tracker, err := shareOut(c.flag, 8<<30, c.workers)
		if err != nil || worker != c.worker || tracker != c.tracker {
			t.Errorf("%s: %s and %s, %v", name, worker, tracker, err)
		}
	}
	if _, _, err := shareOut("much", 1, 1); err == nil {
		t.Error("much is a size")
	}
}
