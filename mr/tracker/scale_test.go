package tracker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/mrtest/cputime"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// simulated is a worker that writes no files, says what it runs once a second, and succeeds in it in turn.
type simulated struct {
	t  *tracker.Tracker
	id sched.WorkerID

	mu      sync.Mutex
	running []sched.Progress
	ready   chan mr.TaskSpec
}

func (w *simulated) Send(c worker.Command) {
	if l, ok := c.(worker.Launch); ok {
		w.mu.Lock()
		w.running = append(w.running, sched.Progress{Job: l.Spec.Job, Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch})
		w.mu.Unlock()
		w.ready <- l.Spec // it has room for all slots
	}
}

func (w *simulated) work(ctx context.Context, pause time.Duration) {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case s := <-w.ready:
			if pause > 0 {
				time.Sleep(pause)
			}
			a := s.Attempt
			m := mr.Manifest{Attempt: a, Epoch: s.Epoch, Seconds: 0.25, Counters: map[string]int64{"rows": 1000 + int64(a.Task.Index%7)},
				Files: []mr.PartFile{{Channel: "features", Task: a.Task.Index, Path: s.Out.Join("features-0"), Rows: 1000, Bytes: 400_000 + int64(a.Task.Index*7919%5000), CRC: uint32(a.Task.Index) * 2654435761}}}
			w.t.Report(worker.Report{Event: sched.Succeeded{Worker: w.id, Job: s.Job, Manifest: m}}, func() {
				w.mu.Lock()
				w.running = slices.DeleteFunc(w.running, func(p sched.Progress) bool { return p.Attempt == a })
				w.mu.Unlock()
			})
		case <-beat.C:
			w.mu.Lock()
			now := slices.Clone(w.running)
			w.mu.Unlock()
			w.t.Report(worker.Report{Event: sched.Beat{Worker: w.id, Progress: now}}, nil)
		case <-ctx.Done():
			return
		}
	}
}

// measured is a publisher that says how large the journal was when its phase was complete.
type measured struct {
	*commit.Publisher
	bytes, files int64
}

func (m *measured) Publish(ctx context.Context, p mr.PhaseManifest) error {
	for info, err := range m.FS.List(ctx, m.Root.Join("phases", mr.FileName(string(p.Phase)), "tasks")) {
		if err != nil {
			return err
		}
		m.bytes, m.files = m.bytes+info.Size, m.files+1
	}
	return m.Publisher.Publish(ctx, p)
}

// pages are what a tracker shows of one job.
type pages struct {
	t    *tracker.Tracker
	id   mr.JobID
	past status.History
}

func (p *pages) Tasks(_ string, phase mr.PhaseID, state string, from, limit int) ([]tracker.TaskNow, map[string]int) {
	return p.t.Tasks(p.id, phase, state, from, limit)
}

func (*pages) AttemptLogs(context.Context, string, string) ([]status.AttemptLog, error) {
	return nil, nil
}

func (p *pages) Tracker() status.Tracker               { return status.Tracker{} }
func (p *pages) Jobs() []status.Job                    { return []status.Job{{ID: string(p.id), State: "running"}} }
func (p *pages) Workers() []tracker.WorkerNow          { return p.t.Workers() }
func (p *pages) Totals() status.Totals                 { return status.Totals{} }
func (p *pages) Log(string) (io.ReadSeekCloser, error) { return nil, nil }
func (p *pages) Kill(string) error                     { return errors.New("nobody asks for it") }
func (p *pages) Changes() uint64                       { return 0 }
func (p *pages) observe(u tracker.Update)              { p.past.Observe(p.id, u, time.Now()) }
func (p *pages) Job(id string) (d status.Detail, ok bool) {
	d.Job = status.Job{ID: id, State: "running"}
	now := p.t.Jobs(p.id)
	d.Phases = p.past.Phases(now)
	for _, n := range now {
		d.Running = append(d.Running, n.Attempts...)
	}
	return d, true
}

// look asks for a page again and again and returns what that took.
func look(ctx context.Context, b *testing.B, h http.Handler, path string) (took []time.Duration) {
	for ctx.Err() == nil {
		begin := time.Now()
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
		if r.Code != http.StatusOK {
			b.Errorf("%s: %d", path, r.Code)
			return took
		}
		took = append(took, time.Since(begin))
		time.Sleep(100 * time.Millisecond)
	}
	return took
}

func p95(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)*95/100].Microseconds()) / 1000
}

// peakRSS is the most memory that this process has had, in bytes; 0: not known here.
func peakRSS(b *testing.B) float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib * 1024
		}
	}
	return 0
}

// peakHeap watches what live objects and garbage take.
func peakHeap(ctx context.Context) (peak uint64) {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for ctx.Err() == nil {
		metrics.Read(s)
		peak = max(peak, s[0].Value.Uint64())
		time.Sleep(50 * time.Millisecond)
	}
	return peak
}

// BenchmarkScale is one job of many tasks on 1,000 simulated workers of 8 slots: a real tracker, a real journal on the local
// disk (with fsync), and somebody who looks at the job's page all the time. Ask for one size, once: memory is that of the
// whole process.
func BenchmarkScale(b *testing.B) {
	const workers, slots = 1000, 8
	for _, tasks := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			for range b.N {
				scale(b, workers, slots, tasks)
			}
		})
	}
}

func scale(b *testing.B, workers, slots, tasks int) {
	registry, err := mr.NewRegistry()
	if err != nil {
		b.Fatal(err)
	}
	tr := tracker.New(tracker.Options{Registry: registry, Rules: sched.Options{Expire: 60_000, Stall: 600_000, Speculate: true}})
	defer tr.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for i := range workers {
		w := &simulated{t: tr, id: sched.WorkerID(fmt.Sprintf("worker-%04d", i)), ready: make(chan mr.TaskSpec, 2*slots)}
		tr.Join(w, sched.WorkerUp{Worker: w.id, Slots: slots, Host: fmt.Sprintf("host-%d", i/4)})
		work.Go(func() { w.work(ctx, 0) })
	}
	spec := &mr.JobSpec{ID: "big", Phases: []mr.PhaseSpec{{ID: "extract", Type: mr.MapPhase, Kind: "k", Tasks: tasks}}}
	store := local.New(b.TempDir(), true)
	pub := &measured{Publisher: &commit.Publisher{FS: store, Root: dfs.Path(spec.ID)}}
	epoch, done, kept, err := pub.TakeOver(ctx, spec)
	if err != nil {
		b.Fatal(err)
	}
	shown := &pages{t: tr, id: spec.ID}
	h := status.New(status.Options{Source: shown})
	var heap uint64
	var job, api []time.Duration
	watch, stop := context.WithCancel(ctx)
	work.Go(func() { heap = peakHeap(watch) })
	var looking sync.WaitGroup
	looking.Go(func() { job = look(watch, b, h, "/jobs/big") })
	looking.Go(func() {
		for watch.Err() == nil { // what /api/v1/jobs/ID answers with
			begin := time.Now()
			if _, err := json.Marshal(tr.Jobs(spec.ID)); err != nil {
				b.Error(err)
			}
			api = append(api, time.Since(begin))
			time.Sleep(100 * time.Millisecond)
		}
	})
	begin, cpu := time.Now(), cputime.Taken()
	out, err := tr.Run(ctx, spec, tracker.JobOptions{Store: store, Publisher: pub, Epoch: epoch, Done: done, Committed: kept, Observe: shown.observe})
	took := time.Since(begin)
	stop()
	looking.Wait()
	if err != nil || len(out["extract"].Tasks) != tasks {
		b.Fatal(err)
	}
	cancel()
	work.Wait()
	b.ReportMetric(float64(tasks)/took.Seconds(), "tasks/s")
	b.ReportMetric(float64((cputime.Taken()-cpu).Microseconds())/float64(tasks), "cpu-µs/task")
	b.ReportMetric(float64(pub.bytes)/float64(tasks), "journal-B/task")
	b.ReportMetric(float64(pub.files), "journal-files")
	b.ReportMetric(float64(heap)/(1<<20), "peak-heap-MiB")
	b.ReportMetric(peakRSS(b)/(1<<20), "peak-RSS-MiB")
	b.ReportMetric(p95(job), "page-p95-ms")
	b.ReportMetric(p95(api), "api-p95-ms")
}

// silent is a worker that only takes.
type silent struct{}

func (silent) Send(worker.Command) {}

// BenchmarkPage is a job's page, what the API says of the job, and the page of workers, with a million tasks, 8,000 of
// which run, on 1,000 workers: what it costs the tracker while nothing else happens.
func BenchmarkPage(b *testing.B) {
	registry, err := mr.NewRegistry()
	if err != nil {
		b.Fatal(err)
	}
	tr := tracker.New(tracker.Options{Registry: registry})
	defer tr.Close()
	for i := range 1000 {
		tr.Join(silent{}, sched.WorkerUp{Worker: sched.WorkerID(fmt.Sprintf("worker-%04d", i)), Slots: 8})
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() {
		spec := &mr.JobSpec{ID: "big", Phases: []mr.PhaseSpec{{ID: "extract", Type: mr.MapPhase, Kind: "k", Tasks: 1_000_000}}}
		store := mem.New()
		_, err := tr.Run(ctx, spec, tracker.JobOptions{Store: store, Publisher: &commit.Publisher{FS: store, Root: "big"}, Epoch: 1})
		ended <- err
	}()
	for {
		if now := tr.Jobs("big"); len(now) > 0 && now[0].Phases[0].Running == 8000 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	h := status.New(status.Options{Source: &pages{t: tr, id: "big"}})
	for name, path := range map[string]string{"job": "/jobs/big", "workers": "/workers"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRecorder()
				if h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil)); r.Code != http.StatusOK {
					b.Fatal(r.Code)
				}
			}
		})
	}
	b.Run("api", func(b *testing.B) {
		for b.Loop() {
			if _, err := json.Marshal(tr.Jobs("big")); err != nil {
				b.Fatal(err)
			}
		}
	})
	cancel()
	<-ended
}
