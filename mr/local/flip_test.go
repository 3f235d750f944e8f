package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// flips is how many bytes of each of five kinds of file are flipped; VISTA_FLIPS=200 makes a thousand.
func flips() int {
	if n, err := strconv.Atoi(os.Getenv("VISTA_FLIPS")); err == nil && n > 0 {
		return n
	}
	return 40
}

// flip is one byte that changes, in a file that has just been written.
type flip struct {
	dfs.FS
	file string // part of the path
	n    int    // which flip
	rnd  *rand.Rand

	mu    sync.Mutex
	path  dfs.Path // of the damaged file
	at    int
	bytes int // of the file
}

// place is a position in a file: near its beginning, near its end, about the middle, or anywhere.
func place(rnd *rand.Rand, n, size int) int {
	switch n % 4 {
	case 0:
		return rnd.IntN(min(size, 64))
	case 1:
		return size - 1 - rnd.IntN(min(size, 32))
	case 2:
		return min(size-1, size/2+rnd.IntN(16))
	}
	return rnd.IntN(size)
}

// damage flips a byte of data.
func damage(rnd *rand.Rand, n int, data []byte) (at int) {
	at = place(rnd, n, len(data))
	data[at] ^= byte(1 + rnd.IntN(255))
	return at
}

func (f *flip) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	w, err := f.FS.Create(ctx, p)
	return &flipWriter{w, f, p}, err
}

type flipWriter struct {
	dfs.Writer
	f *flip
	p dfs.Path
}

func (w *flipWriter) Commit(ctx context.Context) error {
	if err := w.Writer.Commit(ctx); err != nil {
		return err
	}
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.f.path != "" || !strings.Contains(string(w.p), w.f.file) {
		return nil
	}
	data, err := dfs.ReadFile(ctx, w.f.FS, w.p, 1<<20)
	if err != nil {
		return err
	}
	w.f.path, w.f.bytes, w.f.at = w.p, len(data), damage(w.f.rnd, w.f.n, data)
	return rewrite(ctx, w.f.FS, w.p, data)
}

func rewrite(ctx context.Context, fs dfs.FS, p dfs.Path, data []byte) error {
	return errors.Join(fs.Remove(ctx, p), dfs.WriteFile(ctx, fs, p, data))
}

// flipJob writes records packed and as they are, and to a shuffle; reads them to their ends and, what is packed or not, only in part;
// and pins them for rounds.
func flipJob() (*mr.JobSpec, []mr.Kind) {
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			packed, err := t.Part(ctx, "packed", mr.PartOptions{})
			if err != nil {
				return err
			}
			raw, err := t.Part(ctx, "raw", mr.PartOptions{Raw: true})
			if err != nil {
				return err
			}
			for i := range 40 {
				key, value := fmt.Appendf(nil, "k%d", i%7), fmt.Appendf(nil, "value %d of task %d", i*i, t.Spec().Attempt.Task.Index)
				if err := errors.Join(packed.Append(key, value), raw.Append(key, value), t.Emit(ctx, key, value)); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	copyTo := func(ctx context.Context, t mr.Task, key, value []byte) error {
		out, err := t.Part(ctx, "out", mr.PartOptions{})
		if err != nil {
			return err
		}
		return out.Append(key, value)
	}
	read := mr.Kind{Name: "read",
		Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.EachRecord("in", func(ctx context.Context, t mr.Task, r mr.Record) error { return copyTo(ctx, t, r.Key, r.Value) }), nil
		},
		Reduce: func(json.RawMessage) (mr.Reducer, error) {
			return reduceFunc(func(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
				for v, err := range values {
					if err := errors.Join(err, copyTo(ctx, t, key, v.Data)); err != nil {
						return err
					}
				}
				return nil
			}), nil
		}}
	first := mr.Kind{Name: "first", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			n := 0
			for r, err := range t.Records(ctx, "in") {
				if err := errors.Join(err, copyTo(ctx, t, r.Key, r.Value)); err != nil {
					return err
				}
				if n++; n == 3 {
					break
				}
			}
			return nil
		}), nil
	}}
	in := func(channel string, mode mr.Mode) []mr.Input {
		return []mr.Input{{Name: "in", Phase: "write", Channel: channel, Mode: mode}}
	}
	return &mr.JobSpec{ID: "f", MaxAttempts: 1, Phases: []mr.PhaseSpec{
		{ID: "write", Type: mr.MapPhase, Kind: "write", Tasks: 2, Partitions: 2},
		{ID: "shuffled", Type: mr.ReducePhase, Kind: "read", Tasks: 2, Inputs: in("", mr.Shuffled)},
		{ID: "packed", Type: mr.MapPhase, Kind: "read", Tasks: 2, Inputs: in("packed", mr.Same)},
		{ID: "raw", Type: mr.MapPhase, Kind: "read", Tasks: 1, Inputs: in("raw", mr.All)},
		{ID: "raw-in-part", Type: mr.MapPhase, Kind: "first", Tasks: 2, Inputs: in("raw", mr.Same)},
	}}, []mr.Kind{write, read, first}
}

// readAll is all that the job's last phases have written.
func readAll(t *testing.T, c *mrtest.Cluster, out map[mr.PhaseID]*mr.PhaseManifest) string {
	t.Helper()
	var b strings.Builder
	for _, id := range []mr.PhaseID{"shuffled", "packed", "raw", "raw-in-part"} {
		fmt.Fprintln(&b, id, c.Sorted(t, out[id], "out"))
	}
	return b.String()
}

// TestFlippedBytesAreNoticed in shuffle and part files, packed and not: the task that wrote the file runs again and the reader is
// not charged, for the job allows no failure; and the results are those without damage.
func TestFlippedBytesAreNoticed(t *testing.T) {
	job, kinds := flipJob()
	clean := mrtest.New(t, kinds...)
	out, err := clean.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	want := readAll(t, clean, out)
	for _, file := range []string{"/shuffle-0", "/packed-0", "/raw-0"} {
		noticed := 0
		for n := range flips() {
			fs := &flip{FS: mem.New(), file: file, n: n, rnd: rand.New(rand.NewPCG(uint64(n), 5))}
			c := mrtest.New(t, kinds...)
			c.Store = fs
			out, err := c.Run(t.Context(), job)
			what := fmt.Sprintf("byte %d of the %d of %s", fs.at, fs.bytes, fs.path)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			var again int
			for _, m := range out["write"].Tasks {
				again += m.Attempt.Number - 1
			}
			if got := readAll(t, c, out); got != want || again != 1 || out["write"].Revision == 0 {
				t.Errorf("%s: %d tasks ran again, revision %d, the results are right: %v", what, again, out["write"].Revision, got == want)
				continue
			}
			noticed++
		}
		t.Logf("%s: %d of %d flips noticed, 0 wrong results", file[1:], noticed, flips())
	}
}

// TestFlippedBytesOfManifestsAreNoticed: the phase runs again, and the results are the same.
func TestFlippedBytesOfManifestsAreNoticed(t *testing.T) {
	job, kinds := flipJob()
	noticed := 0
	for n := range flips() {
		rnd := rand.New(rand.NewPCG(uint64(n), 6))
		c := mrtest.New(t, kinds...)
		out, err := c.Run(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		want := readAll(t, c, out)
		var all []dfs.Path
		for info, err := range c.Store.List(t.Context(), "f/phases") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(info.Path.Base(), "manifest-") {
				all = append(all, info.Path)
			}
		}
		path := all[rnd.IntN(len(all))]
		at := flipIn(t, c.Store, path, rnd, n)
		core, logged := observer.New(zap.WarnLevel)
		done, err := (&commit.Publisher{FS: c.Store, Root: "f", Log: zap.New(core)}).LoadAll(t.Context(), job)
		if err != nil || len(done) >= len(job.Phases) || logged.Len() != 1 {
			t.Errorf("byte %d of %s: %d phases are loaded, %v, %d warnings", at, path, len(done), err, logged.Len())
			continue
		}
		out, err = c.Run(t.Context(), job)
		if err != nil {
			t.Fatalf("byte %d of %s: %v", at, path, err)
		}
		if readAll(t, c, out) == want {
			noticed++
		}
	}
	t.Logf("manifest: %d of %d flips noticed", noticed, flips())
	if noticed != flips() {
		t.Error("a flip was not noticed, or the results are wrong")
	}
}

func flipIn(t *testing.T, fs dfs.FS, p dfs.Path, rnd *rand.Rand, n int) (at int) {
	t.Helper()
	data, err := dfs.ReadFile(t.Context(), fs, p, 1<<20)
	if err == nil {
		at = damage(rnd, n, data)
		err = rewrite(t.Context(), fs, p, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// keepTasks makes results durable as a tracker does, and returns the files that hold them.
func keepTasks(t *testing.T, fs dfs.FS, job *mr.JobSpec) (kept []mr.Manifest, files []dfs.Path) {
	t.Helper()
	p := &commit.Publisher{FS: fs, Root: "f"}
	epoch, _, _, err := p.TakeOver(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		m := mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}, Epoch: epoch, Value: json.RawMessage(strconv.Itoa(i)),
			Files: []mr.PartFile{{Channel: "x", Task: i, Path: dfs.Path(fmt.Sprintf("f/p/%d", i)), Rows: int64(i), Bytes: 1000, CRC: 77}}}
		if err := p.Keep(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m)
	}
	for info, err := range fs.List(t.Context(), "f") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size > 0 {
			files = append(files, info.Path)
		}
	}
	return kept, files
}

// TestFlippedBytesOfTheJournalAreNoticed: a tracker that comes after counts nothing that is damaged, says so, and goes on. A file
// that was cut off is not fatal either.
func TestFlippedBytesOfTheJournalAreNoticed(t *testing.T) {
	job := &mr.JobSpec{ID: "f", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 5}}}
	load := func(fs dfs.FS, kept []mr.Manifest) (n, warnings int) {
		core, logged := observer.New(zap.WarnLevel)
		p := &commit.Publisher{FS: fs, Root: "f", Log: zap.New(core)}
		_, done, got, err := p.TakeOver(t.Context(), job)
		if err != nil || len(done) > 0 {
			t.Fatalf("%d phases, %v", len(done), err)
		}
		for _, m := range got {
			was, _ := json.Marshal(kept[m.Attempt.Task.Index]) // it was made of JSON
			if now, err := json.Marshal(m); err != nil || !bytes.Equal(was, now) {
				t.Errorf("kept was %s, and %s is loaded", was, now)
			}
		}
		return len(got), logged.Len()
	}
	for n := range flips() {
		rnd := rand.New(rand.NewPCG(uint64(n), 7))
		fs := mem.New()
		kept, files := keepTasks(t, fs, job)
		path := files[rnd.IntN(len(files))]
		at := flipIn(t, fs, path, rnd, n)
		if n, warnings := load(fs, kept); warnings == 0 {
			t.Errorf("byte %d of %s: %d of %d tasks are loaded, with %d warnings", at, path, n, len(kept), warnings)
		}
	}
	t.Logf("journal: %d flips noticed", flips())
	fs := mem.New()
	_, files := keepTasks(t, fs, job)
	last := slices.Max(files)
	whole, err := dfs.ReadFile(t.Context(), fs, last, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		fs := mem.New()
		kept, _ := keepTasks(t, fs, job)
		if err := rewrite(t.Context(), fs, last, whole[:cut]); err != nil {
			t.Fatal(err)
		}
		// What stands whole before the cut may count.
		if n, warnings := load(fs, kept); warnings == 0 {
			t.Errorf("cut to %d bytes, and %d tasks are loaded without a warning", cut, n)
		}
	}
}
