// Package mrtest runs jobs in tests: a whole engine in one process, on a file system of the
// test's choice, with the output in a canonical form.
//
// Invariant: what it runs is the real thing. Attempts, shuffle, commit and scheduler are those
// that users get; only the store may be a fault-injecting or in-memory one.
package mrtest

import (
	"context"
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	mrlocal "github.com/vista-mr/vista-mr/mr/local"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// Cluster is an engine for one test.
type Cluster struct {
	Store      dfs.FS
	Slots      int
	SortMemory int64
	Cache      int64 // budget of pinned partitions
	Scratch    string
	Kinds      []mr.Kind
	Observe    func(tracker.Update)
}

// New returns a cluster of two slots on a file system in memory.
func New(t testing.TB, kinds ...mr.Kind) *Cluster {
	t.Helper()
	return &Cluster{Store: mem.New(), Slots: 2, SortMemory: 1 << 20, Cache: 64 << 20, Scratch: t.TempDir(), Kinds: kinds}
}

// Run runs a job, resuming from what is published in the store.
func (c *Cluster) Run(ctx context.Context, job *mr.JobSpec) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	registry, err := mr.NewRegistry(c.Kinds...)
	if err != nil {
		return nil, err
	}
	p := &commit.Publisher{FS: c.Store, Root: dfs.Path(job.ID)}
	epoch, done, kept, err := p.TakeOver(ctx, job)
	if err != nil {
		return nil, err
	}
	env := &task.Env{Store: c.Store, Mux: dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open}), Registry: registry,
		Shared: task.NewShared(), Cache: cache.New(c.Cache, c.Scratch), Scratch: c.Scratch, Slots: c.Slots, SortMemory: c.SortMemory}
	return mrlocal.Run(ctx, job, mrlocal.Options{Env: env, Publisher: p, Epoch: epoch, Done: done, Committed: kept, Observe: c.Observe,
		Beat: 5 * time.Millisecond, Backoff: time.Millisecond})
}

// Records reads a channel of a published phase as "key=value" lines in file order.
func (c *Cluster) Records(ctx context.Context, m *mr.PhaseManifest, channel string) ([]string, error) {
	var out []string
	for _, f := range m.Files(channel) {
		for r, err := range task.ReadPart(ctx, c.Store, f) {
			if err != nil {
				return out, err
			}
			out = append(out, fmt.Sprintf("%s=%s", r.Key, r.Value))
		}
	}
	return out, nil
}

// Sorted is Records in the order of the lines.
func (c *Cluster) Sorted(t testing.TB, m *mr.PhaseManifest, channel string) []string {
	t.Helper()
	lines, err := c.Records(t.Context(), m, channel)
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}
