package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	stdimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// small is a network with everything that matters to a plan: volumes with odd and even sides, a
// residual block between cuts, and vectors.
var small = layers.Arch{Name: "small", H: 30, W: 30, C: 3, Roster: []string{"c1", "c2", "f1", "f2"}, Steps: []layers.Step{
	{Op: "conv", Path: "a", Out: 8, Kernel: 3, Stride: 2, Pad: 1},
	{Op: "relu", Path: "a_relu", Layer: "c1"}, // 8 x 15 x 15
	{Op: "maxpool", Path: "pool", Kernel: 3, Stride: 2, Pad: 1},
	{Op: "residual", Body: []layers.Step{
		{Op: "conv", Path: "b1", Out: 8, Kernel: 3, Pad: 1, NoBias: true}, {Op: "bn", Path: "b1_bn"}, {Op: "relu", Path: "b1_relu"},
		{Op: "conv", Path: "b2", Out: 8, Kernel: 3, Pad: 1, NoBias: true}, {Op: "bn", Path: "b2_bn"},
	}},
	{Op: "relu", Path: "b_relu", Layer: "c2"}, // 8 x 8 x 8
	{Op: "flatten"},
	{Op: "linear", Path: "f1", Out: 12},
	{Op: "relu", Path: "f1_relu", Layer: "f1"},
	{Op: "linear", Path: "f2", Out: 5, Layer: "f2"},
}}

// world is a data set with everything that can be wrong with a record.
type world struct {
	job    *conf.Job
	dir    string
	table  string
	images string

	columns  int    // of the table
	dirOfRun string // of the last run
	chain    []mr.PhaseSpec
	names    []string   // of its layers
	pub      *publisher // of the last run that was published
	view     image.Spec // what its pipeline takes
}

func newWorld(t *testing.T, required bool) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{columns: 5, dir: dir, table: filepath.Join(dir, "t.csv"), images: filepath.Join(dir, "images")}
	if err := os.Mkdir(w.images, 0o777); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	var rows bytes.Buffer
	rows.WriteString("name,x,y,colour,z\n")
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(w.images, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		key := fmt.Sprintf("k%02d", (i*37)%60)
		label := []string{"red", "blue"}[rnd.IntN(2)]
		fmt.Fprintf(&rows, "%s,%.3f,%.3f,%s,%.3f\n", key, rnd.NormFloat64(), rnd.NormFloat64()*100, label, rnd.Float64())
		switch {
		case i == 5 || i == 6: // rows without image
		case i == 7:
			write(key+".jpg", picture(rnd, label, "jpg")[:300]) // truncated
		case i%2 == 0:
			write(key+".png", picture(rnd, label, "png"))
		default:
			write(key+".jpg", picture(rnd, label, "jpg"))
		}
	}
	rows.WriteString("k00,1,2,red,3\n")     // its key stood there before
	rows.WriteString("ragged,1,2,red\n")    // a field is missing
	rows.WriteString("words,1,two,red,3\n") // no number
	write("ragged.png", picture(rnd, "red", "png"))
	write("words.jpg", []byte("no image, and a bad row"))
	write("nobody1.png", picture(rnd, "red", "png"))
	write("nobody2.jpg", []byte("no image and no row"))
	write("k01.zzz.png", picture(rnd, "red", "png")) // key k01.zzz: no row either
	write("k02.bmp.jpg", picture(rnd, "red", "jpg"))
	write("k02.gif", picture(rnd, "red", "png")) // the second file with key k02
	if err := os.WriteFile(w.table, rows.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	w.job = conf.Defaults()
	w.job.Name, w.job.Seed = "small", 7
	w.job.Table.URI, w.job.Table.Key, w.job.Table.Label = conf.URI(w.table), "name", "colour"
	w.job.Images = conf.Images{URI: conf.URI(w.images), Required: required}
	w.job.CNN[0].Model, w.job.CNN[0].Weights = "small", "random"
	w.job.Downstream.Test, w.job.Downstream.Iterations = 0.3, 6
	w.job.Keep.Features = true
	return w
}

// picture is a patch of coloured noise whose colour tells the label.
func picture(rnd *rand.Rand, label, format string) []byte {
	m := stdimage.NewRGBA(stdimage.Rect(0, 0, 40+rnd.IntN(9), 36+rnd.IntN(9)))
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			v := uint8(100 + 50*math.Sin(float64(x)/5) + 40*rnd.Float64())
			c := color.RGBA{v, v / 2, v / 3, 255}
			if label == "blue" {
				c = color.RGBA{v / 3, v / 2, v, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if format == "jpg" {
		_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90})
	} else {
		_ = png.Encode(&b, m)
	}
	return b.Bytes()
}

var preprocessing = image.Spec{Resize: 32, CropH: 30, CropW: 30, Interpolation: "bilinear"}

// network is the world's only network, or its networks.
func (w *world) network(t *testing.T) networks {
	t.Helper()
	if len(w.job.CNN) == 1 {
		return networks{builtNetwork(t, small, 7, &w.job.CNN[0], "", "imagenet", preprocessing)}
	}
	return networks{
		builtNetwork(t, small, 7, &w.job.CNN[0], "one", "imagenet", preprocessing),
		// Alone its pictures would be decoded at half their size, and the oracle looks at each network alone.
		builtNetwork(t, slim, 8, &w.job.CNN[1], "slim", "none", image.Spec{Resize: 20, CropH: 18, CropW: 18, Interpolation: "bicubic", NoScaledDecode: true}),
		builtNetwork(t, small, 9, &w.job.CNN[2], "other", "imagenet", preprocessing),
	}
}

func builtNetwork(t *testing.T, a layers.Arch, seed uint64, of *conf.CNN, name, preset string, pixels image.Spec) *network {
	t.Helper()
	cnn, err := layers.Build(t.Context(), a, layers.Source{Weights: "random", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := cnn.Select(a.Roster...)
	if err != nil {
		t.Fatal(err)
	}
	norm, err := layers.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{job: of, name: name, cnn: cnn, files: NewBundle(a.Name), layers: ls, pool: layers.PoolMax, normalize: norm, image: pixels}
	n.measureUp()
	return n
}

// names are those of all layers in the job.
func (ns networks) names() (out []string) {
	for _, n := range ns {
		for _, l := range n.layers {
			out = append(out, n.full(l.Name))
		}
	}
	return out
}

// writePrograms writes the programs of all networks, whose weights are there.
func (ns networks) writePrograms(ctx context.Context, store dfs.FS, p plan.Plan, in *compile.Inputs) (programs, error) {
	out := programs{}
	var all []error
	for i, n := range ns {
		all = append(all, n.writePrograms(ctx, store, p, in, i, out))
	}
	return out, errors.Join(all...)
}

// prepared is an output that a run has begun in, the job's input, and options with their defaults: what planning starts with.
func (w *world) prepared(t *testing.T) (*place, *data, *Options) {
	t.Helper()
	w.job.Output = conf.URI(filepath.Join(w.dir, "out"))
	at, err := openPlace(t.Context(), w.job.Output)
	if err == nil {
		err = at.begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{}
	o.fill()
	return at, d, o
}
