//go:build !linux

package machine

// ulimits are not known here: what they count differs.
func ulimits() []Ulimit { return nil }
