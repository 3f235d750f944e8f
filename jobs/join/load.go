package join

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// LoadParams says what the load kind does: it sends the bytes of image files into the shuffle
// by key, for a join that comes before the inference.
type LoadParams struct {
	Duplicates map[int][]string `json:"duplicates,omitempty"` // files whose key an earlier file has, by task
	MaxBytes   int64            `json:"maxBytes,omitempty"`   // of a file that travels; a larger one is a bad record. 0: image.DefaultMaxBytes
}

func load(ctx context.Context, t mr.Task, p *LoadParams) error {
	for _, uri := range p.Duplicates[t.Spec().Attempt.Task.Index] {
		t.Count("images", 1)
		err := t.SetAside(ctx, mr.BadRecord{Key: extract.KeyOf(uri), Stage: "image", Cause: "duplicate-key",
			Error: fmt.Sprintf("%s: an earlier file has the same key, and stays", uri)})
		if err != nil {
			return err
		}
	}
	files := t.Spec().Split.Files
	var buf []byte
	for i, f := range files {
		key := extract.KeyOf(f.URI)
		fs, path, err := t.Resolve(ctx, f.URI)
		if err != nil {
			return err
		}
		if buf, err = readValue(ctx, fs, path, key, p.maxBytes(), buf[:0]); err != nil {
			return err
		}
		t.Count("images", 1)
		if err := t.Emit(ctx, []byte(key), buf); err != nil {
			return err
		}
		t.Progress(int64(i+1), int64(len(files)))
	}
	return nil
}

func (p *LoadParams) maxBytes() int64 {
	if p.MaxBytes > 0 {
		return p.MaxBytes
	}
	return image.DefaultMaxBytes
}

// readValue appends what travels for one file: its bytes, or why there are none.
func readValue(ctx context.Context, fs dfs.FS, path dfs.Path, key string, most int64, dst []byte) ([]byte, error) {
	fail := func(cause string, err error) ([]byte, error) {
		story, jerr := json.Marshal(mr.BadRecord{Key: key, Stage: "image", Cause: cause, Error: err.Error()})
		return append(append(dst[:0], extract.Unusable), story...), jerr
	}
	f, err := fs.Open(ctx, path)
	if errs.Is(err, errs.NotExist) {
		return fail("missing", err)
	}
	if err != nil {
		return dst, err
	}
	defer f.Close() // reading only: a failed close loses nothing
	if f.Size() > most {
		return fail("too-large", fmt.Errorf("%d bytes, more than %d", f.Size(), most))
	}
	dst = append(dst, extract.Usable)
	dst = append(dst, make([]byte, f.Size())...)
	if n, err := f.ReadAt(dst[1:], 0); n < len(dst)-1 {
		return dst, errs.E("read image", errs.KindOf(err), string(path), err)
	}
	return dst, nil
}
