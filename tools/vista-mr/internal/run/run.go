// Package run executes a job, and before that finds everything that would make it
// fail: it is the body of the submit and validate commands, and of attempt, which runs a single attempt.
//
// It checks, plans and compiles in this process, and publishes from here; the phases are run by an Engine, which is
// this process unless the caller has another one. Inputs and output lie on this machine or in any store (place).
//
// Invariant: nothing is written before every check has passed, and every error that leaves the
// package has its exit class (package exit).
//
// Callers: package cli. The package prints nothing; it reports through a progress.Sink and a logger.
package run

import (
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Options says how a job is run and who is told about it.
type Options struct {
	Progress progress.Sink // nil: nobody
	Log      *zap.Logger   // nil: nobody
	ORTLib   string        // path of the ONNX Runtime library; empty: found by its usual places
	Version  string        // of this program, for the results
	Engine   Engine        // runs the phases; nil: this process
	Analyze  string        // output of a finished run that Explain puts beside its estimates; "": none
	Resume   bool          // only go on with an unfinished run: what would start anew is refused

	// Patience is how long another process may go on writing to the output before that is an error: the one before this may not
	// have noticed yet that it is to end.
	Patience time.Duration
	// Again says that an earlier process has run this very job's phases: it may have come to the end, and then its results are
	// what Submit returns.
	Again bool

	opensModel bool   // the caller is about to run the job: it opens the network itself, and scans all images
	ortVersion string // of the library that Validate has found
}

func (o *Options) fill() {
	if o.Progress == nil {
		o.Progress = progress.Discard
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Engine == nil {
		o.Engine = &inProcess{stores: stores(), lib: o.ORTLib, log: o.Log}
	}
}
