//go:build !unix

package cputime

import "time"

// Taken is not known here.
func Taken() time.Duration { return 0 }
