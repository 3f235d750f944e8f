package join

import (
	"context"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr"
)

// LoadParams says what the load kind does: it sends the bytes of each record's images into the shuffle
// by key, for a join that comes before the inference.
type LoadParams struct {
	MaxBytes int64 `json:"maxBytes,omitempty"` // of a file that travels; a larger one is a bad record. 0: images.MaxImage
}

func load(ctx context.Context, t mr.Task, p *LoadParams) error {
	split := t.Spec().Split
	var bad []mr.BadRecord
	var frames, value []byte
	done := int64(0)
	for m, err := range images.Read(ctx, t, split, p.MaxBytes, func([]byte) bool { return true }) {
		if err != nil {
			return err
		}
		t.Count("images", 1)
		done++
		t.Progress(done, split.Records)
		if m.Aside {
			if err := t.SetAside(ctx, *m.Bad); err != nil {
				return err
			}
			continue
		}
		if m.First {
			bad, frames = bad[:0], frames[:0]
			if !m.Last {
				t.Count("images.several", 1)
			}
		}
		if m.Bad != nil {
			bad = append(bad, *m.Bad)
		} else {
			frames = extract.AppendFrame(frames, m.Data)
		}
		if !m.Last {
			continue
		}
		if value, err = extract.AppendOutcome(value[:0], bad, len(frames) == 0); err != nil {
			return err
		}
		if err := t.Emit(ctx, m.Key, append(value, frames...)); err != nil {
			return err
		}
	}
	return nil
}
