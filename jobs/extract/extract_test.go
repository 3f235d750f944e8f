package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	goimage "image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// colours is an engine whose program yields the mean of each channel: what a test can work out by hand.
type colours struct {
	most    int  // records that fit into its memory
	less    int  // records that fit into that of program "e"; 0: as many
	spoiled bool // no numbers for the first image of a batch
	blue    bool // none for blue images
	batches atomic.Int64
}

func (c *colours) Open(_ context.Context, m Model) (Session, error) {
	if m.Digest == "e" && c.less > 0 {
		return session{&colours{most: c.less}, m.In}, nil
	}
	return session{c, m.In}, nil
}

type session struct {
	c  *colours
	in Port
}

func (s session) NewRunner(n int, pixels []byte) (Runner, error) {
	k := s.in.Len()
	if pixels == nil {
		pixels = make([]byte, n*k)
	} else if len(pixels) != n*k {
		return nil, fmt.Errorf("%d bytes are shared, %d are taken", len(pixels), n*k)
	}
	return &runner{c: s.c, in: pixels, pixels: k / 3, out: make([]float32, 3*n)}, nil
}
func (session) Close() error { return nil }

type runner struct {
	c      *colours
	in     []byte
	pixels int // of an image
	out    []float32
}

type tooLarge struct{}

func (tooLarge) Error() string     { return "no room" }
func (tooLarge) OutOfMemory() bool { return true }

func (r *runner) Input() []byte        { return r.in }
func (r *runner) InputF32() []float32  { return nil }
func (r *runner) Output(int) []float32 { return r.out }
func (r *runner) Close() error         { return nil }
func (r *runner) Run(_ context.Context, n int) error {
	if n > r.c.most {
		return tooLarge{}
	}
	r.c.batches.Add(1)
	for i := range n {
		for k := range 3 {
			sum := 0
			for p := range r.pixels {
				sum += int(r.in[(i*r.pixels+p)*3+k])
			}
			r.out[3*i+k] = float32(sum) / float32(r.pixels)
		}
	}
	if r.c.spoiled {
		r.out[0] = float32(math.NaN())
	}
	for i := range n {
		if r.out[3*i+2] == 255 && r.c.blue {
			r.out[3*i+2] = float32(math.Inf(1))
		}
	}
	return nil
}

const side = 4

// plain is a picture of one colour.
func plain(t *testing.T, c color.Color) []byte {
	t.Helper()
	m := goimage.NewRGBA(goimage.Rect(0, 0, side, side))
	for i := range side * side {
		m.Set(i%side, i/side, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// program is one that takes images of side x side and yields a layer's vector.
func program(digest, layer string, side int64, kind int) Program {
	return Program{Image: kind, Model: Model{Digest: digest, In: Port{Bytes: true, Shape: []int64{side, side, 3}}, Out: []Port{{Channel: Pooled(layer), Shape: []int64{3}}}}}
}

// run extracts a folder with five good pictures, one that is none, one that is larger than is read and one without a row.
func runFolder(t *testing.T, e *colours, change func(*Params)) (*mrtest.Cluster, *mr.PhaseManifest, error) {
	t.Helper()
	dir := t.TempDir()
	add := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		add(fmt.Sprintf("k%d.png", i), plain(t, color.RGBA{uint8(10 * i), 20, 30, 255}))
	}
	add("bad.png", []byte("no picture"))
	add("big.png", make([]byte, 5000))
	add("gone.png", []byte("here while the folder is listed"))
	add("nobody.png", plain(t, color.White))
	return runImages(t, e, images.Spec{URI: dir}, func() {
		if err := os.Remove(filepath.Join(dir, "gone.png")); err != nil {
			t.Fatal(err)
		}
	}, change)
}

// runImages extracts images; planned is called when they have been listed.
func runImages(t *testing.T, e *colours, spec images.Spec, planned func(), change func(*Params)) (*mrtest.Cluster, *mr.PhaseManifest, error) {
	t.Helper()
	p := Params{Programs: []Program{program("d", "a", side, 0)},
		Source: Files, Table: "rows", Required: true, Images: []image.Spec{{CropH: side, CropW: side, Exact: true, MaxBytes: 4000}}, Batch: 4, Base: true, Decode: 1 << 20}
	if change != nil {
		change(&p)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	rows := mr.Kind{Name: "rows", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			part, err := t.Part(ctx, "rows", mr.PartOptions{})
			for _, k := range []string{"k0", "k1", "k2", "k3", "k4", "bad", "big", "gone"} {
				r := row.Row{Label: "l", X: []float32{1}}
				if err == nil {
					err = part.Append([]byte(k), r.Append(nil))
				}
			}
			return err
		}), nil
	}}
	c := mrtest.New(t, rows, Kind(e))
	x, err := images.Scan(t.Context(), dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open}), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	splits, err := x.Write(t.Context(), c.Store, "index", 1)
	if err != nil {
		t.Fatal(err)
	}
	if planned != nil {
		planned()
	}
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "rows", Type: mr.MapPhase, Kind: "rows", Tasks: 1},
		{ID: "extract", Type: mr.MapPhase, Kind: Name, Params: raw, Splits: splits, Inputs: []mr.Input{{Name: "rows", Phase: "rows", Channel: "rows", Mode: mr.All}}},
	}})
	return c, out["extract"], err
}

// A file and a picture that are too large have one cause.
func TestTooLargeIsOneCause(t *testing.T) {
	dir := t.TempDir()
	var wide bytes.Buffer
	if err := png.Encode(&wide, goimage.NewGray(goimage.Rect(0, 0, 1200, 1200))); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"big.png": make([]byte, 5000), "k0.png": plain(t, color.White), "k1.png": wide.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	_, m, err := runImages(t, &colours{most: 99}, images.Spec{URI: dir}, nil, func(p *Params) {
		p.Images = []image.Spec{{Resize: side, CropH: side, CropW: side, MaxBytes: 4000}}
	})
	if err != nil || m.Sum("bad") != 2 || m.Sum("bad."+images.TooLarge) != 2 {
		t.Errorf("%d bad, %d of them too large, %v", m.Sum("bad"), m.Sum("bad."+images.TooLarge), err)
	}
	for _, task := range m.Tasks {
		for _, b := range task.Bad {
			if !strings.Contains(b.Error, "the memory limit leaves ") {
				t.Errorf("the memory's limit is not named: %s", b.Error)
			}
		}
	}
}

// Every file is accounted for: written, in the files' order, or set aside with its cause.
func TestEveryImageIsAccountedFor(t *testing.T) {
	c, m, err := runFolder(t, &colours{most: 99}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"images": 9, "matched": 5, "cnn.images": 5, "bad": 4, "bad.no-row": 1, "bad.too-large": 1, "bad.missing": 1, "bad." + image.ReasonUnknown: 1, "decoder.go": 5} {
		if got := m.Sum(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	var keys, base []string
	lines, err := c.Records(t.Context(), m, Pooled("a"))
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		key, value, _ := strings.Cut(l, "=")
		keys = append(keys, key)
		if v, err := ReadVector(nil, []byte(value)); err != nil || !slices.Equal(v, []float32{float32(10 * i), 20, 30}) {
			t.Errorf("%s: %v, %v", key, v, err)
		}
	}
	rows, err := c.Records(t.Context(), m, Base)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range rows {
		key, _, _ := strings.Cut(l, "=")
		base = append(base, key)
	}
	if want := []string{"k0", "k1", "k2", "k3", "k4"}; !slices.Equal(keys, want) || !slices.Equal(base, want) {
		t.Errorf("vectors of %v, rows of %v", keys, base)
	}
}

// A batch that does not fit is halved, once for the task, and nothing is lost.
func TestBatchIsHalved(t *testing.T) {
	e := &colours{most: 1}
	c, m, err := runFolder(t, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Sorted(t, m, Pooled("a"))); n != 5 || m.Sum("batch.halved") != 2 || e.batches.Load() != 5 {
		t.Errorf("%d records, halved %d times, %d batches", n, m.Sum("batch.halved"), e.batches.Load())
	}
	_, _, err = runFolder(t, &colours{most: 0}, nil)
	if !errs.Is(err, errs.NoMemory) {
		t.Errorf("not even one image fits: %v", err)
	}
}

// Features that are no numbers end the job, with the image's key, and are not tried again.
func TestFeaturesMustBeFinite(t *testing.T) {
	_, _, err := runFolder(t, &colours{most: 99, spoiled: true}, nil)
	if err == nil || !strings.Contains(err.Error(), `NaN in pooled/a for image "k0"`) || errs.KindOf(err) != errs.Invalid {
		t.Errorf("got %v of kind %v", err, errs.KindOf(err))
	}
}

// Where no other phase yields the same record, it is set aside if its features are no numbers, or it travels to the
// join as one that cannot be used.
func TestNotFiniteIsSetAside(t *testing.T) {
	c, m, err := runFolder(t, &colours{most: 99, spoiled: true}, func(p *Params) { p.Aside = true }) // k0, and k4 in the second batch
	if err != nil {
		t.Fatal(err)
	}
	if n, base := len(c.Sorted(t, m, Pooled("a"))), len(c.Sorted(t, m, Base)); n != 3 || base != 3 || m.Sum("bad.not-finite") != 2 || m.Sum("bad") != 6 || m.Sum("matched") != 3 || len(c.Sorted(t, m, Failed)) != 5 {
		t.Errorf("%d vectors, %d rows, counters %v", n, base, m.Tasks[0].Counters)
	}
	c, m, err = runFolder(t, &colours{most: 99, spoiled: true}, func(p *Params) { p.Table, p.Base, p.Aside = "", false, true })
	if err != nil {
		t.Fatal(err)
	}
	if good, failed := c.Sorted(t, m, Pooled("a")), c.Sorted(t, m, Failed); len(good) != 4 || len(failed) != 5 || m.Sum("bad") != 0 {
		t.Errorf("%d good, %d failed, %d bad", len(good), len(failed), m.Sum("bad"))
	}
}

// Of a record with several images, those without numbers do not count, wherever they stand and however batches fall.
func TestNotFiniteAmongSeveral(t *testing.T) {
	blue, grey := plain(t, color.RGBA{0, 0, 255, 255}), plain(t, color.Gray{10})
	for batch := 1; batch <= 9; batch++ {
		for _, table := range []string{"rows", ""} {
			dir := t.TempDir()
			for name, data := range map[string][]byte{"k0/1": blue, "k0/2": grey, "k1/1": grey, "k1/2": blue, "k2/1": blue, "k2/2": blue, "k3/1": grey, "k3/2": blue, "k3/3": grey} {
				if err := os.MkdirAll(filepath.Join(dir, name[:2]), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			c, m, err := runImages(t, &colours{most: 99, blue: true}, images.Spec{URI: dir, Key: "folder", Multiple: images.Mean}, nil, func(p *Params) {
				p.Multiple, p.Batch, p.Aside, p.Table, p.Base = images.Mean, batch, true, table, table != ""
			})
			if err != nil {
				t.Fatal(err)
			}
			vector := string(avro.AppendFloat32s(nil, []float32{10, 10, 10}))
			want := []string{"k0=" + vector, "k1=" + vector, "k3=" + vector}
			if got := c.Sorted(t, m, Pooled("a")); !slices.Equal(got, want) {
				t.Errorf("batches of %d, table %q: %q", batch, table, got)
			}
			if aside, failed := m.Sum("bad.not-finite"), len(c.Sorted(t, m, Failed)); table != "" && (aside != 5 || failed != 1) || table == "" && (aside != 0 || failed != 4) {
				t.Errorf("batches of %d, table %q: %d set aside, %d failed", batch, table, aside, failed)
			}
		}
	}
}

// A second pass writes the same and counts nothing that was counted before.
func TestRepeatCountsNothingTwice(t *testing.T) {
	c, m, err := runFolder(t, &colours{most: 99}, func(p *Params) { p.Repeat, p.Base = true, false })
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Sorted(t, m, Pooled("a"))); n != 5 || m.Sum("images")+m.Sum("matched")+m.Sum("bad") != 0 || m.Sum("cnn.images") != 5 {
		t.Errorf("%d records, counters %v", n, m.Tasks[0].Counters)
	}
}

// With no row of its own to look up, an image goes on to the join, and so does the story of one that cannot be used.
func TestJoinLater(t *testing.T) {
	c, m, err := runFolder(t, &colours{most: 99}, func(p *Params) { p.Table, p.Base = "", false })
	if err != nil {
		t.Fatal(err)
	}
	if good, failed := c.Sorted(t, m, Pooled("a")), c.Sorted(t, m, Failed); len(good) != 6 || len(failed) != 3 || m.Sum("bad") != 0 {
		t.Errorf("%d good, %d failed, %d bad", len(good), len(failed), m.Sum("bad"))
	}
}

func TestDecoderNames(t *testing.T) {
	for name, want := range map[string]image.DecoderChoice{"": image.Go, "go": image.Go, "turbo": image.Turbo, "auto": image.Auto} {
		if got, err := Decoder(name); err != nil || got != want {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if _, err := Decoder("foo"); err == nil {
		t.Error("foo is accepted")
	}
}

// What a join hands to the inference comes apart again, and damage is an error.
func FuzzSplitJoined(f *testing.F) {
	f.Add(AppendJoined(nil, []byte("row"), []byte("image")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, value []byte) {
		r, img, err := SplitJoined(value)
		if err == nil && len(r)+len(img) > len(value) {
			t.Error("more comes out than went in")
		}
		if r, img, err := SplitJoined(AppendJoined(nil, value, value)); err != nil || !bytes.Equal(r, value) || !bytes.Equal(img, value) {
			t.Errorf("%q and %q, %v", r, img, err)
		}
	})
}
