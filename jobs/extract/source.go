package extract

import (
	"context"
	"fmt"
	"iter"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// item is one image of a record, or one volume. Its slices are valid until the next one is asked for.
type item struct {
	key         []byte
	row         []byte        // encoded; nil if the join comes later, or if there is none
	image       []byte        // of sources Files and Joined
	from        string        // URI of the image's file, if that is known
	volume      []byte        // of source Volume, as stored
	bad         *mr.BadRecord // the image cannot be had; image is nil then
	aside       bool          // it belongs to no record: bad is set aside at once
	first, last bool          // of its record
}

// items yields a task's images or volumes in the order that defines the order of all it writes.
func (w *work) items(ctx context.Context) iter.Seq2[item, error] {
	switch w.p.Source {
	case Files:
		return w.files(ctx)
	case Joined:
		return w.joined(ctx)
	}
	return w.volumes(ctx)
}

// files reads the split. What has no row in the broadcast table is not read.
func (w *work) files(ctx context.Context) iter.Seq2[item, error] {
	want := func(key []byte) bool {
		if w.table == nil {
			return true
		}
		_, ok := w.table.Lookup(key)
		return ok
	}
	return func(yield func(item, error) bool) {
		for m, err := range images.Read(ctx, w.t, w.t.Spec().Split, w.decode.MaxBytes(), want) {
			it := item{key: m.Key, image: m.Data, from: m.From, bad: m.Bad, aside: m.Aside, first: m.First, last: m.Last}
			if err == nil && w.table != nil {
				it.row, _ = w.table.Lookup(m.Key)
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// joined takes records apart that a reduce-side join has put together.
func (w *work) joined(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for r, err := range w.t.Records(ctx, w.p.Input) {
			it := item{key: r.Key, first: true}
			var frames []byte
			if err == nil {
				it.row, frames, err = SplitJoined(r.Value)
			}
			for err == nil && !it.last {
				if it.image, frames, err = CutFrame(frames); err != nil {
					break
				}
				it.last = len(frames) == 0
				if !yield(it, nil) {
					return
				}
				it.first = false
			}
			if err != nil {
				yield(it, err)
				return
			}
		}
	}
}

// volumes takes the volumes of a record's images apart, which lie one behind the other.
func (w *work) volumes(ctx context.Context) iter.Seq2[item, error] {
	n := 4 * w.p.Programs[0].Model.In.Len()
	return func(yield func(item, error) bool) {
		for r, err := range w.t.Records(ctx, w.p.Input) {
			v := r.Value
			if err == nil && (len(v) == 0 || len(v)%n != 0) {
				err = errs.E("extract", errs.Corrupt, "", fmt.Errorf("the volume of %q has %d bytes, the model takes %d", r.Key, len(v), n))
			}
			if err != nil {
				yield(item{}, err)
				return
			}
			for at := 0; at < len(v); at += n {
				it := item{key: r.Key, volume: v[at : at+n], first: at == 0, last: at+n == len(v)}
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}

// badImage says of an image what is wrong, and of its file where it lies, so that it can be looked at.
func badImage(it *item, cause string, err error) *mr.BadRecord {
	text := err.Error()
	if it.from != "" {
		text = it.from + ": " + text
	}
	return &mr.BadRecord{Key: string(it.key), Stage: "image", Cause: cause, Error: text}
}
