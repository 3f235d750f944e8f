package run

import (
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// observeTimes notes when phases are published and adds up the rounds.
func observeTimes(published map[mr.PhaseID]time.Time, rounds *float64) func(tracker.Update) {
	return func(u tracker.Update) {
		switch u.Kind {
		case tracker.PhasePublished:
			published[u.Phase] = time.Now()
		case tracker.RoundDone:
			*rounds += u.Seconds
		}
	}
}
