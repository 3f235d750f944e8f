package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// Attempt runs one attempt as its specification says, and nothing else: what it leaves in the store counts only if somebody
// commits the manifest.
func Attempt(ctx context.Context, spec *mr.TaskSpec, o Options) (_ *mr.Manifest, err error) {
	o.fill()
	if spec.Type == mr.RoundsPhase {
		return nil, badSpec(fmt.Errorf("attempts of %s hold a partition for the rounds of their job, and end with it", spec.Attempt.Task.Phase))
	}
	if err := errors.Join(spec.Out.Check(), complete(spec)); err != nil {
		return nil, badSpec(err)
	}
	tmp, err := scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	h := &host.Host{Stores: stores(), Scratch: tmp, Slots: 1, Log: o.Log} // for all that computes no features
	if spec.Kind == extract.Name {
		var end func() error
		if h, end, err = OpenHost(tmp, 1, 0, o); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	env, err := h.Env(ctx, spec)
	if err != nil {
		return nil, elsewhere("store", spec.Store, err)
	}
	m, err := env.Run(ctx, spec, nil)
	return m, exit.Running(errors.Join(err, env.Shared.CloseIdle()))
}

// MaxSpec bounds specifications of attempts, in bytes.
const MaxSpec = 256 << 20

// ParseSpec reads the specification of an attempt. What it does not know it refuses: it would run something else.
func ParseSpec(data []byte) (*mr.TaskSpec, error) {
	if len(data) > MaxSpec {
		return nil, badSpec(fmt.Errorf("it has more than %d bytes", MaxSpec))
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, badSpec(errors.New("standard input is empty"))
	}
	spec, err := mr.Decode[mr.TaskSpec](data)
	if err != nil {
		return nil, badSpec(errors.Unwrap(err))
	}
	return &spec, nil
}

// complete says what is missing in a specification.
func complete(spec *mr.TaskSpec) error {
	switch {
	case spec.Out == "":
		return errors.New("it has no out")
	case spec.Store == "":
		return errors.New("it has no store")
	case spec.Attempt.Number < 1:
		return errors.New("it has no attempt")
	}
	return nil
}

func badSpec(err error) error {
	return exit.As(exit.Invalid, &errs.Error{Op: "attempt", Kind: errs.Invalid, ID: "E-ATTEMPT", Err: err,
		Fix: "give the specification of an attempt of a map or reduce phase, as a tracker hands it out"})
}
