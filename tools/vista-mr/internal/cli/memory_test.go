package cli

import "testing"

// TestWorkerMemory is the least of the flag and what the machine and its control group have.
func TestWorkerMemory(t *testing.T) {
	for _, c := range []struct {
		flag          string
		machine, want int64
	}{{"", 8 << 30, 8 << 30}, {"2GiB", 8 << 30, 2 << 30}, {"16GiB", 8 << 30, 8 << 30}} {
		if got, err := workerMemory(c.flag, c.machine); err != nil || got != c.want {
			t.Errorf("%q of %d: %d, %v", c.flag, c.machine, got, err)
		}
	}
	if _, err := workerMemory("much", 1); err == nil {
		t.Error("much is a size")
	}
}
