package commit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func manifest(epoch int64, value string) mr.PhaseManifest {
	return mr.PhaseManifest{Job: "j", Phase: "train-conv4/1", Epoch: epoch, Tasks: []mr.Manifest{{
		Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "train-conv4/1"}, Number: 1}, Value: json.RawMessage(value)}}}
}

func TestPublishedPhaseIsLoaded(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job"}
	if _, err := p.Load(t.Context(), "train-conv4/1"); !errs.Is(err, errs.NotExist) {
		t.Errorf("before: %v, want not-exist", err)
	}
	for range 2 { // publishing again, after a lost reply, changes nothing
		if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := p.Load(t.Context(), "train-conv4/1")
	if err != nil || string(m.Tasks[0].Value) != "1" {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := p.Publish(t.Context(), manifest(1, `2`)); !errs.Is(err, errs.Exist) {
		t.Errorf("another manifest of the epoch: %v, want exist", err)
	}
}

func TestHigherEpochWins(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job"}
	old, err := p.ClaimEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	young, err := p.ClaimEpoch(t.Context())
	if err != nil || young <= old {
		t.Fatalf("epochs %d, %d, %v", old, young, err)
	}
	if err := p.Publish(t.Context(), manifest(young, `"young"`)); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), manifest(old, `"old"`)); !errs.Is(err, errs.Lost) {
		t.Errorf("the old coordinator publishes: %v, want lost", err)
	}
	m, err := p.Load(t.Context(), "train-conv4/1")
	if err != nil || string(m.Tasks[0].Value) != `"young"` {
		t.Errorf("got %s, %v; want the young one's", m.Tasks[0].Value, err)
	}
}

func TestEpochsAreClaimedOnce(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job"}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			n, err := p.ClaimEpoch(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[n] {
				t.Errorf("epoch %d, claimed before %v, %v", n, seen[n], err)
			}
			seen[n] = true
		})
	}
	wg.Wait()
}

// change passes the content of every file below dir that is not empty through f; nil removes it.
func change(t *testing.T, fs dfs.FS, dir dfs.Path, f func([]byte) []byte) {
	t.Helper()
	n := 0
	for info, err := range fs.List(t.Context(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size == 0 {
			continue
		}
		n++
		data, err := dfs.ReadFile(t.Context(), fs, info.Path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.Remove(t.Context(), info.Path); err != nil {
			t.Fatal(err)
		}
		if data = f(data); data == nil {
			continue
		}
		if err := dfs.WriteFile(t.Context(), fs, info.Path, data); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Fatalf("nothing in %s", dir)
	}
}

// damages are what may become of a manifest.
var damages = map[string]func([]byte) []byte{
	"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"torn":    func(b []byte) []byte { return b[:len(b)/2] },
	"longer":  func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
	"gone":    func([]byte) []byte { return nil },
}

func TestDamagedManifestIsNoticed(t *testing.T) {
	for name, damage := range damages {
		fs := mem.New()
		p := &Publisher{FS: fs, Root: "job", MaxManifest: 4000}
		if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
			t.Fatal(err)
		}
		change(t, fs, "job", damage)
		if _, err := p.Load(t.Context(), "train-conv4/1"); !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s: got %v, want corrupt", name, err)
		}
	}
}

// TestDamagedManifestDoesNotBlock: the phase counts as not published, which is said, and the
// next epoch publishes it again.
func TestDamagedManifestDoesNotBlock(t *testing.T) {
	job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "train-conv4/1", Kind: "k", Type: mr.MapPhase, Tasks: 1}}}
	for name, damage := range damages {
		fs := mem.New()
		core, warned := observer.New(zap.WarnLevel)
		p := &Publisher{FS: fs, Root: "job", MaxManifest: 4000, Log: zap.New(core)}
		if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
			t.Fatal(err)
		}
		change(t, fs, "job", damage)
		done, err := p.LoadAll(t.Context(), job)
		if err != nil || len(done) > 0 {
			t.Fatalf("%s: resumed with %v, %v; want nothing", name, done, err)
		}
		if warned.Len() != 1 || !strings.Contains(warned.All()[0].Message, "damaged") {
			t.Errorf("%s: warnings %v, want one", name, warned.All())
		}
		if err := p.Publish(t.Context(), manifest(2, `2`)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if done, err = p.LoadAll(t.Context(), job); err != nil || len(done) != 1 || string(done[0].Tasks[0].Value) != "2" {
			t.Errorf("%s: after the next epoch: %v, %v", name, done, err)
		}
	}
}

// TestDroppedFilesAreMadeAgain: b, whose manifest is damaged, has dropped what a wrote; so a
// must run again, for b to read it, and r, which a has dropped, for a. What stands on them
// runs again too; s does not.
func TestDroppedFilesAreMadeAgain(t *testing.T) {
	reads := func(id mr.PhaseID, in mr.PhaseID, drop ...mr.Drop) mr.PhaseSpec {
		p := mr.PhaseSpec{ID: id, Kind: "k", Type: mr.MapPhase, Tasks: 1, Drop: drop}
		if in != "" {
			p.Inputs = []mr.Input{{Name: "in", Phase: in, Channel: "x", Mode: mr.Same}}
		}
		return p
	}
	job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{reads("r", ""), reads("a", "r", mr.Drop{Phase: "r"}), reads("s", ""),
		reads("b", "a", mr.Drop{Phase: "a"}), reads("c", "b"), reads("d", "s")}}
	for damaged, want := range map[mr.PhaseID][]mr.PhaseID{"b": {"s", "d"}, "c": {"r", "a", "s", "b", "d"}, "d": {"r", "a", "s", "b", "c"}, "s": {"r", "a", "b", "c"}} {
		fs := mem.New()
		p := &Publisher{FS: fs, Root: "job"}
		for _, ph := range job.Phases {
			m := manifest(1, `1`)
			m.Phase = ph.ID
			if err := p.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		change(t, fs, dfs.Path("job/phases").Join(string(damaged)), damages["flipped"])
		done, err := p.LoadAll(t.Context(), job)
		var got []mr.PhaseID
		for _, m := range done {
			got = append(got, m.Phase)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is damaged: %v need not run again, %v; want %v", damaged, got, err, want)
		}
	}
}

// TestChangedJobIsRefused: a manifest that is whole and of another job is no damage.
func TestChangedJobIsRefused(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job"}
	if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
		t.Fatal(err)
	}
	_, err := p.LoadAll(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "train-conv4/1", Kind: "k", Type: mr.MapPhase, Tasks: 2}}})
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.(*errs.Error).Hint(), "another output folder") {
		t.Errorf("got %v, want invalid with a hint", err)
	}
}

// TestRevisions: readers follow the highest revision of the highest epoch.
func TestRevisions(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job"}
	for _, step := range []struct {
		epoch       int64
		revision    int
		value, want string
		kind        errs.Kind
	}{
		{1, 0, `"a"`, `"a"`, errs.Unknown},
		{1, 1, `"b"`, `"b"`, errs.Unknown},
		{1, 1, `"b"`, `"b"`, errs.Unknown}, // its reply was lost
		{1, 1, `"c"`, `"b"`, errs.Exist},
		{1, 0, `"a"`, `"b"`, errs.Unknown}, // late
		{1, 10, `"d"`, `"d"`, errs.Unknown},
		{1, 9, `"e"`, `"d"`, errs.Unknown},
		{1, 12345, `"f"`, `"f"`, errs.Unknown},
		{2, 0, `"g"`, `"g"`, errs.Unknown},
		{1, 20000, `"h"`, `"g"`, errs.Unknown},
	} {
		m := manifest(step.epoch, step.value)
		m.Revision = step.revision
		if err := p.Publish(t.Context(), m); errs.KindOf(err) != step.kind || err == nil != (step.kind == errs.Unknown) {
			t.Errorf("%+v: %v", step, err)
		}
		got, err := p.Load(t.Context(), "train-conv4/1")
		if err != nil || string(got.Tasks[0].Value) != step.want {
			t.Errorf("%+v: readers see %+v, %v", step, got, err)
		}
	}
}

// TestTooLargeIsNotPublished: what readers would refuse gets no marker.
func TestTooLargeIsNotPublished(t *testing.T) {
	p := &Publisher{FS: mem.New(), Root: "job", MaxManifest: 200}
	if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
		t.Fatal(err)
	}
	big := manifest(2, `"`+strings.Repeat("x", 200)+`"`)
	if err := p.Publish(t.Context(), big); !errs.Is(err, errs.Invalid) || !strings.Contains(err.(*errs.Error).Hint(), "fewer") {
		t.Errorf("got %v, want invalid with a hint", err)
	}
	if m, err := p.Load(t.Context(), "train-conv4/1"); err != nil || m.Epoch != 1 {
		t.Errorf("readers see %+v, %v; want the first", m, err)
	}
}

// TestTornManifestIsNotPublished: a store that has shown half a manifest, and says that it is
// there, must not get a marker that names it.
func TestTornManifestIsNotPublished(t *testing.T) {
	fs := mem.New()
	p := &Publisher{FS: fs, Root: "job"}
	if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
		t.Fatal(err)
	}
	torn := mem.New()
	for info, err := range fs.List(t.Context(), "job") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size > 0 {
			if err := dfs.WriteFile(t.Context(), torn, info.Path, []byte(`{"job`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.FS = torn
	if err := p.Publish(t.Context(), manifest(1, `1`)); !errs.Is(err, errs.Corrupt) {
		t.Errorf("got %v, want corrupt", err)
	}
	if _, err := p.Load(t.Context(), "train-conv4/1"); !errs.Is(err, errs.NotExist) {
		t.Errorf("readers see %v, want not-exist", err)
	}
}

// TestManifestsAreWhatMarshalSays: they are read by others, too.
func TestManifestsAreWhatMarshalSays(t *testing.T) {
	whole := manifest(3, `"<&>"`)
	whole.Tasks = append(whole.Tasks, whole.Tasks[0], mr.Manifest{Counters: map[string]int64{"b": 1, "a": 2}})
	empty := whole
	empty.Tasks = []mr.Manifest{}
	for _, m := range []mr.PhaseManifest{{}, empty, manifest(1, `1`), whole} {
		want, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := encode(&got, &m); err != nil || got.String() != string(want) {
			t.Errorf("%v: %s, want %s", err, got.String(), want)
		}
		if n, digest, err := measure(&m); err != nil || n != int64(len(want)) || digest != digestOf(want) {
			t.Errorf("it measures %d, %s, %v", n, digest, err)
		}
	}
}
