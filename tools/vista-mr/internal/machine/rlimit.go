package machine

import (
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// Ulimit is a limit of the process that counts address space, not memory, and what a job takes of it.
type Ulimit struct {
	Command string // with which it is set, in KiB: ulimit -d
	Limit   int64  // bytes
	Own     int64  // of it, what counts as no memory
}

// Of data all private mappings count that can be written, of address space all mappings. Weights are mapped up to three times,
// and a plan counts three quarters of one; Go gives back pages but no addresses; each thread has a stack of 8 MiB, and glibc
// reserves 64 MiB for it. Both limits were measured, and are rather too careful than too near: Go ends the process where it is
// given no address. docs/runtime.md has the figures.
const (
	ownData, ownAddress   = 64 << 20, 1664 << 20
	coreData, coreAddress = 16 << 20, 128 << 20 // for each core
	perMemory             = 400                 // of the rest, for each 100 bytes of memory
	leastUsable           = 1 << 20             // 0 would be no limit
	leastProgram          = 64 << 20
)

// usable is the memory that a job may take under a limit.
func (u Ulimit) usable() int64 { return max((u.Limit-u.Own)/perMemory*100, leastUsable) }

// TooLittle says that there is such a limit, and that it does not even leave what the program takes before any plan is made.
func (u Ulimit) TooLittle() bool { return u.Limit > 0 && u.usable() < leastProgram }

// String is the command that has set it.
func (u Ulimit) String() string { return fmt.Sprintf("%s %d", u.Command, u.Limit>>10) }

// Raise says under which limit a job may take so much memory, and what it is.
func (u Ulimit) Raise(memory int64) string {
	return fmt.Sprintf("raise the process's own limit, which counts address space and not memory, to %s or more (%s %d): it is %s", bytesize.AtLeast(u.needed(memory)), u.Command, (u.needed(memory)+1023)>>10, bytesize.AtMost(u.Limit))
}

// needed is the limit under which a job may take so much memory.
func (u Ulimit) needed(memory int64) int64 { return u.Own + (memory+99)/100*perMemory }

func ulimitData(limit int64, cores int) Ulimit {
	return Ulimit{"ulimit -d", limit, ownData + int64(cores)*coreData}
}

func ulimitAddress(limit int64, cores int) Ulimit {
	return Ulimit{"ulimit -v", limit, ownAddress + int64(cores)*coreAddress}
}
