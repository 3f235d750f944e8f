package machine

import (
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// ulimits are the limits that the process has.
func ulimits() []Ulimit {
	var out []Ulimit
	for _, l := range []struct {
		resource int
		of       func(int64, int) Ulimit
	}{{unix.RLIMIT_DATA, ulimitData}, {unix.RLIMIT_AS, ulimitAddress}} {
		var r unix.Rlimit
		if unix.Getrlimit(l.resource, &r) == nil && r.Cur <= math.MaxInt64 { // unlimited is more
			out = append(out, l.of(int64(r.Cur), runtime.GOMAXPROCS(0))) // Go has threads for these, whatever the quota
		}
	}
	return out
}
