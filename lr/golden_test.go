package lr

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// golden is a problem with scikit-learn's solutions, made by tools/goldens/logistic.py.
type golden struct {
	Name      string    `json:"name"`
	Rows      int       `json:"rows"`
	Columns   int       `json:"columns"`
	Classes   int       `json:"classes"`
	X         []float32 `json:"x"`
	Y         []int32   `json:"y"`
	Solutions []struct {
		Standardize bool        `json:"standardize"`
		Reg         float64     `json:"reg"`
		ElasticNet  float64     `json:"elasticNet"`
		Unique      bool        `json:"unique"`
		Objective   float64     `json:"objective"`
		Weights     [][]float64 `json:"weights"`
		Intercepts  []float64   `json:"intercepts"`
	} `json:"solutions"`
}

func goldens(t *testing.T) []golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/scikit-learn.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Problems []golden `json:"problems"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Problems) < 9 {
		t.Fatalf("%d problems", len(file.Problems))
	}
	return file.Problems
}

// data cuts the golden's columns into two parts.
func (g *golden) data() *data {
	d := &data{classes: g.Classes, groups: 1}
	first := g.Columns / 3
	d.rows = Rows{N: g.Rows, Class: g.Y, Group: make([]uint8, g.Rows), Parts: []Matrix{{Cols: first}, {Cols: g.Columns - first}}}
	for i := range g.Rows {
		row := g.X[i*g.Columns : (i+1)*g.Columns]
		d.rows.Parts[0].Data = append(d.rows.Parts[0].Data, row[:first]...)
		d.rows.Parts[1].Data = append(d.rows.Parts[1].Data, row[first:]...)
	}
	return d
}

// deviations of the columns over all rows; 1 for constant ones.
func (g *golden) deviations() []float64 {
	out := make([]float64, g.Columns)
	for j := range out {
		mean, sq := 0.0, 0.0
		for i := range g.Rows {
			mean += float64(g.X[i*g.Columns+j]) / float64(g.Rows)
		}
		for i := range g.Rows {
			d := float64(g.X[i*g.Columns+j]) - mean
			sq += d * d
		}
		if out[j] = math.Sqrt(sq / float64(g.Rows-1)); out[j] == 0 {
			out[j] = 1
		}
	}
	return out
}

// TestAgainstScikitLearn compares with published solutions: the objective within 1e-6, the
// weights, of columns scaled to unit deviation, within 1e-4.
func TestAgainstScikitLearn(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.Name, func(t *testing.T) {
			d := g.data()
			var specs []Spec
			for _, s := range g.Solutions {
				specs = append(specs, spec(g.Classes, -1, Params{Reg: s.Reg, ElasticNet: s.ElasticNet, Standardize: s.Standardize, Tol: 1e-14, Iterations: 3000}))
			}
			models, err := train(t, d, d.partitions(1), specs, rand.New(rand.NewPCG(1, 1)))
			if err != nil {
				t.Fatal(err)
			}
			dev := g.deviations()
			for i, s := range g.Solutions {
				m := models[i]
				gap := objective(d, specs[i], m) - s.Objective
				worst := 0.0
				for k, w := range m.Weights {
					for j, v := range w {
						worst = max(worst, math.Abs(float64(v)-s.Weights[k][j])*dev[j])
					}
				}
				r := m.Report
				t.Logf("standardize=%-5v reg=%-5v elasticNet=%-3v: gap %.1e, weights %.1e, gradient %.1e, %d iterations, %d scans",
					s.Standardize, s.Reg, s.ElasticNet, gap, worst, r.Gradient, r.Iterations, r.Evaluations)
				if math.Abs(gap) > 1e-6 || s.Unique && worst > 1e-4 {
					t.Errorf("standardize=%v reg=%v elasticNet=%v: objective differs by %.2g, weights by %.2g; report %d iterations, gradient %.2g",
						s.Standardize, s.Reg, s.ElasticNet, gap, worst, r.Iterations, r.Gradient)
				}
			}
		})
	}
}
