//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// run is one job on one cluster.
type run struct {
	b     *bench
	store storage
	s     schedule
	calm  *calm // nil: this is it
	id    string
	dir   string
	env   []string // of all processes
	begun time.Time

	ways      []*proxy // of each worker to the tracker; the last one is the client's
	storeWays []*proxy // of each worker to the store; the last one is the tracker's
	storeEnv  [][]string
	tracker   *keeper
	workers   []*keeper
	end       chan struct{} // closed when the cluster is to end
	keeping   sync.WaitGroup

	mu          sync.Mutex
	started     map[string]int // processes by name
	notes       []string
	wrong       []string
	done        []fault
	usurped     []*process
	filled      bool // a disk was
	storeFailed bool // a server was down
	down        bool // one is

	submits int
	files   files
	took    time.Duration
}

func newRun(b *bench, st storage, s schedule, c *calm) *run {
	r := &run{b: b, store: st, s: s, calm: c, end: make(chan struct{}), started: map[string]int{}}
	name := fmt.Sprintf("run-%s-%d", s.store, s.seed)
	if c == nil {
		name = fmt.Sprintf("run-%s-calm-%s", s.store, s.job)
	}
	r.id = fmt.Sprintf("%s-%d", name, os.Getpid())
	r.dir = filepath.Join(b.dir, r.id)
	return r
}

// note writes down what happens, with its time.
func (r *run) note(format string, args ...any) {
	line := fmt.Sprintf("%7.3f  %s", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, line)
	if r.b.o.verbose {
		fmt.Printf("%s %s\n", r.id, line)
	}
}

// bad says what is wrong with the run.
func (r *run) bad(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	r.note("WRONG: %s", why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, why)
}

// died is told of a process that has ended without being told to. Where a disk is full or a server down, it may.
func (r *run) died(p *process) {
	code := p.cmd.ProcessState.ExitCode()
	r.mu.Lock()
	may := (r.filled || r.storeFailed) && code > 1
	r.mu.Unlock()
	if may {
		r.note("%s has ended with code %d", p.name, code)
		return
	}
	r.bad("%s has died: %v; %s", p.name, p.err, p.log)
}

// all does the run. What was wrong is in r.wrong; an error says that the run could not be done.
func (r *run) all(ctx context.Context) (err error) {
	r.begun = time.Now()
	if err := r.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.remove()) }()
	if err := r.startCluster(ctx); err != nil {
		r.bad("the cluster does not start: %v", err)
	} else {
		r.job(ctx)
		r.complete(ctx)
	}
	r.stopCluster()
	if len(r.wrong) == 0 && ctx.Err() == nil {
		r.check(ctx)
	}
	r.closeProxies()
	return nil
}

func (r *run) prepare() error {
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	for _, name := range []string{"disk", "scratch", "logs", "tmp", "cache"} {
		if err := os.MkdirAll(filepath.Join(r.dir, name), 0o777); err != nil {
			return err
		}
	}
	if r.b.disks {
		for _, name := range []string{"disk", "scratch"} {
			if !mountDisk(filepath.Join(r.dir, name)) {
				return fmt.Errorf("no file system can be mounted on %s", name)
			}
		}
	}
	for range workers + 1 {
		p, err := newProxy("")
		if err != nil {
			return err
		}
		r.ways = append(r.ways, p)
		if r.store.server() != "" {
			if p, err = newProxy(r.store.server()); err != nil {
				return err
			}
			r.storeWays = append(r.storeWays, p)
			env, err := r.store.reach(p.addr())
			if err != nil {
				return err
			}
			r.storeEnv = append(r.storeEnv, env)
		} else {
			r.storeEnv = append(r.storeEnv, nil)
		}
	}
	drop := []string{"VISTA_MR_", "AWS_", "HADOOP_", "TMPDIR=", insideVariable}
	for _, v := range os.Environ() {
		if !slices.ContainsFunc(drop, func(prefix string) bool { return strings.HasPrefix(v, prefix) }) {
			r.env = append(r.env, v)
		}
	}
	r.env = append(r.env, runVariable+"="+r.id, "TMPDIR="+filepath.Join(r.dir, "tmp"), "VISTA_MR_CACHE="+filepath.Join(r.dir, "cache"), "VISTA_MR_ORT_LIB="+r.b.lib, "GOTRACEBACK=all")
	return os.WriteFile(filepath.Join(r.dir, "job.yaml"), r.b.jobFile(r.store.data(r.b)), 0o666)
}

// state is the tracker's; on the local disk it lies on another one than the output, which is filled.
func (r *run) state() string {
	if r.store.server() == "" {
		return filepath.Join(r.dir, "state")
	}
	return r.store.uri(r) + "/state"
}

func (r *run) startCluster(ctx context.Context) error {
	r.tracker = newKeeper(r, "tracker", r.startTracker)
	r.keeping.Go(func() { r.tracker.keep(r.end) })
	for i := range workers {
		k := newKeeper(r, fmt.Sprintf("worker%d", i), func() (*process, error) {
			return r.start(fmt.Sprintf("worker%d", i), r.storeEnv[i], "worker", "--tracker", "http://"+r.ways[i].addr(), "--slots", "1", "--memory", "1GiB",
				"--scratch", filepath.Join(r.dir, "scratch"), "--log-level", "info")
		})
		r.workers = append(r.workers, k)
		r.keeping.Go(func() { k.keep(r.end) })
	}
	return until(ctx, time.Minute, func() bool { return r.joined() == workers })
}

// complete waits until all that was killed has been started again: what it has left is removed by what comes in its place.
func (r *run) complete(ctx context.Context) {
	err := until(ctx, time.Minute, func() bool {
		for _, k := range r.workers {
			if p := k.now(); p == nil || !strings.Contains(p.said(), "joined the tracker") {
				return false
			}
		}
		return r.tracker.now() != nil
	})
	if err != nil && ctx.Err() == nil && len(r.wrong) == 0 {
		r.bad("the cluster is not complete again: %v", err)
	}
}

// startTracker starts a tracker, and leads everybody there when it listens.
func (r *run) startTracker() (*process, error) {
	r.mu.Lock()
	n := r.started["tracker"] + 1
	r.mu.Unlock()
	p, err := r.start("tracker", r.storeEnv[workers], "tracker", "--listen", "127.0.0.1:0", "--state", r.state(),
		"--scratch", filepath.Join(r.dir, fmt.Sprintf("tracker-%d", n)), "--log-level", "info")
	if err != nil {
		return nil, err
	}
	r.keeping.Go(func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for {
			for line := range strings.Lines(p.said()) {
				if at, ok := strings.CutPrefix(line, "tracker: http://"); ok && strings.HasSuffix(at, "\n") {
					for _, w := range r.ways {
						w.lead(strings.TrimSpace(at))
					}
					return
				}
			}
			select {
			case <-p.done:
				return
			case <-look.C:
			}
		}
	})
	return p, nil
}

// joined is how many workers the tracker has.
func (r *run) joined() int {
	var list struct{ Workers []json.RawMessage }
	if get("http://"+r.ways[workers].addr()+"/api/v1/workers", &list) != nil {
		return 0
	}
	return len(list.Workers)
}

// get asks a tracker.
func get(url string, v any) error {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close() // it has been read
	return json.NewDecoder(resp.Body).Decode(v)
}

func until(ctx context.Context, most time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for !ok() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", most, ctx.Err())
		}
	}
	return nil
}

// job runs the job while the schedule's faults are done to it.
func (r *run) job(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.b.o.limit)
	defer cancel()
	id := r.submit(ctx)
	if id == "" {
		return
	}
	start := time.Now()
	over := make(chan struct{})
	var faults sync.WaitGroup
	for _, f := range r.s.faults {
		faults.Go(func() { r.inflict(f, over) })
	}
	ok := r.wait(ctx, id)
	for tries := 1; !ok && ctx.Err() == nil && len(r.wrong) == 0 && tries <= 3; tries++ {
		// A disk was full: there is room again when all that was done is undone.
		if tries == 1 {
			close(over)
			faults.Wait()
		}
		if id = r.submit(ctx); id == "" {
			break
		}
		ok = r.wait(ctx, id)
	}
	r.took = time.Since(start)
	select {
	case <-over:
	default:
		close(over)
	}
	faults.Wait()
	if !ok && ctx.Err() != nil && len(r.wrong) == 0 {
		r.hangs()
	} else if !ok && len(r.wrong) == 0 {
		r.bad("the job does not succeed although there is room")
	}
}

// inflict does a fault at its moment and undoes it after its time, or when the job is over.
func (r *run) inflict(f fault, over <-chan struct{}) {
	select {
	case <-time.After(f.moment(r.calm.pace)):
	case <-over:
		r.note("over before: %v", f)
		return
	}
	undo := kinds[f.kind].do(r, f)
	if undo == nil {
		r.note("nothing to do: %v", f)
		return
	}
	r.note("%v", f)
	r.mu.Lock()
	r.done = append(r.done, f)
	r.mu.Unlock()
	select {
	case <-time.After(f.last):
	case <-over:
	}
	if err := undo(); err != nil {
		r.bad("undo %v: %v", f, err)
		return
	}
	r.note("  undone: %v", f)
}

// submit hands the job in and returns its id. The tracker may be away.
func (r *run) submit(ctx context.Context) string {
	args := []string{"submit", "job.yaml", "--detach", "--set", "output=" + r.store.uri(r) + "/out"}
	for _, v := range variants {
		if v.name == r.s.job {
			for _, s := range v.sets {
				args = append(args, "--set", s)
			}
		}
	}
	r.submits++
	code, out := r.client(ctx, "submit", args...)
	if code != 0 {
		r.bad("submit ends with code %d: %s", code, out)
		return ""
	}
	id := strings.TrimSpace(out)
	r.note("submitted: %s", id)
	return id
}

// client runs a command that talks to the tracker, and returns its exit code and what it says.
func (r *run) client(ctx context.Context, name string, args ...string) (code int, said string) {
	p, err := r.start(name, []string{"VISTA_MR_TRACKER=http://" + r.ways[workers].addr()}, args...)
	if err != nil {
		return -1, err.Error()
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.end(syscall.SIGKILL)
		<-p.done
	}
	return p.cmd.ProcessState.ExitCode(), p.said()
}

// wait waits for the job's end and tells whether it has succeeded. If it has failed for lack of room where a disk was
// full, that is right.
func (r *run) wait(ctx context.Context, id string) bool {
	code, said := r.client(ctx, "wait", "wait", id)
	for code == 6 && strings.Contains(said, "E-TRACKER") && ctx.Err() == nil { // wait rides out that a tracker goes away, not that there is none at first
		time.Sleep(100 * time.Millisecond)
		code, said = r.client(ctx, "wait", "wait", id)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case code == 0:
		r.note("succeeded")
		return true
	case code == 5 && r.filled && strings.Contains(said, "E-NO-SPACE"):
		r.note("failed for lack of room")
		return false
	}
	r.bad("the job ends with code %d: %s", code, strings.TrimSpace(said))
	return false
}

// hangs has all processes say what they are at.
func (r *run) hangs() {
	r.bad("it hangs: not done within %v; the processes' goroutines are in logs", r.b.o.limit)
	for _, drivers := range []bool{true, false} { // drivers first: their trackers write down what they say
		for pid, line := range marked(r.id) {
			if strings.Contains(line, " submit ") == drivers {
				_ = signalPID(pid, syscall.SIGCONT)
				_ = signalPID(pid, syscall.SIGQUIT) // what does not end then is killed below
			}
		}
		time.Sleep(time.Second) // they write
	}
}

// stopCluster ends all processes as an operator does, and looks whether they obey.
func (r *run) stopCluster() {
	close(r.end)
	for _, old := range r.usurped {
		if !old.waitFor(30 * time.Second) {
			r.bad("the tracker that was usurped goes on")
		} else if code := old.cmd.ProcessState.ExitCode(); !strings.Contains(old.said(), "E-OTHER-TRACKER") || code != 3 {
			r.bad("the tracker that was usurped has ended with code %d and says\n%s", code, tail(old.said(), 5))
		}
	}
	var all []*process
	for _, k := range append(slices.Clone(r.workers), r.tracker) { // workers first: they tell the tracker
		if k == nil {
			continue
		}
		if p := k.now(); p != nil {
			p.end(syscall.SIGTERM)
			all = append(all, p)
		}
	}
	late := time.After(45 * time.Second)
	for _, p := range all {
		select {
		case <-p.done:
			if code := p.cmd.ProcessState.ExitCode(); code != 0 && code != 128+int(syscall.SIGTERM) {
				r.bad("%s ends with code %d when it is told to: %s\n%s", p.name, code, p.log, tail(p.said(), 5))
			}
		case <-late:
			r.bad("%s does not end when it is told to", p.name)
			p.signal(syscall.SIGQUIT)
			p.waitFor(time.Second)
		}
	}
	r.keeping.Wait()
	// Drivers end when their tracker has; that takes a moment.
	_ = until(context.Background(), 15*time.Second, func() bool { return len(marked(r.id)) == 0 }) // what is left is told below
	for pid, line := range marked(r.id) {
		r.bad("process %d is left: %s", pid, line)
		_ = signalPID(pid, syscall.SIGKILL) // it was told
	}
}

// closeProxies ends what passes connections on.
func (r *run) closeProxies() {
	for _, p := range append(slices.Clone(r.ways), r.storeWays...) {
		if err := p.close(); err != nil {
			r.bad("close a proxy: %v", err)
		}
	}
}

// remove removes what a good run has left; of a bad one everything stays but the mounts, whose files are copied.
func (r *run) remove() error {
	var err error
	if r.b.disks {
		for _, name := range []string{"disk", "scratch"} {
			dir := filepath.Join(r.dir, name)
			if len(r.wrong) > 0 {
				err = errors.Join(err, os.CopyFS(filepath.Join(r.dir, name+"-as-it-was"), os.DirFS(dir)))
			}
			err = errors.Join(err, syscall.Unmount(dir, 0))
		}
	}
	if len(r.wrong) > 0 || err != nil {
		return err
	}
	return errors.Join(r.store.remove(context.Background(), r), os.RemoveAll(r.dir))
}
