package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// interrupted is what a run of this job has left in its output, which submit would take up, and where; nil: nothing. An output that submit
// would refuse has nothing to say of the plan, but why it would, unless another process writes to it.
func interrupted(ctx context.Context, j *conf.Job, o *Options) (_ *kept, where string, refused error) {
	_, here := o.Engine.(*inProcess)
	if !here { // a tracker is sent it with paths that begin at the root
		rooted, _, err := Rooted(j)
		if err != nil {
			return nil, "", err
		}
		j = rooted
	}
	at, err := openPlace(ctx, j.Output)
	if err != nil {
		return nil, "", err
	}
	look := at.check
	if !here && at.dir != "" { // a tracker waits for who has it
		look = func(_ context.Context, j *conf.Job) (OutputState, error) { return lookAtOutput(j) }
	}
	state, err := look(ctx, j)
	if err != nil && !busy(err) || err == nil && state != OutputUnfinished {
		return nil, "", err
	}
	return readKept(ctx, at), at.name, err
}

// inTheWay says with what submit would end, because of what lies in the output or because nobody can look.
func inTheWay(refused error) string {
	with := "an error"
	var id interface{ ErrorID() string }
	if errors.As(refused, &id) {
		with = id.ErrorID()
	}
	return fmt.Sprintf("As things are, submit would end with %s: %v.", with, refused)
}

// chosenAnew says which knobs are not what they were in a run that is taken up; "": none.
func chosenAnew(was, now plan.Plan) string {
	var knobs []string
	for _, knob := range plan.Knobs {
		if was.Knob(knob) != now.Knob(knob) {
			knobs = append(knobs, fmt.Sprintf("plan.%s is %s instead of %s", knob, now.Knob(knob), was.Knob(knob)))
		}
	}
	if len(knobs) == 0 {
		return ""
	}
	return ", but for what is chosen anew for the memory and cores that there are now: " + strings.Join(knobs, ", ")
}
