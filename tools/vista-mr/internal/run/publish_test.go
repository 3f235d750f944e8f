package run

import (
	"testing"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What is copied into the output is what the manifest says, or nothing.
func TestCopiesAreVerified(t *testing.T) {
	data := []byte("features of a layer")
	for name, c := range map[string]struct {
		bytes int64
		crc   uint32
		good  bool
	}{
		"whole":         {int64(len(data)), checksum.Sum(data), true},
		"cut off":       {int64(len(data)) + 3, checksum.Sum(data), false},
		"other content": {int64(len(data)), checksum.Sum(data) ^ 1, false},
	} {
		w := &publisher{store: mem.New(), out: mem.New()}
		if err := dfs.WriteFile(t.Context(), w.store, "a", data); err != nil {
			t.Fatal(err)
		}
		err := w.copy(t.Context(), mr.PartFile{Path: "a", Bytes: c.bytes, CRC: c.crc}, "b")
		_, there := w.out.Stat(t.Context(), "b")
		if c.good != (err == nil) || c.good != (there == nil) || err != nil && !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s: %v; the copy: %v", name, err, there)
		}
	}
}

// A layer's bytes are those that its models were trained on, wherever the join stands.
func TestStoredBytesAreThoseOfTheLastWriter(t *testing.T) {
	phase := func(bytes ...int64) *mr.PhaseManifest {
		m := &mr.PhaseManifest{}
		for _, n := range bytes {
			m.Tasks = append(m.Tasks, mr.Manifest{Files: []mr.PartFile{{Channel: extract.Pooled("a"), Bytes: n}, {Channel: "base", Bytes: 1}}})
		}
		return m
	}
	for name, c := range map[string]struct {
		phases phases
		want   int64
	}{
		"by the inference":         {phases{"extract": phase(7, 8), "join": {}}, 15},
		"by a join behind it":      {phases{"extract": phase(7, 8), "join": phase(5, 6)}, 11},
		"by a reduce-side join":    {phases{"extract": {}, "join": phase(5, 6)}, 11},
		"a phase that did not run": {phases{"extract": phase(3)}, 3},
	} {
		w := &publisher{phases: c.phases, p: &prepared{Spec: mr.JobSpec{Phases: []mr.PhaseSpec{{ID: "extract"}, {ID: "join"}}}}}
		if got := w.stored(extract.Pooled("a")); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
