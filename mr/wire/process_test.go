package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// roleVar makes this test binary a process of another kind: "tracker DIR [JOB]" or "worker URL DIR".
const roleVar = "VISTA_MR_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := strings.Fields(os.Getenv(roleVar)); len(role) > 0 {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// rulesOfDaemon are those that matter here of vista-mr tracker.
var rulesOfDaemon = sched.Options{Expire: 5000, Stall: 600_000, Speculate: true, Backoff: 1000}

// play is a process until its standard input ends, so that it does not outlive the test.
func play(role []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	switch role[0] {
	case "tracker":
		r, err := mr.NewRegistry(nothing()...)
		if err != nil {
			return err
		}
		t := tracker.New(tracker.Options{Registry: r, Rules: rulesOfDaemon})
		for _, id := range role[2:] {
			t.Expect(mr.JobID(id))
		}
		store := local.New(role[1], true)
		runs := &Runs{Tracker: t, Open: func(context.Context, string) (dfs.FS, error) { return store, nil }}
		mux := http.NewServeMux()
		mux.Handle(WorkerPath, &Server{Tracker: t})
		mux.Handle(RunPath, runs)
		mux.Handle(RunPath+"/", runs)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		return http.Serve(l, mux)
	case "worker":
		hold := mr.Kind{Name: "hold", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(ctx context.Context, _ mr.Task) error {
				<-ctx.Done()
				return ctx.Err()
			}), nil
		}}
		fmt.Println("ready")
		return runWorker(ctx, "stopped", role[1], 4, local.New(role[2], true), role[2], hold)
	}
	return fmt.Errorf("unknown role %v", role)
}

// runWorker is a worker as vista-mr worker has it, until ctx ends.
func runWorker(ctx context.Context, id, url string, slots int, store dfs.FS, dir string, kinds ...mr.Kind) error {
	r, err := mr.NewRegistry(kinds...)
	if err != nil {
		return err
	}
	cl := &Client{URL: url, Hello: Hello{Worker: sched.WorkerID(id), Slots: slots}}
	w := worker.New(worker.Options{ID: sched.WorkerID(id), Slots: slots, Report: cl.Report, Env: func(*mr.TaskSpec) (*task.Env, error) {
		return &task.Env{Store: store, Mux: dfs.NewMux(nil), Registry: r, Shared: task.NewShared(), Cache: cache.New(1<<20, dir), Scratch: dir, Slots: slots, SortMemory: 1 << 20}, nil
	}})
	defer w.Close()
	return cl.Run(ctx, w)
}

// process is this test binary in another role; said is the first line that it prints.
type process struct {
	*exec.Cmd
	said string
	in   io.Closer
}

func start(b *testing.B, role ...string) *process {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), roleVar+"="+strings.Join(role, " "))
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if p.in, err = p.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	p.said = strings.TrimSpace(line)
	return p
}

// kill is SIGKILL.
func (p *process) kill(b *testing.B) {
	b.Helper()
	if err := p.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = p.Wait() // it says that it was killed
	_ = p.in.Close()
}

// BenchmarkTrackerKilled is a tracker process that is killed when 10,000 tasks of a job are committed, on a local disk with fsync. It tells
// how long it took from the start of the next one until a driver that waited has a new result, and how many committed tasks
// ran again.
func BenchmarkTrackerKilled(b *testing.B) {
	for n := range b.N {
		trackerKilled(b, fmt.Sprint("killed", n))
	}
}

func trackerKilled(b *testing.B, id string) {
	const committed, more, workers, slots = 10_000, 200, 4, 8
	dir := b.TempDir()
	net := newNetwork(b)
	var ran [committed + more]atomic.Int32
	gate := make(chan struct{})
	kind := mr.Kind{Name: "nothing", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			i := t.Spec().Attempt.Task.Index
			ran[i].Add(1)
			if i >= committed {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return ctx.Err()
		}), nil
	}}
	p := start(b, "tracker", dir)
	net.to(p.said)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, workers)
	for i := range workers {
		scratch := b.TempDir()
		go func() {
			ended <- runWorker(ctx, fmt.Sprint("w", i), "http://"+net.addr(), slots, local.New(dir, true), scratch, kind)
		}()
	}
	defer func() {
		cancel()
		for range workers {
			<-ended
		}
	}()
	job := &mr.JobSpec{ID: mr.JobID(id), Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "nothing", Tasks: committed + more}}}
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	again := 0
	first := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		_, err := (&Remote{URL: "http://" + net.addr(), HTTP: h}).Run(ctx, job, func(u tracker.Update) {
			if u.Kind == tracker.AttemptSucceeded && u.Attempt.Task.Index >= committed {
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
		done <- err
	}()
	look := &commit.Publisher{FS: local.New(dir, true), Root: dfs.Path(id)}
	for kept := 0; kept < committed; time.Sleep(200 * time.Millisecond) {
		all, err := look.LoadTasks(ctx, job, nil)
		if err != nil {
			b.Fatal(err)
		}
		kept = len(all)
	}
	p.kill(b)
	net.cut()
	close(gate) // while nobody is there to be told
	begin := time.Now()
	p = start(b, "tracker", dir, id)
	defer p.kill(b)
	net.to(p.said)
	b.ReportMetric(time.Since(begin).Seconds(), "s-to-listen")
	<-first
	b.ReportMetric(time.Since(begin).Seconds(), "s-to-first-result")
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begin).Seconds(), "s-to-end")
	for i := range committed {
		again += int(ran[i].Load()) - 1
	}
	b.ReportMetric(float64(again), "run-again")
}
