package run

import (
	"context"
	"errors"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/pack"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Pack puts the images of a source into shards in a folder.
func Pack(ctx context.Context, source images.Spec, out string, sink progress.Sink) (*pack.Summary, error) {
	to, dir, err := stores().Resolve(ctx, out)
	if err != nil {
		return nil, exit.As(exit.Invalid, err)
	}
	s, err := pack.Run(ctx, pack.Options{Source: source, From: stores(), To: to, Out: dir, OutName: out,
		Progress: func(done, total int64) {
			sink.Update(progress.Update{Stage: "pack", Unit: "images", Done: done, Total: total, End: done == total})
		},
		Scanned: func(done, total int) {
			sink.Update(progress.Update{Stage: "scan", Unit: "files", Done: int64(done), Total: int64(total), End: done == total})
		}})
	var output *pack.OutputError
	var from *images.SourceError
	switch {
	case err == nil:
		return s, nil
	case errors.As(err, &output), errors.As(err, &from):
		return nil, exit.As(exit.Invalid, err)
	}
	return nil, exit.Running(err)
}
