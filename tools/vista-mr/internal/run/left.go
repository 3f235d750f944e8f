package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// left is what Snappy leaves of a network's features, which is a matter of its weights: a trained one lets fewer values through its
// rectifiers than one with random weights.
type left struct {
	Of     string           `json:"of"`     // leftKey
	Digest string           `json:"digest"` // of graph and weights
	Layers map[string]share `json:"layers"` // by the network's own names
	When   time.Time        `json:"when"`
}

// share is what is left of a byte of a layer's vectors and of its volumes; 0: not measured.
type share struct {
	Vector float64 `json:"vector,omitempty"`
	Volume float64 `json:"volume,omitempty"`
}

// What a file of shares can be. Snappy packs 64 bytes into 3 at best, and what it does not make smaller counts as it is.
const (
	leastShare, mostShare = 3.0 / 64, 1
	mostLayers            = 4096
)

// valuesOf says in words which weights a network of the job has, before they are read; "": nobody can tell. Files count as the same as long as
// their sizes and times are.
//
// Data files beside an ONNX file do not count, as only the graph names them, which has not been read. An ONNX model is read whole wherever it is
// looked at, so its digest tells other data (recallLeft); weights of a catalogue's network are not read by explain, whose estimates may then be
// by shares of the data before. A job compares digests before it runs, what it finds takes their place, and no choice depends on them.
func valuesOf(ctx context.Context, j *conf.Job, c *conf.CNN) string {
	rooted, _, err := Rooted(&conf.Job{CNN: conf.CNNs{*c}}) // the same files for who names them from elsewhere, as a tracker's driver
	if err != nil {
		return ""
	}
	c = &rooted.CNN[0]
	out := fmt.Sprintf("%q weights %q", c.Model, c.Weights)
	if c.Weights == "random" && !isFile(c.Model) {
		return fmt.Sprintf("%s seed %d", out, j.Seed)
	}
	for _, uri := range []string{c.Model, c.Weights} {
		if uri == "" || uri == c.Model && !isFile(c.Model) {
			continue
		}
		fs, p, err := stores().Resolve(ctx, uri)
		if err != nil {
			return ""
		}
		info, err := fs.Stat(ctx, p)
		if err != nil {
			return ""
		}
		out += fmt.Sprintf(" %d bytes of %d", info.Size, info.ModTime.UnixNano())
	}
	return out
}

// leftKey says what shares are of; "": none are kept.
func (n *network) leftKey() string {
	if n.values == "" {
		return ""
	}
	return fmt.Sprintf("%s pool %s pixels %s", n.values, n.pool, n.steps)
}

// leftFile is where they are kept; "" without a cache.
func leftFile(key string) string { return cacheFile("shares", key) }

// recallLeft tells the planner what is known of a network's features.
func (n *network) recallLeft() (known bool) {
	key := n.leftKey()
	if key == "" {
		return false
	}
	l := keptLeft(key)
	if l == nil || n.digest != "" && n.digest != l.Digest {
		return false
	}
	n.size.Layers = slices.Clone(n.size.Layers) // what was chosen by it stays as it is
	for i := range n.layers {
		s := l.Layers[n.layers[i].Name]
		n.size.Layers[i].Left, n.size.Layers[i].RawLeft = s.Vector, s.Volume
		known = known || s != share{}
	}
	return known
}

// keptLeft are the shares that are kept under a key; nil: none that can be read and are sane.
func keptLeft(key string) *left {
	var l left
	if !recallFile(leftFile(key), &l) || l.Of != key || len(l.Layers) == 0 || !l.sane() {
		return nil
	}
	return &l
}

// sane tells whether the shares can have been measured.
func (l *left) sane() bool {
	for _, s := range l.Layers {
		for _, v := range []float64{s.Vector, s.Volume} {
			if !(v == 0 || v >= leastShare && v <= mostShare) {
				return false
			}
		}
	}
	return len(l.Layers) <= mostLayers && past(l.When)
}

// keep writes shares where the next job finds them. What is known of other layers of the same network stays, and so does what vectors or
// volumes left that were not written this time.
func (l *left) keep() error {
	if l.Of == "" || len(l.Layers) == 0 {
		return nil
	}
	if was := keptLeft(l.Of); was != nil && was.Digest == l.Digest {
		for name, s := range l.Layers {
			old := was.Layers[name]
			was.Layers[name] = share{cmp.Or(s.Vector, old.Vector), cmp.Or(s.Volume, old.Volume)}
		}
		if was.When = l.When; was.sane() { // and not too many
			l = was
		}
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return keepFile(leftFile(l.Of), b)
}

// written is what a finished job has written of a network's features.
type written struct {
	left
	channels map[string]sizes
}

// sizes of a layer.
type sizes struct {
	layer   string
	volumes bool
	bytes   int64 // of an image
}

// teachesLeft is how many images a job must have had to say what is left of its features.
const teachesLeft = 16

// writes is what a job is going to know of this network's features.
func (n *network) writes() *written {
	w := &written{left: left{Of: n.leftKey(), Digest: n.digest}, channels: map[string]sizes{}}
	for i, l := range n.layers {
		size := n.size.Layers[i]
		w.channels[extract.Pooled(n.full(l.Name))] = sizes{l.Name, false, size.Pooled}
		w.channels[extract.Raw(n.full(l.Name))] = sizes{l.Name, true, size.Raw}
	}
	return w
}

// learn keeps what a job has found that Snappy left of its features. What a shuffle has packed is in files for all channels at once.
func (w *written) learn(p plan.Plan, ph phases, now time.Time) error {
	if w.Of == "" || p.Storage != plan.Snappy {
		return nil
	}
	type sum struct{ rows, bytes int64 }
	found := map[string]sum{}
	for _, m := range ph {
		for _, t := range m.Tasks {
			for _, f := range t.Files {
				if _, ours := w.channels[f.Channel]; ours && len(f.Segments) == 0 {
					s := found[f.Channel]
					found[f.Channel] = sum{s.rows + f.Rows, s.bytes + max(f.Bytes-vistaopt.HeaderBytes, 0)} // which a plan of other files has more or fewer of
				}
			}
		}
	}
	w.Layers, w.When = map[string]share{}, now
	for channel, s := range found {
		of := w.channels[channel]
		if s.rows < teachesLeft || of.bytes == 0 {
			continue
		}
		l, v := w.Layers[of.layer], bounded(float64(s.bytes)/float64(s.rows*of.bytes))
		if of.volumes {
			l.Volume = v
		} else {
			l.Vector = v
		}
		w.Layers[of.layer] = l
	}
	return w.keep()
}

// bounded is a share that can be. One that is nearly all is all: Snappy passes over such bytes about as fast as they are copied.
func bounded(v float64) float64 {
	if v > 0.97 {
		return mostShare
	}
	return max(v, leastShare)
}

// packedBy is what Snappy leaves of a byte of vectors, written as a job writes them.
func packedBy(vectors [][]float32) (float64, error) {
	var out, plain counter
	w, err := avro.NewWriter(&out, avro.WriterOptions{Schema: avro.KVSchema, Codec: avro.Snappy})
	if err != nil {
		return 0, err
	}
	head := out
	for i, v := range vectors {
		b := avro.AppendFloat32s(nil, v)
		plain += counter(len(b))
		if err := w.Append(avro.AppendKV(nil, fmt.Appendf(nil, "%d", i), b)); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return bounded(float64(out-head) / float64(max(plain, 1))), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// leaves measures what is left of the vectors of a batch that a network has just computed from images of the sample.
func (n *network) leaves(m extract.Model, r *ort.Runner, images int) (map[string]share, error) {
	out := map[string]share{}
	for i, port := range m.Out {
		at := slices.IndexFunc(n.layers, func(l layers.Layer) bool { return extract.Pooled(n.full(l.Name)) == port.Channel })
		if at < 0 {
			continue
		}
		var vectors [][]float32
		all := r.Output(i)
		for k := range images {
			size := len(all) / images
			vectors = append(vectors, all[k*size:(k+1)*size])
		}
		v, err := packedBy(vectors)
		if err != nil {
			return nil, err
		}
		out[n.layers[at].Name] = share{Vector: v}
	}
	return out, nil
}
