package run

import (
	"time"

	"github.com/vista-mr/vista-mr/mr"
	mrlocal "github.com/vista-mr/vista-mr/mr/local"
)

// observeTimes notes when phases are published and adds up the rounds.
func observeTimes(published map[mr.PhaseID]time.Time, rounds *float64) func(mrlocal.Update) {
	return func(u mrlocal.Update) {
		switch u.Kind {
		case mrlocal.PhasePublished:
			published[u.Phase] = time.Now()
		case mrlocal.RoundDone:
			*rounds += u.Seconds
		}
	}
}
