package train

import (
	"context"
	"io"
	"sync"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
)

// workspace is what one slot needs for a round: as much as the models that are trained at a time, whatever the number
// of partitions.
type workspace struct {
	scratch lr.Scratch
	views   [][]float32 // buffers for parts that are on disk
	points  []*lr.Point
	sums    []*lr.Partial
	rows    [][]float32 // weights of one model
}

// pool is the process's workspaces that nobody works in.
type pool struct {
	mu   sync.Mutex
	free []*workspace
}

// openPool returns the one of a phase.
func openPool(ctx context.Context, t mr.Task) (*pool, error) {
	key := "train/" + string(t.Spec().Job) + "/" + string(t.Spec().Attempt.Task.Phase)
	c, err := t.Shared(ctx, key, func(context.Context) (io.Closer, error) { return &pool{}, nil })
	if err != nil {
		return nil, err
	}
	return c.(*pool), nil
}

func (p *pool) take() *workspace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		w := p.free[n-1]
		p.free = p.free[:n-1]
		return w
	}
	return &workspace{}
}

func (p *pool) give(w *workspace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, w)
}

// Close lets go of all.
func (p *pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = nil
	return nil
}

// point is point i, for a model of a shape.
func (w *workspace) point(i int, p *Params, classes int, s shape) *lr.Point {
	for len(w.points) <= i {
		w.points = append(w.points, nil)
	}
	if pt := w.points[i]; pt == nil || len(pt.W) != s.scores || len(pt.W[0]) != s.cols {
		w.points[i] = newPoint(p, classes, s)
	}
	return w.points[i]
}

// sum is sum i, empty.
func (w *workspace) sum(i int, s shape) *lr.Partial {
	for len(w.sums) <= i {
		w.sums = append(w.sums, nil)
	}
	if sum := w.sums[i]; sum == nil || len(sum.Grad) != s.scores || len(sum.Grad[0]) != s.cols {
		w.sums[i] = lr.NewPartial(s.scores, s.cols)
	} else {
		sum.Reset()
	}
	return w.sums[i]
}
