package machine

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// system is a folder of a system's files.
func system(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestMemoryIsTheLeast of the machine's and of the limits of the process's control group and those above it, in either version of control
// groups.
func TestMemoryIsTheLeast(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"machine alone", nil, 8 << 30},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 8 << 30},
		{"own group", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1073741824\n"}, 1 << 30},
		{"a group above", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "2147483648\n", "sys/fs/cgroup/a/b/memory.max": "4294967296\n"}, 2 << 30},
		{"a container's root", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		{"more than the machine", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "99999999999999\n"}, 8 << 30},
		{"version 1", map[string]string{"proc/self/cgroup": "4:cpu:/x\n3:memory:/d/c\n", "sys/fs/cgroup/memory/d/c/memory.limit_in_bytes": "3221225472\n"}, 3 << 30},
		{"version 1 without a limit", map[string]string{"proc/self/cgroup": "3:memory:/d\n", "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30},
	} {
		files := map[string]string{"proc/meminfo": "MemTotal:  8388608 kB\nMemFree: 1 kB\n"}
		maps.Copy(files, c.files)
		root := system(t, files)
		if got := memory(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCoresAreWhatAQuotaGives: the least of those of the process's control group and of all above it, in either version, as whole cores.
func TestCoresAreWhatAQuotaGives(t *testing.T) {
	v1 := func(group, quota, period string) map[string]string {
		return map[string]string{"proc/self/cgroup": "7:cpuset:/s\n4:cpu,cpuacct:/d/c\n3:memory:/m\n",
			"sys/fs/cgroup/cpu/" + group + "/cpu.cfs_quota_us": quota + "\n", "sys/fs/cgroup/cpu/" + group + "/cpu.cfs_period_us": period + "\n"}
	}
	v2 := func(own, above string) map[string]string {
		return map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": own + "\n", "sys/fs/cgroup/a/cpu.max": above + "\n"}
	}
	for name, c := range map[string]struct {
		files      map[string]string
		most, want int
	}{
		"no groups":                    {nil, 8, 8},
		"half a core":                  {v2("50000 100000", "max 100000"), 8, 1},
		"one core":                     {v2("100000 100000", "max 100000"), 8, 1},
		"one and a half":               {v2("150000 100000", "max 100000"), 8, 2},
		"more than there are":          {v2("1600000 100000", "max 100000"), 8, 8},
		"no quota":                     {v2("max 100000", "max 100000"), 8, 8},
		"a group above":                {v2("400000 100000", "250000 100000"), 8, 3},
		"the own is less":              {v2("100000 100000", "400000 100000"), 8, 1},
		"a container's root":           {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 8, 1},
		"not a quota":                  {v2("many 100000", "100000 0"), 8, 8},
		"version 1":                    {v1("d/c", "50000", "100000"), 8, 1},
		"version 1, a group above":     {v1("d", "20000", "10000"), 8, 2},
		"version 1, a container":       {v1("", "100000", "100000"), 8, 1},
		"version 1, no quota":          {v1("d/c", "-1", "100000"), 8, 8},
		"version 1, cpuset's is none":  {v1("s", "50000", "100000"), 8, 8},
		"version 1, without a period":  {map[string]string{"proc/self/cgroup": "4:cpu:/d\n", "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "50000\n"}, 8, 8},
		"Go is told to use fewer":      {v2("400000 100000", "max 100000"), 2, 2},
		"a thousandth is one core yet": {v2("1000 1000000", "max 100000"), 8, 1},
	} {
		if got := cores(system(t, c.files), c.most); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestPeakBeginsAnew with what is resident, where the system can do that.
func TestPeakBeginsAnew(t *testing.T) {
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	_, before := Resident()
	runtime.KeepAlive(block)
	block = nil
	debug.FreeOSMemory()
	if !PeakAnew() {
		t.Skip("the system cannot")
	}
	if now, peak := Resident(); peak > before-32<<20 || peak < now {
		t.Errorf("peak %d, %d before, %d are resident", peak, before, now)
	}
}
