package host

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// Guard sheds attempts while the process holds more than a limit in bytes less a twentieth: the system would kill the whole
// process at the limit. shed gives one attempt up, to be tried again with less, and tells whether there was one. What was shed
// is given time to be let go of. It returns when ctx ends, or at once without a limit.
func Guard(ctx context.Context, shed func(why error) bool, limit int64, held func() int64, log *zap.Logger) {
	if limit <= 0 {
		return
	}
	most := limit - limit/20
	const look, rest = 200 * time.Millisecond, 2 * time.Second
	pause := look
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = look
		if now := held(); now > most {
			why := fmt.Errorf("the process holds %s, and may hold %s", bytesize.Nearest(now), bytesize.Nearest(limit))
			if shed(why) {
				log.Warn("an attempt is given up, to be tried again with less", zap.Error(why))
				debug.FreeOSMemory()
				pause = rest
			}
		}
	}
}
