package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestEnv(t *testing.T) {
	store := mem.New()
	h := &Host{Scratch: t.TempDir(), Slots: 3, Stores: dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open,
		"mem": func(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) { return store, dfs.Path(u.Path[1:]), nil }})}
	e, err := h.Env(t.Context(), &mr.TaskSpec{Store: "mem://x/jobs/_work", Settings: mr.Settings{SortMemory: 7, Cache: 9}})
	if err != nil {
		t.Fatal(err)
	}
	if e.SortMemory != 7 || e.Cache.Usage().Budget != 9 || e.Slots != 3 || e.Scratch != h.Scratch {
		t.Errorf("%+v", e)
	}
	if err := e.Store.Claim(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Stat(t.Context(), "jobs/_work/a"); err != nil {
		t.Error(err)
	}
	for _, uri := range []string{"", "ftp://x/y"} {
		if _, err := h.Env(t.Context(), &mr.TaskSpec{Store: uri}); !errs.Is(err, errs.Invalid) {
			t.Errorf("store %q: %v", uri, err)
		}
	}
}

// Every kind with a loop has it without ONNX Runtime, and no program is opened there.
func TestLoops(t *testing.T) {
	r, err := Loops()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := r.Kind("train"); err != nil || k.Loop == nil || k.Merge == nil {
		t.Errorf("train: %v", err)
	}
	if _, err := (nowhere{}).Open(t.Context(), extract.Model{}); err == nil {
		t.Error("a program was opened")
	}
}

// A specification opens programs of its job's store and nothing else of this machine.
func TestProgramsOutsideTheStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret.onnx"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	p := &programs{store: local.New(filepath.Join(dir, "store"), false)}
	for _, uri := range []string{"", "../secret.onnx", "models/../../secret.onnx", filepath.Join(dir, "secret.onnx"), "file://" + dir + "/secret.onnx", "s3://b/x.onnx"} {
		if _, err := p.Open(t.Context(), extract.Model{URI: uri}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

// A program of a store elsewhere runs from the local disk if its bytes are what the specification says, whatever else
// it says of them.
func TestProgramsAreFetched(t *testing.T) {
	if _, err := ort.FindLibrary(); err != nil && !strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	rt, err := ort.Init(ort.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	store := mem.New()
	p := &programs{runtime: (&Host{ORT: rt}).runtime(mr.Settings{}), store: store, blobs: blobs.New(t.TempDir(), 1<<30)}
	// Two networks, of which a hostile job says that they are the same.
	var models []extract.Model
	for _, seed := range []uint64{1, 2} {
		m := program(t, store, seed)
		m.Digest = "claimed"
		models = append(models, m)
	}
	var first []float32
	for i, m := range models {
		s, err := p.Open(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.NewRunner(1, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k := range r.Input() {
			r.Input()[k] = byte(k)
		}
		if err := r.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if out := r.Output(0); i == 0 {
			first = slices.Clone(out)
		} else if slices.Equal(first, out) {
			t.Error("the second network is the first one")
		}
		if err := errors.Join(r.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
	// It is here now, and needs the store no more; another one that is not what it should be is refused.
	if err := store.Remove(t.Context(), models[0].Files[0].Path); err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(t.Context(), models[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	bad := models[1]
	bad.Files = slices.Clone(bad.Files)
	bad.Files[0].SHA256 = models[0].Files[0].SHA256
	if _, err := p.Open(t.Context(), bad); !errs.Is(err, errs.Corrupt) {
		t.Errorf("bytes of another network: %v", err)
	}
	bad.Files = nil
	if _, err := p.Open(t.Context(), bad); !errs.Is(err, errs.Invalid) {
		t.Errorf("no files: %v", err)
	}
}

// program writes a small network into a store.
func program(t *testing.T, store dfs.FS, seed uint64) extract.Model {
	t.Helper()
	arch := layers.Arch{Name: "one", H: 8, W: 8, C: 3, Roster: []string{"f"}, Steps: []layers.Step{
		{Op: "conv", Path: "c", Out: 4, Kernel: 3}, {Op: "relu", Path: "r", Layer: "f"}}}
	cnn, err := layers.Build(t.Context(), arch, layers.Source{Weights: "random", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	p, err := cnn.Program(layers.ProgramSpec{Raw: arch.Roster})
	if err != nil {
		t.Fatal(err)
	}
	data := p.Model.Marshal()
	sum := sha256.Sum256(data)
	name := fmt.Sprintf("%d.onnx", seed)
	f := blobs.File{Name: name, Path: dfs.Path("models/" + name), Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	if err := dfs.WriteFile(t.Context(), store, f.Path, data); err != nil {
		t.Fatal(err)
	}
	m := extract.Model{URI: string(f.Path), Files: blobs.Bundle{f}, In: extract.Port{Name: p.Input.Name, Bytes: p.Input.Elem == onnx.Uint8, Shape: p.Input.Shape}}
	for _, o := range p.Outputs {
		m.Out = append(m.Out, extract.Port{Name: o.Name, Shape: o.Shape})
	}
	return m
}
