package mrtest

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/task"
)

// look is what another process sees while the job runs, through a client of its own and without faults.
func (x *exact) look(done <-chan struct{}) {
	fs := x.Open(x.t)
	pub := &commit.Publisher{FS: fs, Root: exactJob}
	read := map[string]bool{} // attempts whose files were looked at
	for {
		select {
		case <-done:
			return
		default:
		}
		switch m, err := pub.Load(x.t.Context(), "p"); {
		case err == nil:
			x.manifest(fs, m)
			return // nothing changes any more
		case !errs.Is(err, errs.NotExist):
			x.t.Errorf("a reader: %v", err)
			return
		}
		kept, err := pub.LoadTasks(x.t.Context(), x.job, nil)
		if err != nil {
			x.t.Errorf("a reader: %v", err)
			return
		}
		for i := range kept {
			x.kept(fs, pub, &kept[i], read)
		}
		x.parts(fs)
		x.mu.Lock()
		x.n.Looks++
		x.mu.Unlock()
	}
}

// kept looks at a result that a tracker coming now would count.
func (x *exact) kept(fs dfs.FS, pub *commit.Publisher, m *mr.Manifest, read map[string]bool) {
	name := who(m.Attempt, m.Epoch)
	x.mu.Lock()
	reported := x.reported[name]
	x.mu.Unlock()
	if !reported {
		x.wrong(&x.n.Early, "%s is seen and has not reported", name)
	}
	if read[name] || len(read) > 2000 {
		return
	}
	read[name] = true
	x.read(fs, m, func(count *int, what string) {
		// It may have lost against another attempt meanwhile, and be kept no more.
		if again, err := pub.LoadTasks(x.t.Context(), x.job, nil); err == nil && !slices.ContainsFunc(again, func(o mr.Manifest) bool { return o.Attempt == m.Attempt && o.Epoch == m.Epoch }) {
			return
		}
		x.wrong(count, "%s: %s", name, what)
	})
}

// read reads the files of a result. What is not as it should be is told.
func (x *exact) read(fs dfs.FS, m *mr.Manifest, tell func(count *int, what string)) {
	if len(m.Files) != x.files {
		tell(&x.n.Lost, fmt.Sprintf("%d files, want %d", len(m.Files), x.files))
	}
	for _, f := range m.Files {
		n := 0
		for r, err := range task.ReadPart(x.t.Context(), fs, f) {
			switch {
			case err != nil:
				tell(&x.n.Lost, err.Error())
				n = 1
			case string(r.Key) != fmt.Sprint(m.Attempt.Task.Index) || string(r.Value) != who(m.Attempt, m.Epoch):
				tell(&x.n.Mixed, fmt.Sprintf("%s holds %s=%s", f.Path, r.Key, r.Value))
				n++
			default:
				n++
			}
		}
		if n != 1 {
			tell(&x.n.Twice, fmt.Sprintf("%s holds %d records", f.Path, n))
		}
	}
}

// parts looks at the files of attempts that run: nobody reads them, but what can be seen of them must be whole.
func (x *exact) parts(fs dfs.FS) {
	x.mu.Lock()
	out := slices.Clone(x.launched[max(0, len(x.launched)-8):])
	x.mu.Unlock()
	for _, dir := range out {
		for info, err := range fs.List(x.t.Context(), dir) {
			if err != nil {
				x.t.Errorf("a reader: %v", err)
				return
			}
			data, err := dfs.ReadFile(x.t.Context(), fs, info.Path, 1<<20)
			if errs.Is(err, errs.NotExist) {
				continue // its attempt was discarded
			}
			// An Avro file ends with the marker that its header ends with.
			if len(data) < 40 || err != nil || !slices.Equal(data[len(data)-16:], marker(data)) {
				x.wrong(&x.n.Torn, "%s has %d bytes, %v", info.Path, len(data), err)
			}
		}
	}
}

// marker is the sync marker of an Avro file that has one block: it comes once after the header, and once at the end.
func marker(data []byte) []byte {
	last := data[len(data)-16:]
	for i := 4; i+32 <= len(data); i++ {
		if slices.Equal(data[i:i+16], last) {
			return last
		}
	}
	return nil
}

// manifest looks at a published phase: every task once, every file whole and of the attempt that counts.
func (x *exact) manifest(fs dfs.FS, m *mr.PhaseManifest) {
	if len(m.Tasks) != x.tasks {
		x.wrong(&x.n.Lost, "%d tasks are published", len(m.Tasks))
	}
	for i := range m.Tasks {
		t := &m.Tasks[i]
		name := who(t.Attempt, t.Epoch)
		x.mu.Lock()
		reported := x.reported[name]
		x.mu.Unlock()
		if !reported {
			x.wrong(&x.n.Early, "%s is published and has not reported", name)
		}
		if t.Attempt.Task.Index != i {
			x.wrong(&x.n.Mixed, "task %d is %s", i, name)
		}
	}
	if n := m.Sum("written"); n != int64(x.tasks) {
		x.wrong(&x.n.Twice, "%d attempts are counted", n)
	}
}

// judge reads all that is published in the end.
func (x *exact) judge() {
	fs := x.Open(x.t)
	m, err := (&commit.Publisher{FS: fs, Root: exactJob}).Load(x.t.Context(), "p")
	if err != nil {
		x.wrong(&x.n.Lost, "the phase: %v", err)
		return
	}
	x.manifest(fs, m)
	for i := range m.Tasks {
		t := &m.Tasks[i]
		x.read(fs, t, func(count *int, what string) { x.wrong(count, "%s: %s", who(t.Attempt, t.Epoch), what) })
	}
	x.n.Commits = len(m.Tasks)
}
