package train

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
)

// read is a task that has rows with keys of some length, and no layers.
type read struct {
	mr.Task
	rows, key int
	store     *cache.Cache
}

func (r *read) Spec() *mr.TaskSpec {
	return &mr.TaskSpec{Inputs: []mr.TaskInput{{Input: mr.Input{Name: BaseInput}, Files: []mr.PartFile{{Rows: int64(r.rows)}}}}}
}

func (r *read) Cache() *cache.Cache { return r.store }

func (r *read) Progress(int64, int64) {}

func (r *read) Records(context.Context, string) iter.Seq2[mr.Record, error] {
	return func(yield func(mr.Record, error) bool) {
		value := (&row.Row{Label: "0", X: make([]float32, features)}).Append(nil)
		for i := range r.rows {
			if !yield(mr.Record{Key: fmt.Appendf(nil, "%0*d", r.key, i), Value: value}, nil) {
				return
			}
		}
	}
}

// A partition's rows take what vistaopt reckons with for each, beside the values, which lie in the cache.
func TestRowsTakeWhatIsReckoned(t *testing.T) {
	const rows = 20_000
	for name, c := range map[string]struct{ key, most int64 }{
		"short":   {8, 96},
		"a UUID":  {36, 96},
		"49":      {49, 96},
		"a path":  {200, 40 + 200 + 25},
		"longest": {4096, 40 + 4096 + 512},
	} {
		p := params(0)
		p.Layers = nil
		part := &partition{p: &p, cols: p.columns(), names: []string{"0"}}
		task := &read{rows: rows, key: int(c.key), store: cache.New(0, t.TempDir())}
		before := live()
		if err := part.read(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		took := live() - before
		if len(part.keys) != rows || !bytes.HasSuffix(part.keys[rows-1], []byte("19999")) {
			t.Fatalf("%s: %d keys", name, len(part.keys))
		}
		if took > rows*c.most {
			t.Errorf("%s: %d bytes a row, want %d at most", name, took/rows, c.most)
		}
		if err := part.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// live is what lives on the heap.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
