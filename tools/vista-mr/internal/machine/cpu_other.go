//go:build !unix

package machine

import "time"

// CPU is not known here.
func CPU() time.Duration { return 0 }
