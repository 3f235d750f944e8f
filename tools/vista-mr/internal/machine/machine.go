// Package machine tells what the program may use and what it uses: cores, memory, its own
// resident memory. It is read where a job begins and while it runs; nothing in it decides.
package machine

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// Cores is the number of CPUs that the process may use: those that Go runs on, and no more than the quotas of its control
// groups give. Go sees quotas, too, but never goes below two; less than a whole core counts as one.
func Cores() int { return cores("/", runtime.GOMAXPROCS(0)) }

func cores(root string, most int) int {
	for _, name := range cgroupFiles(root, "cpu", "cpu.max", "cpu.cfs_quota_us") {
		if q := quota(name); q > 0 {
			most = min(most, int(math.Ceil(q)))
		}
	}
	return max(most, 1)
}

// quota is how many cores a control group may use: "50000 100000" in one file of version 2, of version 1 in two; 0: as many as there are.
func quota(name string) float64 {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) == 1 { // version 1
		b, err = os.ReadFile(filepath.Join(filepath.Dir(name), "cpu.cfs_period_us"))
		if err != nil {
			return 0
		}
		f = append(f, strings.TrimSpace(string(b)))
	}
	if len(f) != 2 {
		return 0
	}
	part, err := strconv.ParseInt(f[0], 10, 64) // "max" and -1: no limit
	period, perr := strconv.ParseInt(f[1], 10, 64)
	if err != nil || perr != nil || part <= 0 || period <= 0 {
		return 0
	}
	return float64(part) / float64(period)
}

// fallback is assumed where the system does not tell.
const fallback = 4 << 30

// Total is the machine's memory in bytes, whoever may use it.
func Total() int64 { return total("/") }

func total(root string) int64 {
	if m := statusFields(filepath.Join(root, "proc/meminfo"), "MemTotal")[0]; m > 0 {
		return m
	}
	return fallback
}

// Memory is what the process may use, in bytes: the least of the machine's memory and the limits of its control groups and
// of the process itself.
func Memory() int64 {
	n, _ := Least()
	return n
}

// Shared is what the processes of this machine, or of the control group, have together: limits that each has for itself do not count.
func Shared() int64 { return memory("/") }

// Least is Memory, and the process's own limit if it is that.
func Least() (int64, Ulimit) { return least(Shared(), ulimits()) }

func least(n int64, own []Ulimit) (int64, Ulimit) {
	var of Ulimit
	for _, u := range own {
		if m := u.usable(); m < n {
			n, of = m, u
		}
	}
	return n, of
}

// memory reads the files of a system whose root lies in a folder.
func memory(root string) int64 {
	m := total(root)
	for _, name := range cgroupFiles(root, "memory", "memory.max", "memory.limit_in_bytes") {
		if b, err := os.ReadFile(name); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && n < m {
				m = n
			}
		}
	}
	return m
}

// cgroupFiles are the files that may hold a controller's limit, by their names in either version: those of the process's own
// group and of every group above it, and the one that a container sees as its root.
func cgroupFiles(system, controller, v2, v1 string) []string {
	groups := filepath.Join(system, "sys/fs/cgroup")
	out := []string{filepath.Join(groups, v2), filepath.Join(groups, controller, v1)}
	b, err := os.ReadFile(filepath.Join(system, "proc/self/cgroup"))
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		root, file := groups, v2
		if slices.Contains(strings.Split(f[1], ","), controller) { // cpu is not cpuset
			root, file = filepath.Join(groups, controller), v1
		} else if f[1] != "" {
			continue
		}
		for p := f[2]; p != "/" && p != "." && p != ""; p = filepath.Dir(p) {
			out = append(out, filepath.Join(root, p, file))
		}
	}
	return out
}

// Resident is the process's resident memory in bytes, now and at most so far; 0 where the
// system does not tell.
func Resident() (now, peak int64) {
	f := statusFields("/proc/self/status", "VmRSS", "VmHWM")
	return f[0], f[1]
}

// PeakAnew makes the peak that Resident tells begin anew, with what is resident now; false: the system cannot.
func PeakAnew() bool {
	_, before := Resident()
	f, err := os.OpenFile("/proc/self/clear_refs", os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString("5") // of the kernel: "reset the peak resident set size to the process's current value"
	if e := f.Close(); err != nil || e != nil {
		return false
	}
	now, peak := Resident() // some systems take it and do nothing
	return peak > 0 && (peak < before || peak <= now)
}

// Held is what of the process's memory in bytes the system cannot take back: not the pages of mapped files, such as a
// network's weights, which it may drop and read again. 0 where the system does not tell.
func Held() int64 {
	f := statusFields("/proc/self/status", "RssAnon", "RssShmem")
	return f[0] + f[1]
}

// statusFields reads fields in kB of a file of lines "Name:  123 kB", all at one moment; 0 for those that are not there.
func statusFields(file string, names ...string) []int64 {
	out := make([]int64, len(names))
	f, err := os.Open(file)
	if err != nil {
		return out
	}
	defer f.Close() // reading only
	for s := bufio.NewScanner(f); s.Scan(); {
		name, rest, _ := strings.Cut(s.Text(), ":")
		i := slices.Index(names, name)
		if i < 0 {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err == nil {
			out[i] = n << 10
		}
	}
	return out
}

// LimitHeap keeps Go's heap below n bytes as far as the collector can.
func LimitHeap(n int64) { debug.SetMemoryLimit(n) }

// How far, in per cent, the heap may outgrow what lives in it before it is collected. A job's heap
// is few large blocks without pointers (pixels, feature columns), which cost the collector nothing to keep and
// much memory to let double: a quarter costs 1 % of CPU beside Go's own 100. A tracker's is many small ones.
const (
	Sparing = 25
	Tracker = 50
)

// SpareHeap makes the collector prefer memory to CPU until restore is called, unless the user's GOGC says
// otherwise.
func SpareHeap(percent int) (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}
