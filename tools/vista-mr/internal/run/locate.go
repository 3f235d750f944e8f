package run

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
)

// locateTime bounds how long a job waits to learn where its images lie.
const locateTime = 10 * time.Second

// locate says in a job's splits of images which machines they are near. It is a hint: without it a job is as right, and a little slower.
func locate(ctx context.Context, d *data, spec *mr.JobSpec, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, locateTime)
	defer cancel()
	located := map[int][]mr.Split{}
	for i := range spec.Phases {
		splits := spec.Phases[i].Splits
		if len(splits) == 0 || len(splits[0].Files) == 0 || !isIndex(splits[0].Files[0].URI) {
			continue
		}
		if known := located[len(splits)]; known != nil {
			spec.Phases[i].Splits = known
			continue
		}
		if err := d.images.Locate(ctx, stores().Resolve, splits); err != nil && log != nil {
			log.Warn("where the images lie could not be found out", zap.Error(err))
		}
		located[len(splits)] = splits
	}
}
