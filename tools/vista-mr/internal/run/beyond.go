package run

import (
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// tooLarge tells whether a plan was refused because it does not fit.
func tooLarge(err error) bool {
	var no *vistaopt.InfeasibleError
	var tracker *vistaopt.TrackerError
	return errors.As(err, &no) || errors.As(err, &tracker)
}

// beyondMemory makes a choice that does not fit as if there were the least memory that it needs, in workers and in the tracker.
func beyondMemory(m vistaopt.Machine, choose func(vistaopt.Machine) (*vistaopt.Choice, error)) (*vistaopt.Choice, error) {
	beyond := int64(0)
	c, err := choose(m)
	var no *vistaopt.InfeasibleError
	if errors.As(err, &no) {
		m.Memory, beyond = no.Needed, no.Available
		c, err = choose(m)
	}
	var tracker *vistaopt.TrackerError
	if errors.As(err, &tracker) {
		m.Tracker.Memory = tracker.Needed
		c, err = choose(m)
	}
	if err == nil && beyond > 0 {
		c.Exceeds(beyond)
	}
	return c, err
}

// beyond says that a plan runs although it does not fit.
func beyond(need, available int64) string {
	return fmt.Sprintf("The plan needs %s, and there are %s: it runs all the same, because limits.refuse is false, and may be ended by the system.", bytesize.AtLeast(need), bytesize.AtMost(available))
}

// beyondTracker says that of a tracker.
func beyondTracker(need, available int64) string {
	return fmt.Sprintf("Training needs a tracker of %s, and it may take %s: the job runs all the same, because limits.refuse is false, and the tracker may be ended by the system.", bytesize.AtLeast(need), bytesize.AtMost(available))
}
