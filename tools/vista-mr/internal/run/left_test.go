package run

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

const saysShares = "what Snappy leaves of its features was measured"

// sharesOf are the files of shares that there are.
func sharesOf(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cacheDir(), "shares", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestJobsTeachShares: what a job has written of its network's features is what the next one with these weights is expected to, whichever
// way it comes to them; one with others is not.
func TestJobsTeachShares(t *testing.T) {
	alone(t)
	for name, inference := range map[string]string{"fused": "fused", "volumes": "staged"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VISTA_MR_CACHE", t.TempDir())
			w := newWorld(t, true)
			w.ownNetwork(t)
			w.job.CNN[0].Layers.Last = 4
			w.job.Plan.Inference, w.job.Plan.Storage = inference, "snappy"
			explained := func() *explain.Explanation {
				t.Helper()
				x, err := Explain(t.Context(), w.job, Options{})
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			before := explained()
			if strings.Contains(before.Machine.Rates, saysShares) {
				t.Errorf("before anything ran: %s", before.Machine.Rates)
			}
			if _, err := Submit(t.Context(), w.job, Options{}); err != nil {
				t.Fatal(err)
			}
			files := sharesOf(t)
			if len(files) != 1 {
				t.Fatalf("there are %q", files)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			var l left
			if err := json.Unmarshal(b, &l); err != nil || len(l.Layers) != 4 || len(l.Digest) != 64 {
				t.Fatalf("it says %s, %v", b, err)
			}
			for layer, s := range l.Layers {
				if s.Vector == 0 || (s.Volume > 0) != (inference == "staged" && !strings.Contains(layer, "f2")) {
					t.Errorf("%s: %+v", layer, s)
				}
			}
			x := explained()
			if !strings.Contains(x.Machine.Rates, saysShares) {
				t.Errorf("it is planned with %s", x.Machine.Rates)
			}
			if inference == "staged" {
				a, err := analyzed(t.Context(), *w.job)
				if err != nil {
					t.Fatal(err)
				}
				compared := 0
				for _, ph := range x.Estimate.Phases { // the first one's is mostly volumes of a rectifier
					wrote := a.Actual.Bytes[ph.Name]
					if strings.HasPrefix(ph.Name, "train-") { // keys are not counted, and Snappy leaves a little less
						if off := float64(ph.Written)/float64(wrote) - 1; math.Abs(off) > 0.2 {
							t.Errorf("%s: %d bytes of predictions are expected, %d were written", ph.Name, ph.Written, wrote)
						}
					}
					if !strings.HasPrefix(ph.Name, "stage-") || wrote < 100_000 {
						continue
					}
					compared++
					if off := float64(ph.Written)/float64(wrote) - 1; math.Abs(off) > 0.02 {
						t.Errorf("%s: %d bytes are expected, %d were written", ph.Name, ph.Written, wrote)
					}
				}
				if compared == 0 {
					t.Error("no phase was compared")
				}
			}
			// Other values lie in the data file beside the graph, which stays as it is.
			data := filepath.Join(w.dir, "net", "small.data")
			values, err := os.ReadFile(data)
			if err != nil {
				t.Fatal(err)
			}
			other := slices.Clone(values)
			other[0] ^= 1
			save(t, data, other)
			if x := explained(); strings.Contains(x.Machine.Rates, saysShares) {
				t.Errorf("of other data beside the graph %s", x.Machine.Rates)
			}
			save(t, data, values)
			if x := explained(); !strings.Contains(x.Machine.Rates, saysShares) {
				t.Errorf("of the same data again %s", x.Machine.Rates)
			}
			// The file of weights is another one, and the graph beside it as well.
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(w.job.CNN[0].Model, old, old); err != nil {
				t.Fatal(err)
			}
			if x := explained(); strings.Contains(x.Machine.Rates, saysShares) || x.Estimate.Written != before.Estimate.Written {
				t.Errorf("of other weights %s, %d bytes", x.Machine.Rates, x.Estimate.Written)
			}
		})
	}
}

// TestOtherWeightsBehindTheSameGraph: once the weights are there, they are compared.
func TestOtherWeightsBehindTheSameGraph(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	ns := newWorld(t, true).network(t)
	n := ns[0]
	n.values = "small"
	l := left{Of: n.leftKey(), Digest: n.cnn.Digest, Layers: map[string]share{"c1": {Vector: 0.5}}}
	if err := l.keep(); err != nil {
		t.Fatal(err)
	}
	for digest, want := range map[string]bool{"": true, n.cnn.Digest: true, "another": false} {
		n.digest = digest
		n.measureUp()
		if got := n.recallLeft(); got != want || (n.size.Layers[0].Left == 0.5) != want {
			t.Errorf("digest %.8q: recalled %t, %+v", digest, got, n.size.Layers[0])
		}
	}
	n.digest, n.values = "", ""
	if n.recallLeft() || (&left{Layers: l.Layers}).keep() != nil || len(sharesOf(t)) != 1 {
		t.Error("something is kept of a network of which nobody knows the weights")
	}
}

// TestInsaneShares: what nothing can have measured is not believed.
func TestInsaneShares(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	n := newWorld(t, true).network(t)[0]
	n.values = "small"
	key := n.leftKey()
	file, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{"of":KEY,"layers":{"c1":{"vector":0.5}}}`:                                   true,
		`{"of":KEY,"layers":{"c1":{"vector":1,"volume":0.05},"gone":{"vector":0.5}}}`: true,
		`{"of":KEY,"layers":{"gone":{"vector":0.5}}}`:                                 false,
		`{"of":"other","layers":{"c1":{"vector":0.5}}}`:                               false,
		`{"of":KEY,"layers":{"c1":{"vector":-0.5}}}`:                                  false,
		`{"of":KEY,"layers":{"c1":{"vector":1e-300}}}`:                                false,
		`{"of":KEY,"layers":{"c1":{"vector":0.5,"volume":1.01}}}`:                     false,
		`{"of":KEY,"layers":{"c1":{"vector":"half"}}}`:                                false,
		`{"of":KEY`: false,
		`{"of":KEY,"layers":{"c1":{"vector":0.5}}}` + strings.Repeat(" ", maxRecalled): false,
	} {
		save(t, leftFile(key), []byte(strings.Replace(text, "KEY", string(file), 1)))
		n.measureUp()
		if got := n.recallLeft(); got != want || !want && n.size.Layers[0].Left != 0 {
			t.Errorf("%.60s is believed: %t, %+v", text, got, n.size.Layers[0])
		}
	}
}

// TestShareOfVectors: zeros in a row are what gets smaller, and what hardly does counts as it is.
func TestShareOfVectors(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, c := range map[string]struct{ share, least, most float64 }{"all": {1, 1, 1}, "a seventh": {0.13, 0.15, 0.45}, "none": {0, leastShare, 0.06}} {
		var all [][]float32
		for range 6 {
			v := make([]float32, 4096)
			for i := range v {
				if rnd.Float64() < c.share {
					v[i] = rnd.Float32()
				}
			}
			all = append(all, v)
		}
		if got, err := packedBy(all); err != nil || got < c.least || got > c.most {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestCalibrationLooksAtFeatures: a network that is run beforehand is shown images of the sample, and what Snappy leaves of its vectors is
// kept.
func TestCalibrationLooksAtFeatures(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	ctx := t.Context()
	at, d, o := w.prepared(t)
	ns := w.network(t)
	n := ns[0]
	n.pool, n.values, n.digest = layers.PoolNone, "small", n.cnn.Digest
	n.measureUp()
	sample, err := takeSample(ctx, d, n, ordinaryRoom)
	if err != nil {
		t.Fatal(err)
	}
	choice := &vistaopt.Choice{Plan: plan.Plan{Inference: plan.Fused}}
	in := inputs(w.job, d, ns, choice)
	written, err := ns.writePrograms(ctx, at.store, choice.Plan, in)
	if err != nil {
		t.Fatal(err)
	}
	m, err := written.find(in.Whole(0))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		room  trial
		batch int // 0: it does not fit
	}{
		"as many images as it likes": {trial{96, 64 << 20}, 6},
		"without a limit":            {trial{96, 0}, 6},
		"four":                       {trial{4, 64 << 20}, 3}, // what one has taken stays
		"two":                        {trial{2, 64 << 20}, 1},
		"one":                        {trial{1, 64 << 20}, 1},
		"none":                       {trial{}, 0},
		"in too little memory":       {trial{6, 4 << 10}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VISTA_MR_CACHE", t.TempDir())
			got, err := calibrate(ctx, n, m, sample, at.store, c.room, o)
			if c.batch == 0 {
				if err == nil {
					t.Errorf("%+v was measured", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Batch != c.batch || !got.sane() || got.One <= 0 {
				t.Errorf("%+v, want batches of %d", got, c.batch)
			}
			if !n.recallLeft() {
				t.Fatal("nothing is known of its features")
			}
			for i, l := range n.size.Layers {
				if want := n.layers[i].Name != "f2"; l.Left == 0 || (l.Left < 0.97) != want && n.layers[i].Name != "f1" {
					t.Errorf("%s: %v", l.Name, l.Left)
				}
			}
		})
	}
}

// TestSharesAdd: what a job has not written stays as an earlier one left it, as long as the weights are the same.
func TestSharesAdd(t *testing.T) {
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	for i, c := range []struct {
		digest string
		layers map[string]share
		want   map[string]share
	}{
		{"d", map[string]share{"a": {0.5, 0.6}, "b": {Vector: 0.7}}, map[string]share{"a": {0.5, 0.6}, "b": {Vector: 0.7}}},
		{"d", map[string]share{"a": {Vector: 0.4}, "c": {Vector: 0.9}}, map[string]share{"a": {0.4, 0.6}, "b": {Vector: 0.7}, "c": {Vector: 0.9}}},
		{"e", map[string]share{"a": {Vector: 0.3}}, map[string]share{"a": {Vector: 0.3}}},
	} {
		l := &left{Of: "net", Digest: c.digest, Layers: c.layers, When: time.Now()}
		if err := l.keep(); err != nil {
			t.Fatal(err)
		}
		if got := keptLeft("net"); got == nil || !maps.Equal(got.Layers, c.want) {
			t.Errorf("%d: %+v is kept, want %v", i, got, c.want)
		}
	}
	for ahead, believed := range map[time.Duration]bool{-time.Hour: true, 23 * time.Hour: true, 25 * time.Hour: false} {
		l := &left{Of: "net", Digest: "d", Layers: map[string]share{"a": {Vector: 0.5}}, When: time.Now().Add(ahead)}
		if err := l.keep(); err != nil {
			t.Fatal(err)
		}
		if got := keptLeft("net"); (got != nil) != believed {
			t.Errorf("of %v ahead: %+v", ahead, got)
		}
	}
}
