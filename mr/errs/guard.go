package errs

import (
	"fmt"
	"runtime/debug"
)

// Guard runs code that the engine does not know (a job's own functions, resources that it
// opened) and turns a panic into an error of kind Internal: one bad record must not take down
// the other attempts of the process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = E("run", Internal, "", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return f()
}
