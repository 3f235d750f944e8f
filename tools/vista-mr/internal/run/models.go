package run

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// network is a CNN of a job with the layers that were asked for.
type network struct {
	job       *conf.CNN // what the job says of it
	name      string    // that its layers' names begin with; "" of the only one
	cnn       *layers.CNN
	size      vistaopt.Network // what the choice of a plan needs to know
	found     *calibration     // what was measured of it just now
	files     *Bundle          // what the weights lie in
	layers    []layers.Layer
	pool      layers.Pool
	normalize *layers.Normalize
	image     image.Spec
	weights   string   // digest of the weights' file; "" without one
	values    string   // which weights it has, in words; "": nobody knows
	digest    string   // of graph and weights, once those are there
	steps     string   // the preprocessing in words
	notes     []string // what the user should know about weights and preprocessing
	lookedUp  bool     // size says which programs have to be made ready
}

// openNetwork opens a CNN of a job and finds its layers. An ONNX model may need a runtime for that; with
// nil, layers behind operators that are not known here cannot be had. What fits has against the network is
// heard before memory is taken for its weights, and once more when they are there.
func openNetwork(ctx context.Context, j *conf.Job, i int, p *prober, fits func(*network) error) (*network, error) {
	c := &j.CNN[i]
	n := &network{job: c, pool: layers.Pool(c.Pool), files: NewBundle(c.Model)}
	n.files.key, n.values = c.Key, valuesOf(ctx, j, c)
	if len(j.CNN) > 1 {
		n.name = c.Called()
	}
	src := layers.Source{Model: c.Model, Weights: c.Weights, Seed: uint64(j.Seed), Read: n.read(), Size: openSize(c)}
	src.Fits = func(cnn *layers.CNN) error {
		outline := &network{job: c, name: n.name, pool: n.pool, files: n.files, values: n.values}
		if err := outline.take(ctx, cnn); err != nil {
			return err
		}
		return fits(outline)
	}
	if p != nil {
		src.Measure = p.measure
	}
	err := n.files.guard(func() error {
		cnn, err := layers.Open(ctx, src)
		if err != nil {
			return err
		}
		if err := n.take(ctx, cnn); err != nil {
			return err
		}
		n.digest = cnn.Digest
		return fits(n)
	})
	if err != nil {
		return nil, n.says(err)
	}
	return n, nil
}

// says adds to what is wrong with a network which of several it is.
func (n *network) says(err error) error {
	var of *layers.Error
	if n.name != "" && errors.As(err, &of) {
		return fmt.Errorf("network %s: %w", n.name, err)
	}
	return err
}

// full is the name of a layer in the job.
func (n *network) full(layer string) string { return compile.Full(n.name, layer) }

// take finds the layers of a CNN that a job asks for, and the preprocessing.
func (n *network) take(ctx context.Context, cnn *layers.CNN) (err error) {
	n.cnn = cnn
	switch {
	case len(n.job.Layers.Names) > 0:
		n.layers, err = cnn.Select(n.job.Layers.Names...)
	case n.job.Layers.Last > 0:
		n.layers, err = cnn.Last(n.job.Layers.Last)
	default:
		n.layers, err = cnn.Last(len(cnn.Roster))
	}
	if err != nil {
		return err
	}
	for _, l := range n.layers {
		if why := misnamed(n.full(l.Name)); why != "" {
			return &layers.Error{ID: "E-LAYER", Msg: fmt.Sprintf("layer %.100q of %s cannot have files of its own: %s", l.Name, cnn.Name, why),
				Do: "give the tensor a short, plain name in the model, or ask for other layers"}
		}
	}
	r, err := recipe(ctx, n.job, cnn.Input)
	if err != nil {
		return err
	}
	n.measureUp()
	n.normalize, n.image, n.steps = r.Normalize, r.Image, r.String()
	n.notes = append(slices.Clone(cnn.Notes), trainedWith(n.job, cnn)...)
	if err := n.image.Validate(); err != nil { // what a network or a file asks for, as the job's own numbers were checked
		return &layers.Error{ID: "E-PREPROCESS", Msg: fmt.Sprintf("%s takes images of %dx%d, which pictures cannot be made into: %v", cnn.Name, cnn.Input.W, cnn.Input.H, err),
			Do: "export the network for smaller images, or set " + n.job.Key("preprocess") + " to sizes within the limits"}
	}
	return nil
}

// maxLayerName is how long a layer's name may be in a path, in bytes, where a slash is three: file systems have room
// for 255, and the phases' files add up to 25. Exporters' names come to about 100.
const maxLayerName = 220

// misnamed says why files cannot be named after a layer, or "". What runs would else find out in its middle, or
// write over a file that has that name already.
func misnamed(layer string) string {
	folder := results.Folder(layer)
	switch {
	case !utf8.ValidString(layer):
		return "its name is not UTF-8"
	case len(folder) > maxLayerName:
		return fmt.Sprintf("its name takes %d bytes in a path, where %d are allowed", len(folder), maxLayerName)
	case layer == results.StructuredRow, layer == results.MajorityRow, "models/"+folder+".onnx" == PipelineFile:
		return "results have that name for something else"
	}
	return ""
}

// openSize is the height and width to give to a network that leaves them open, or 0 if the job says none.
func openSize(c *conf.CNN) int {
	if c.Preprocess.Inline != nil {
		return c.Preprocess.Inline.Crop
	}
	if strings.HasPrefix(c.Preprocess.Name, "imagenet") {
		return image.Imagenet().CropH
	}
	return 0
}

// measureUp notes what the choice of a plan needs to know.
func (n *network) measureUp() {
	n.size = vistaopt.NetworkOf(n.cnn, n.layers, n.pool)
	if n.name == "" {
		return
	}
	n.size.Name = n.name
	for i, l := range n.layers {
		n.size.Layers[i].Name = n.full(l.Name)
	}
}

// preprocess tells users what a picture goes through before and in the network's graph.
func (n *network) preprocess() results.Preprocess {
	s := n.image
	p := results.Preprocess{EXIF: "ignore", Resize: s.Resize, ResizeHeight: s.ResizeH, ResizeWidth: s.ResizeW, Stretch: s.Stretch, Exact: s.Exact,
		Interpolation: s.Interpolation, FloorCrop: s.FloorCrop, Height: s.CropH, Width: s.CropW, Channels: "RGB", Scale: 1}
	if s.ApplyEXIF {
		p.EXIF = "apply"
	}
	if n.normalize == nil {
		return p
	}
	if n.normalize.Channels != "" {
		p.Channels = strings.ToUpper(n.normalize.Channels)
	}
	if n.normalize.Scale != 0 {
		p.Scale = shortest(n.normalize.Scale)
	}
	for _, v := range n.normalize.Mean {
		p.Mean = append(p.Mean, shortest(v))
	}
	for _, v := range n.normalize.Std {
		p.Std = append(p.Std, shortest(v))
	}
	return p
}

// origin is what files of features say about where they come from.
func (n *network) origin() map[string]string {
	how, err := json.Marshal(n.preprocess())
	if err != nil {
		// Numbers of it come from float32 constants that were checked before.
		panic(fmt.Sprintf("run: preprocessing cannot be written as JSON: %v", err))
	}
	return map[string]string{"vista.network": n.job.ModelName(), "vista.networkDigest": n.cnn.Digest, "vista.pool": string(n.pool), "vista.preprocess": string(how)}
}

// shortest is the number with the fewest digits that is v in float32: 0.485, not 0.48500001430511475.
func shortest(v float32) float64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil {
		return float64(v)
	}
	return f
}

// writePrograms builds every program of a plan for the job's i-th network, which this is, and the one from the image to
// all its layers, and writes it into the job's store, named by its digest. Programs that are there already are not
// written again.
func (n *network) writePrograms(ctx context.Context, store dfs.FS, p plan.Plan, in *compile.Inputs, i int, out programs) error {
	return n.files.guard(func() error {
		for _, of := range append(in.Programs(p, i), in.Whole(i)) {
			if _, done := out[programKey(of)]; done {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			spec := of.Spec
			spec.Piece = layers.PieceBytes
			prog, err := n.cnn.Program(spec)
			if err != nil {
				return n.says(err)
			}
			m := toModel(prog, n.name)
			if m.Files, err = keepModel(ctx, store, modelsFolder, prog); err != nil {
				return err
			}
			out[programKey(of)] = m
		}
		return nil
	})
}

// programs are a job's programs as files, by programKey.
type programs map[string]extract.Model

// find returns a program that was written before.
func (ps programs) find(p compile.Program) (extract.Model, error) {
	m, ok := ps[programKey(p)]
	if !ok {
		return m, errs.E("programs", errs.Internal, "", fmt.Errorf("program %s was not written", programKey(p)))
	}
	return m, nil
}

// programKey names a program within one job.
func programKey(p compile.Program) string {
	return fmt.Sprintf("%d %q %q %q", p.Network, p.Spec.From, p.Spec.Raw, p.Spec.Pooled)
}

// keepModel writes a program into a folder of a store unless it is there. It returns its files where they have to be
// fetched to be opened: a list that is kept beside them, and, written last, says that they are complete.
func keepModel(ctx context.Context, store dfs.FS, folder dfs.Path, p *layers.Program) (blobs.Bundle, error) {
	graph := folder.Join(string(modelFile(p.Digest)))
	if _, here := host.InPlace(store, graph); here {
		if _, err := store.Stat(ctx, graph); err == nil {
			return nil, nil
		}
		_, err := writeModel(ctx, store, folder, p.Digest, p.Model)
		return nil, err
	}
	list := folder.Join(p.Digest + ".json")
	var files blobs.Bundle
	b, err := dfs.ReadFile(ctx, store, list, maxConfig)
	if err == nil && json.Unmarshal(b, &files) == nil && len(files) > 0 {
		return files, nil
	}
	damaged := err == nil || errs.Is(err, errs.Invalid) // what it says of the files is not known
	if !damaged && !errs.Is(err, errs.NotExist) {
		return nil, err
	}
	if !damaged {
		files, err = writeModel(ctx, store, folder, p.Digest, p.Model)
		damaged = errs.Is(err, errs.Corrupt) // of another build: no run of this one has written it
	}
	if damaged {
		if err := errors.Join(store.Remove(ctx, list), store.Remove(ctx, graph), store.Remove(ctx, folder.Join(p.Digest+".weights"))); err != nil {
			return nil, err
		}
		files, err = writeModel(ctx, store, folder, p.Digest, p.Model)
	}
	if err != nil {
		return nil, err
	}
	if b, err = json.Marshal(files); err != nil {
		return nil, err
	}
	if err = dfs.WriteFile(ctx, store, list, b); errs.Is(err, errs.Exist) { // another run of the job was quicker, with the same
		err = nil
	}
	return files, err
}

// writeModel streams a program into a folder of a store: the graph, and beside it the weights, which the
// runtime then maps instead of reading them into memory. The graph is written last: where it is, all is. Files
// that are not opened in place are summed up. They are not removed either, because another run of the job may use them: their names say
// what is in them, and one that is there counts as written.
func writeModel(ctx context.Context, store dfs.FS, folder dfs.Path, digest string, m *onnx.Model) (blobs.Bundle, error) {
	weights := digest + ".weights"
	if _, here := host.InPlace(store, folder.Join(weights)); here {
		if err := store.Remove(ctx, folder.Join(weights)); err != nil { // of a run that did not come to the graph
			return nil, err
		}
	}
	data, err := newSummed(ctx, store, folder, weights)
	if err != nil {
		return nil, err
	}
	graph, err := newSummed(ctx, store, folder, string(modelFile(digest)))
	if err != nil {
		return nil, errors.Join(err, data.Abort())
	}
	w := bufio.NewWriterSize(data, 1<<20)
	err = m.WriteExternal(graph, w, weights, minExternal)
	if err = errors.Join(err, w.Flush()); err == nil {
		err = data.Commit(ctx)
	}
	if err == nil {
		err = graph.Commit(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, data.Abort(), graph.Abort())
	}
	return blobs.Bundle{graph.file(), data.file()}, nil
}

// summed is a file in the making that knows its digest, where anybody will ask for it. Its name is that of its content.
type summed struct {
	store dfs.FS
	path  dfs.Path
	w     dfs.Writer // nil: the file is there
	n     int64
	sum   hash.Hash // nil: nobody will ask
}

func newSummed(ctx context.Context, store dfs.FS, folder dfs.Path, name string) (*summed, error) {
	s := &summed{store: store, path: folder.Join(name)}
	if _, here := host.InPlace(store, s.path); !here {
		s.sum = sha256.New()
	}
	var err error
	if s.w, err = store.Create(ctx, s.path); s.sum != nil && errs.Is(err, errs.Exist) {
		s.w, err = nil, nil
	}
	return s, err
}

func (s *summed) Write(b []byte) (n int, err error) {
	if n = len(b); s.w != nil {
		n, err = s.w.Write(b)
	}
	s.n += int64(n)
	if s.sum != nil {
		s.sum.Write(b[:n])
	}
	return n, err
}

// Commit makes the file visible. One that is there already must have as many bytes; whoever fetches it checks the digest.
func (s *summed) Commit(ctx context.Context) error {
	if s.w != nil {
		err := s.w.Commit(ctx)
		if s.sum == nil || !errs.Is(err, errs.Exist) {
			return err
		}
	}
	there, err := s.store.Stat(ctx, s.path)
	if err == nil && there.Size != s.n {
		err = errs.E("commit", errs.Corrupt, string(s.path), fmt.Errorf("it is there already with %d bytes, and should have %d", there.Size, s.n))
	}
	return errors.Join(err, s.Abort())
}

// Abort drops what was not committed.
func (s *summed) Abort() error {
	if s.w == nil {
		return nil
	}
	return s.w.Abort()
}

func (s *summed) file() blobs.File {
	f := blobs.File{Name: s.path.Base(), Path: s.path, Bytes: s.n}
	if s.sum != nil {
		f.SHA256 = hex.EncodeToString(s.sum.Sum(nil))
	}
	return f
}

// minExternal is the size from which a weight is kept outside the graph, in bytes.
const minExternal = 4096

func modelFile(digest string) dfs.Path { return dfs.Path(digest + ".onnx") }

// toModel is a program as phases know it, with its layers' names in the job; network is "" of the only one.
func toModel(p *layers.Program, network string) extract.Model {
	m := extract.Model{Digest: p.Digest, URI: string(dfs.Path(modelsFolder).Join(string(modelFile(p.Digest)))),
		In: extract.Port{Name: p.Input.Name, Bytes: p.Input.Elem == onnx.Uint8, Shape: p.Input.Shape}}
	for _, o := range p.Outputs {
		ch := extract.Pooled(compile.Full(network, o.Layer))
		if o.Kind == layers.KindRaw {
			ch = extract.Raw(compile.Full(network, o.Layer))
		}
		m.Out = append(m.Out, extract.Port{Name: o.Name, Channel: ch, Shape: o.Shape})
	}
	return m
}

// forget lets go of the weights: from here on the runtime reads them from files. What they took is free for those of the
// next network when it returns, without the collector being waited for.
func (n *network) forget() error {
	n.cnn.Forget()
	err := n.files.Release()
	debug.FreeOSMemory()
	return err
}
