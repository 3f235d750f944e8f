package run

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
)

// networks are the CNNs of a job, in the job file's order.
type networks []*network

// openNetworks opens the networks of a job, one after the other, and tries those of the user's own, with what that needs
// in dir. What fits has against all of them is heard before memory is taken for the weights of any, and again with each
// that is open. use is called with each in turn and lets go of its weights: those of one network are held at a time.
func openNetworks(ctx context.Context, j *conf.Job, dir string, fits func(networks) error, use func(ns networks, i int) error) (networks, error) {
	// The first one's outline comes with its opening, unless there is more to say already.
	all, problems := outlined(ctx, j, 1)
	if len(problems) > 0 {
		if _, err := outline(ctx, j, 0); err != nil {
			problems = slices.Insert(problems, 0, err)
		}
		return nil, problemsOf(ctx, problems)
	}
	for i := range all {
		n, err := tried(ctx, j, i, dir, func(n *network) error {
			all[i] = n
			if err := all.distinct(); err != nil {
				return err
			}
			return fits(all)
		})
		if err != nil {
			return nil, err
		}
		all[i] = n
		if err := use(all, i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// outlines are a job's networks without their weights.
func outlines(ctx context.Context, j *conf.Job) (networks, error) {
	all, problems := outlined(ctx, j, 0)
	if len(problems) > 0 {
		return nil, problemsOf(ctx, problems)
	}
	return all, all.distinct()
}

// outlined are the outlines of a job's networks from one on, and what is wrong with each that has none.
func outlined(ctx context.Context, j *conf.Job, from int) (all networks, problems []error) {
	all = make(networks, len(j.CNN))
	for i := from; i < len(all); i++ {
		var err error
		if all[i], err = outline(ctx, j, i); err != nil {
			problems = append(problems, err)
		}
	}
	return all, problems
}

// distinct refuses layers of different networks that would have one name in the job: layer b.c of a, and c of a.b.
func (ns networks) distinct() error {
	seen := map[string]bool{}
	for _, n := range ns {
		for _, l := range n.layers {
			full := n.full(l.Name)
			if seen[full] {
				return &layers.Error{ID: "E-LAYER", Msg: fmt.Sprintf("two layers would be called %.200q", full), Do: "give one of their networks another name (" + n.job.Key("name") + ")"}
			}
			seen[full] = true
		}
	}
	return nil
}

func (ns networks) sizes() []vistaopt.Network {
	var out []vistaopt.Network
	for _, n := range ns {
		out = append(out, n.size)
	}
	return out
}

// weights tells whether files of weights are what they were.
func (ns networks) weights() string {
	var all []string
	for _, n := range ns {
		all = append(all, n.weights)
	}
	return strings.Trim(strings.Join(all, ","), ",")
}

// rates are those that a job is planned with. Of several networks each has its own speed.
func (ns networks) rates(version string) vistaopt.Rates {
	if len(ns) == 1 {
		return recalled(ns[0], version)
	}
	r := vistaopt.DefaultRates()
	r.Measured = true
	var sources, guessed []string
	var loads []float64
	for _, n := range ns {
		own := recalled(n, version)
		n.size.Speed = vistaopt.Speed{}
		if own.Measured {
			n.size.Speed = vistaopt.Speed{MACs: own.MACs, Weights: own.Weights}
			loads = append(loads, own.Load)
		}
		r.Measured = r.Measured && own.Measured
		if own.Measured {
			sources = append(sources, n.name+": "+own.Source)
		} else {
			guessed = append(guessed, n.name)
			if more, ok := strings.CutPrefix(own.Source, vistaopt.DefaultRates().Source); ok && more != "" {
				sources = append(sources, n.name+":"+strings.TrimPrefix(more, ";"))
			}
		}
	}
	if len(loads) > 0 {
		r.Load = slices.Min(loads)
	}
	if len(guessed) > 0 {
		sources = append(sources, strings.Join(guessed, ", ")+": "+vistaopt.DefaultRates().Source)
	}
	r.Source = strings.Join(sources, "; ")
	return r
}

// explain adds the networks to an explanation.
func (ns networks) explain(x *explain.Explanation) {
	var names []string
	for _, n := range ns {
		var own []string
		for _, l := range n.layers {
			own = append(own, n.full(l.Name))
		}
		x.Layers = append(x.Layers, own...)
		x.Network, x.Preprocess = n.job.Model, n.steps
		if n.name != "" {
			names = append(names, n.name)
			x.Networks = append(x.Networks, explain.Network{Name: n.name, Model: n.job.Model, Layers: own, Preprocess: n.steps})
		}
	}
	if len(ns) > 1 {
		x.Network, x.Preprocess = strings.Join(names, " + "), ""
	}
}

// describe says in words what the networks are made of; of several, preprocessing that they share once.
func (ns networks) describe() string {
	var all []string
	var own []explain.Network
	for _, n := range ns {
		all = append(all, n.describe())
		own = append(own, explain.Network{Name: n.name, Preprocess: n.steps})
	}
	if len(ns) > 1 {
		all = append(all, explain.Shared(own)...)
	}
	return strings.Join(all, "; ")
}

// describe says in words what a network is made of, and what is to be known of it. How it takes images is said for several at once.
func (n *network) describe() string {
	var names []string
	for _, l := range n.layers {
		names = append(names, l.Name)
	}
	of := "weights " + n.job.Weights
	if isFile(n.job.Model) {
		of = fmt.Sprint(n.cnn.Input)
	}
	detail := fmt.Sprintf("%s, layers %s", of, strings.Join(names, " "))
	if n.name == "" {
		detail = fmt.Sprintf("%s, %s; %s", n.job.Model, detail, n.steps)
	} else {
		detail = fmt.Sprintf("network %s, %s", explain.Called(n.name, n.job.Model), detail)
	}
	return strings.Join(append([]string{detail}, n.notes...), " ")
}

// laid is what results need to know of a network.
type laid struct {
	Name       string // "" of the only one
	CNN        *conf.CNN
	Layers     []layers.Layer // by their own names
	Digest     string         // of graph and weights
	Weights    string         // of the weights' file; "" without one
	Steps      string         // the preprocessing in words
	Preprocess results.Preprocess
	Whole      extract.Model // from the image to all layers' vectors
}

func (n *network) lay(whole extract.Model) laid {
	return laid{Name: n.name, CNN: n.job, Layers: n.layers, Digest: n.cnn.Digest, Weights: n.weights, Steps: n.steps, Preprocess: n.preprocess(), Whole: whole}
}

// of finds the network of a layer, and where the layer is among the whole program's outputs; nil: there is none, as of the
// structured features alone.
func (w *publisher) of(layer string) (*laid, int) {
	for i := range w.p.Networks {
		n := &w.p.Networks[i]
		if at := slices.IndexFunc(n.Whole.Out, func(o extract.Port) bool { return o.Channel == extract.Pooled(layer) }); at >= 0 {
			return n, at
		}
	}
	return nil, -1
}

// networks adds them to the results.
func (w *publisher) networks(s *results.Summary) {
	j, several := &s.Job, len(w.p.Networks) > 1
	var names []string
	for _, n := range w.p.Networks {
		network, weights := "network", "weights"
		if several {
			network, weights = network+"."+n.Name, weights+"."+n.Name
			j.Networks = append(j.Networks, results.Network{Name: n.Name, Model: n.CNN.Model, Weights: n.CNN.Weights, Pool: n.CNN.Pool, Preprocess: n.Steps})
			names = append(names, n.Name)
		} else {
			j.Model, j.Weights, j.Pool, j.Preprocess = n.CNN.Model, n.CNN.Weights, n.CNN.Pool, n.Steps
		}
		s.Digests[network] = n.Digest
		if n.Weights != "" {
			s.Digests[weights] = n.Weights
		}
	}
	if several {
		j.Model = strings.Join(names, " + ")
	}
}

func ignoresEXIF(c conf.CNN) bool {
	return c.Preprocess.Inline == nil || c.Preprocess.Inline.EXIF != "apply"
}
