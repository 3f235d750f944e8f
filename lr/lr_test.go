package lr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// data is a small problem in memory.
type data struct {
	rows    Rows
	classes int
	groups  int
}

// partitions cuts the rows into n partitions at multiples of Chunk, or anywhere behind that.
func (d *data) partitions(n int) []*Rows {
	per := max((d.rows.N/n)/Chunk*Chunk, Chunk)
	var out []*Rows
	for lo := 0; lo < d.rows.N; lo += per {
		out = append(out, slice(&d.rows, lo, min(lo+per, d.rows.N)))
	}
	return out
}

func slice(r *Rows, lo, hi int) *Rows {
	s := &Rows{N: hi - lo, Class: r.Class[lo:hi], Group: r.Group[lo:hi]}
	for _, p := range r.Parts {
		s.Parts = append(s.Parts, Matrix{Data: p.Data[lo*p.Cols : hi*p.Cols], Cols: p.Cols})
	}
	return s
}

// train runs the rounds in memory, merging the partitions' sums in a random order and in
// random groups.
func train(t testing.TB, d *data, parts []*Rows, specs []Spec, rnd *rand.Rand) ([]*Model, error) {
	t.Helper()
	var cols []int
	for _, p := range d.rows.Parts {
		cols = append(cols, p.Cols)
	}
	extent := NewExtent(cols, d.groups, d.classes)
	for _, r := range parts {
		extent.Count(r)
		for p := range cols {
			extent.Widen(r, p)
		}
	}
	scales := extent.Scales()
	moments := NewMoments(cols, d.groups)
	for _, r := range parts {
		one := NewMoments(cols, d.groups)
		for p := range cols {
			one.Add(r, p, scales)
		}
		moments.Merge(one)
	}
	var fits []*Fit
	for _, s := range specs {
		f, err := NewFit(s, extent, moments, scales)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		fits = append(fits, f)
	}
	for {
		var active []*Fit
		for _, f := range fits {
			if !f.Done() {
				active = append(active, f)
			}
		}
		if len(active) == 0 {
			break
		}
		answers := scanAll(parts, scales, active, specs, fits, rnd)
		for i, f := range active {
			if err := f.Observe(answers[i]); err != nil {
				return nil, err
			}
		}
	}
	var models []*Model
	for _, f := range fits {
		models = append(models, f.Model())
	}
	return models, nil
}

func scanAll(parts []*Rows, scales *Scales, active []*Fit, specs []Spec, fits []*Fit, rnd *rand.Rand) []*Partial {
	order := rnd.Perm(len(parts))
	groups := 1 + rnd.IntN(len(parts))
	sums := make([][]*Partial, groups)
	var wg sync.WaitGroup
	for g := range groups {
		wg.Go(func() {
			var sc Scratch
			for k := g; k < len(order); k += groups {
				var reqs []Request
				for _, f := range active {
					s := specs[slices.Index(fits, f)]
					reqs = append(reqs, Request{Parts: s.Parts, Fold: s.Fold, Point: f.Point(), Out: NewPartial(f.Scores(), f.Columns())})
				}
				Scan(parts[order[k]], scales, reqs, &sc)
				if sums[g] == nil {
					sums[g] = make([]*Partial, len(reqs))
				}
				for i := range reqs {
					if sums[g][i] == nil {
						sums[g][i] = reqs[i].Out
					} else {
						sums[g][i].Merge(reqs[i].Out)
					}
				}
			}
		})
	}
	wg.Wait()
	total := sums[0]
	for _, g := range sums[1:] {
		for i := range total {
			total[i].Merge(g[i])
		}
	}
	return total
}

// problem makes separable-with-noise rows over two parts of columns.
func problem(seed uint64, n, d1, d2, classes int) *data {
	rnd := rand.New(rand.NewPCG(seed, 42))
	d := &data{classes: classes, groups: 3}
	d.rows = Rows{N: n, Parts: []Matrix{{Cols: d1, Data: make([]float32, n*d1)}, {Cols: d2, Data: make([]float32, n*d2)}}}
	for i := range n {
		c := rnd.IntN(classes)
		for _, p := range d.rows.Parts {
			row := p.row(i)
			for j := range row {
				row[j] = float32(rnd.NormFloat64()*float64(j+1) + 3*float64(j))
				if j%classes == c {
					row[j] += float32(j + 1)
				}
			}
		}
		d.rows.Class = append(d.rows.Class, int32(c))
		g := uint8(rnd.IntN(3))
		if rnd.IntN(5) == 0 {
			g = HeldOut
		}
		d.rows.Group = append(d.rows.Group, g)
	}
	return d
}

func spec(classes int, fold int, p Params) Spec {
	if p.Kind == "" {
		p.Kind = Logistic
	}
	if p.Iterations == 0 {
		p.Iterations = 100
	}
	return Spec{Params: p, Parts: []int{0, 1}, Classes: classes, Fold: fold}
}

func TestSameBitsHoweverTheSumsAreGrouped(t *testing.T) {
	d := problem(1, 3000, 7, 13, 3)
	parts := d.partitions(6)
	specs := []Spec{
		spec(3, -1, Params{Reg: 0.01, ElasticNet: 0.5, Standardize: true, Iterations: 10}),
		spec(3, 1, Params{Reg: 0.1, ElasticNet: 0, Iterations: 10}),
	}
	var want string
	for trial := range 8 {
		models, err := train(t, d, parts, specs, rand.New(rand.NewPCG(uint64(trial), 9)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(models)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(b)
		}
		if string(b) != want {
			t.Fatalf("trial %d gives another model", trial)
		}
	}
}

// objective is the definition, in float64 and straight from the rows.
func objective(d *data, s Spec, m *Model) float64 {
	loss, n := 0.0, 0.0
	var cols [][]float64
	for i := range d.rows.N {
		if g := d.rows.Group[i]; g == HeldOut || int(g) == s.Fold {
			continue
		}
		var x []float64
		for _, p := range s.Parts {
			for _, v := range d.rows.Parts[p].row(i) {
				x = append(x, float64(v))
			}
		}
		cols = append(cols, x)
		n++
		z := make([]float64, len(m.Weights))
		for k, w := range m.Weights {
			z[k] = m.Intercepts[k]
			for j, v := range w {
				z[k] += float64(v) * x[j]
			}
		}
		c := int(d.rows.Class[i])
		if len(z) == 1 {
			loss += softplus(z[0]) - float64(c)*z[0]
			continue
		}
		top, sum := slices.Max(z), 0.0
		for _, v := range z {
			sum += math.Exp(v - top)
		}
		loss += math.Log(sum) + top - z[c]
	}
	loss /= n
	for j := range cols[0] {
		mean, dev := 0.0, 0.0
		for _, x := range cols {
			mean += x[j] / n
		}
		for _, x := range cols {
			dev += (x[j] - mean) * (x[j] - mean) / (n - 1)
		}
		for k := range m.Weights {
			v := float64(m.Weights[k][j])
			if s.Standardize {
				v *= math.Sqrt(dev)
			}
			loss += s.Reg * (s.ElasticNet*math.Abs(v) + (1-s.ElasticNet)/2*v*v)
		}
	}
	return loss
}

func TestReportedObjectiveIsTheDefinition(t *testing.T) {
	for _, classes := range []int{2, 4} {
		d := problem(2, 700, 5, 9, classes)
		for _, p := range []Params{
			{Reg: 0.01, ElasticNet: 0.5, Standardize: true}, {Reg: 0.1, ElasticNet: 0}, {Reg: 0.02, ElasticNet: 1, Standardize: true}, {Reg: 0.05, ElasticNet: 0.3},
		} {
			p.Tol, p.Iterations = 1e-9, 500
			s := spec(classes, 2, p)
			m, err := train(t, d, d.partitions(2), []Spec{s}, rand.New(rand.NewPCG(1, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if want := objective(d, s, m[0]); math.Abs(want-m[0].Report.Objective) > 1e-6 {
				t.Errorf("%d classes, %+v: objective %.9f, by definition %.9f", classes, p, m[0].Report.Objective, want)
			}
			if !m[0].Report.Converged || m[0].Report.Gradient > 1e-3 {
				t.Errorf("%d classes, %+v: %+v", classes, p, m[0].Report)
			}
		}
	}
}

// far moves some columns of the first part far away from zero.
func far(d *data) *data {
	for i := range d.rows.N {
		d.rows.Parts[0].row(i)[1] += 2019
		d.rows.Parts[0].row(i)[2] -= 3e4
	}
	return d
}

func TestGradientAgainstFiniteDifferences(t *testing.T) {
	for _, classes := range []int{2, 3} {
		for _, c := range []struct {
			name string
			d    *data
			s    Spec
		}{
			{"standardised", problem(3, 300, 4, 6, classes), spec(classes, -1, Params{Reg: 0.03, Standardize: true})},
			{"raw penalty", problem(3, 300, 4, 6, classes), spec(classes, -1, Params{Reg: 0.03})},
			{"one fold left out", problem(3, 300, 4, 6, classes), spec(classes, 1, Params{Reg: 0.03, Standardize: true})},
			{"shifted columns", far(problem(3, 300, 4, 6, classes)), spec(classes, -1, Params{Reg: 0.03, Standardize: true})},
		} {
			t.Run(fmt.Sprintf("%s/classes=%d", c.name, classes), func(t *testing.T) { checkGradient(t, c.d, c.s) })
		}
	}
}

func checkGradient(t *testing.T, d *data, s Spec) {
	cols := []int{4, 6}
	e := NewExtent(cols, d.groups, s.Classes)
	e.Count(&d.rows)
	e.Widen(&d.rows, 0)
	e.Widen(&d.rows, 1)
	sc := e.Scales()
	m := NewMoments(cols, d.groups)
	m.Add(&d.rows, 0, sc)
	m.Add(&d.rows, 1, sc)
	f, err := NewFit(s, e, m, sc)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, l2 := f.penalties()
	var scratch Scratch
	grad := make([]float64, f.scores*11)
	at := func(x []float64) float64 {
		out := NewPartial(f.scores, 10)
		Scan(&d.rows, sc, []Request{{Parts: s.Parts, Fold: s.Fold, Point: f.toPoint(x), Out: out}}, &scratch)
		f.answer = out
		return f.value(x, l2, grad)
	}
	x := make([]float64, f.scores*11)
	rnd := rand.New(rand.NewPCG(4, 4))
	for i := range x {
		x[i] = rnd.NormFloat64() / 3
	}
	at(x)
	want := slices.Clone(grad)
	for i := range x {
		const h = 1e-2 // float32 scores: smaller steps drown in rounding
		up, down := slices.Clone(x), slices.Clone(x)
		up[i] += h
		down[i] -= h
		got := (at(up) - at(down)) / (2 * h)
		if math.Abs(got-want[i]) > 2e-4 {
			t.Errorf("derivative %d is %.6f, differences give %.6f", i, want[i], got)
		}
	}
}

// TestPredictionsOfFarColumns compares with float64 arithmetic on raw columns.
func TestPredictionsOfFarColumns(t *testing.T) {
	for _, classes := range []int{2, 3} {
		d := far(problem(9, 400, 4, 6, classes))
		m, err := train(t, d, d.partitions(1), []Spec{spec(classes, -1, Params{Reg: 0.01, ElasticNet: 0.5, Standardize: true, Iterations: 50})}, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if len(m[0].Shift) != 10 || m[0].Shift[0] != 0 || m[0].Shift[1] < 2000 || m[0].Shift[2] > -2e4 {
			t.Errorf("%d classes: shifts %v", classes, m[0].Shift)
		}
		got := make([]float64, classes*d.rows.N)
		var sc Scratch
		Predict(&d.rows, []int{0, 1}, m[0], 0, d.rows.N, got, &sc)
		for i := range d.rows.N {
			z := make([]float64, classes)
			for k, w := range m[0].Weights {
				at := k + classes - len(m[0].Weights)
				z[at] = m[0].Intercepts[k]
				for j, v := range append(slices.Clone(d.rows.Parts[0].row(i)), d.rows.Parts[1].row(i)...) {
					z[at] += float64(w[j]) * float64(v)
				}
			}
			sum := 0.0
			for k := range z {
				z[k] = math.Exp(z[k])
				sum += z[k]
			}
			for k := range z {
				if diff := math.Abs(got[i*classes+k] - z[k]/sum); diff > 1e-5 {
					t.Fatalf("%d classes, row %d: probability %v, by float64 %v", classes, i, got[i*classes+k], z[k]/sum)
				}
			}
		}
	}
}

func TestColumnsTooLargeToSumAreRefused(t *testing.T) {
	d := problem(6, 100, 3, 2, 2)
	for i := range d.rows.N {
		d.rows.Parts[0].row(i)[2] *= 1e32
	}
	_, err := train(t, d, d.partitions(1), []Spec{spec(2, -1, Params{Reg: 0.1})}, rand.New(rand.NewPCG(1, 1)))
	var r *RangeError
	if !errors.As(err, &r) || r.Column != 2 || r.Value < 1e30 {
		t.Errorf("got %v, want a RangeError of column 2", err)
	}
	if TooLarge(-9.9e29) || !TooLarge(-1.01e30) || !TooLarge(3e38) {
		t.Error("TooLarge draws the line elsewhere")
	}
}

func TestConstantCollinearAndEmptyColumns(t *testing.T) {
	d := problem(5, 600, 4, 3, 2)
	p := d.rows.Parts[0]
	for i := range d.rows.N {
		row := p.row(i)
		row[0] = 7          // constant
		row[1] = 0          // empty
		row[3] = 2 * row[2] // collinear
	}
	m, err := train(t, d, d.partitions(1), []Spec{spec(2, -1, Params{Reg: 0.01, ElasticNet: 0, Standardize: true, Tol: 1e-9})}, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	w := m[0].Weights[0]
	if w[0] != 0 || w[1] != 0 {
		t.Errorf("constant columns have weights %v, %v; want 0", w[0], w[1])
	}
	// Ridge shares a direction equally among standardised copies.
	if math.Abs(float64(w[2]-2*w[3])) > 1e-4 {
		t.Errorf("collinear columns have weights %v and %v, want the first twice the second", w[2], w[3])
	}
}

func TestOneClassIsRefused(t *testing.T) {
	d := problem(6, 100, 2, 2, 2)
	for i := range d.rows.Class {
		d.rows.Class[i] = 1
	}
	_, err := train(t, d, d.partitions(1), []Spec{spec(2, -1, Params{})}, rand.New(rand.NewPCG(1, 1)))
	var one *OneClassError
	if !errors.As(err, &one) || one.Class != 1 || one.ErrorID() != "E-ONE-CLASS" {
		t.Errorf("got %v, want a OneClassError of class 1", err)
	}
}

func TestSeparableRowsStayFinite(t *testing.T) {
	d := &data{classes: 2, groups: 1, rows: Rows{N: 40, Parts: []Matrix{{Cols: 1}, {Cols: 1}}}}
	for i := range 40 {
		d.rows.Class = append(d.rows.Class, int32(i%2))
		d.rows.Group = append(d.rows.Group, 0)
		d.rows.Parts[0].Data = append(d.rows.Parts[0].Data, float32(i%2)*2-1)
		d.rows.Parts[1].Data = append(d.rows.Parts[1].Data, 1)
	}
	for _, reg := range []float64{0, 0.1} {
		m, err := train(t, d, d.partitions(1), []Spec{spec(2, -1, Params{Reg: reg, Iterations: 30, Tol: 1e-9})}, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		w := float64(m[0].Weights[0][0])
		if math.IsNaN(w) || math.IsInf(w, 0) || w <= 0 || m[0].Report.Iterations > 30 {
			t.Errorf("reg %v: weight %v after %d iterations", reg, w, m[0].Report.Iterations)
		}
		if reg == 0 && w < 5 {
			t.Errorf("reg 0: weight %v; it should grow until the iterations are used up", w)
		}
	}
}

func TestHingeLossSeparates(t *testing.T) {
	d := problem(8, 900, 4, 4, 2)
	m, err := train(t, d, d.partitions(2), []Spec{spec(2, -1, Params{Kind: LinearSVC, Reg: 0.01, Standardize: true})}, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float64, 2*d.rows.N)
	var sc Scratch
	Predict(&d.rows, []int{0, 1}, m[0], 0, d.rows.N, out, &sc)
	right := 0
	for i, c := range d.rows.Class {
		if out[2*i] != -out[2*i+1] {
			t.Fatalf("row %d has the scores %v and %v, want opposite ones", i, out[2*i], out[2*i+1])
		}
		if (out[2*i+1] > out[2*i]) == (c == 1) {
			right++
		}
	}
	if right < d.rows.N*8/10 {
		t.Errorf("%d of %d right", right, d.rows.N)
	}
}

func BenchmarkTrain(b *testing.B) {
	const rows, cols = 20_000, 2178
	rnd := rand.New(rand.NewPCG(1, 1))
	d := &data{classes: 2, groups: 1, rows: Rows{N: rows, Class: make([]int32, rows), Group: make([]uint8, rows),
		Parts: []Matrix{{Cols: 130, Data: make([]float32, rows*130)}, {Cols: cols - 130, Data: make([]float32, rows*(cols-130))}}}}
	for i := range rows {
		d.rows.Class[i] = int32(rnd.IntN(2))
		for _, p := range d.rows.Parts {
			for j := range p.row(i) {
				if rnd.IntN(4) == 0 {
					p.row(i)[j] = rnd.Float32() + 0.2*float32(d.rows.Class[i])*float32(j%3)
				}
			}
		}
	}
	parts := d.partitions(16)
	two := rand.New(&fixedSource{1}) // always two groups
	b.Run(fmt.Sprintf("rows=%d/cols=%d/iterations=10/slots=2", rows, cols), func(b *testing.B) {
		b.SetBytes(4 * rows * cols)
		for b.Loop() {
			s := Spec{Params: Params{Kind: Logistic, Reg: 0.01, ElasticNet: 0.5, Tol: 1e-12, Iterations: 10, Standardize: true}, Parts: []int{0, 1}, Classes: 2, Fold: -1}
			m, err := train(b, d, parts, []Spec{s}, two)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(m[0].Report.Evaluations), "scans")
		}
	})
}

// fixedSource makes IntN(n) answer v for small n.
type fixedSource struct{ v uint64 }

func (s *fixedSource) Uint64() uint64 { return s.v << 60 }
