package machine

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

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
		root := t.TempDir()
		files := map[string]string{"proc/meminfo": "MemTotal:  8388608 kB\nMemFree: 1 kB\n"}
		for k, v := range c.files {
			files[k] = v
		}
		for name, text := range files {
			p := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got := memory(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
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
