package commit

import (
	"encoding/json"
	"sync"
	"testing"

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

func TestDamagedManifestIsNoticed(t *testing.T) {
	fs := mem.New()
	p := &Publisher{FS: fs, Root: "job"}
	if err := p.Publish(t.Context(), manifest(1, `1`)); err != nil {
		t.Fatal(err)
	}
	for info, err := range fs.List(t.Context(), "job") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size == 0 {
			continue
		}
		data, err := dfs.ReadFile(t.Context(), fs, info.Path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := fs.Remove(t.Context(), info.Path); err != nil {
			t.Fatal(err)
		}
		if err := dfs.WriteFile(t.Context(), fs, info.Path, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Load(t.Context(), "train-conv4/1"); !errs.Is(err, errs.Corrupt) {
		t.Errorf("got %v, want corrupt", err)
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
