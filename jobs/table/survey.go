package table

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

const (
	// maxDistinct and maxText bound what is kept of one column's categories and of all.
	maxDistinct = 100_000
	maxText     = 16 << 20
	// maxEncoded bounds the columns that all categorical ones become: every row holds them.
	maxEncoded = 10_000
)

// Surveyor learns from all rows what their encoding is. It holds a sum for each numeric column and
// a count for each category, whatever the number of rows.
type Surveyor struct {
	s       *Schema
	most    int // categories with a column of their own
	e       Encoding
	numeric []mean
	count   []map[string]*tally
	text    int
}

// tally counts rows of one category.
type tally struct{ train, all int64 }

// NewSurveyor returns a surveyor of a table whose categorical columns get most columns of their own
// at the most.
func NewSurveyor(s *Schema, most int) *Surveyor {
	v := &Surveyor{s: s, most: most, numeric: make([]mean, len(s.Features)), count: make([]map[string]*tally, len(s.Features))}
	for i, f := range s.Features {
		v.e.Columns = append(v.e.Columns, Coding{Name: s.Columns[f.Column], Categorical: f.Categorical})
		if f.Categorical {
			v.count[i] = map[string]*tally{}
		}
	}
	return v
}

// Bad counts a row that is not passed on.
func (v *Surveyor) Bad() { v.e.Rows++ }

// Drop counts a row that is left out for a missing value.
func (v *Surveyor) Drop() {
	v.e.Rows++
	v.e.Dropped++
}

// Row takes in a row that is passed on. Means and categories come from training rows alone.
func (v *Surveyor) Row(row *Row, train bool) error {
	v.e.Rows++
	v.e.Good++
	if train {
		v.e.Train++
	}
	for i := range row.Cells {
		cell, c := &row.Cells[i], &v.e.Columns[i]
		if cell.Missing {
			c.Missing++
			c.Absent = c.Absent || train && c.Categorical
			continue
		}
		if !c.Categorical {
			if train {
				v.numeric[i].add(cell.Number)
			}
			continue
		}
		if err := v.category(i, cell, train); err != nil {
			return err
		}
	}
	return nil
}

// category counts a category. Text that is too long to name one is counted with the others.
func (v *Surveyor) category(i int, cell *Cell, train bool) error {
	if cell.Text == nil {
		v.e.Columns[i].Others++
		return nil
	}
	t := v.count[i][string(cell.Text)]
	if t == nil {
		if v.text += len(cell.Text); len(v.count[i]) == maxDistinct || v.text > maxText {
			return &CategoryError{Column: v.e.Columns[i].Name, Problem: fmt.Sprintf("has more than %d different values: it does not name categories", len(v.count[i]))}
		}
		t = &tally{}
		v.count[i][string(cell.Text)] = t
	}
	t.all++
	if train {
		t.train++
	}
	return nil
}

// CategoryError says that a categorical column has too many categories.
type CategoryError struct {
	Column  string
	Problem string
}

func (e *CategoryError) Error() string { return fmt.Sprintf("column %q %s", e.Column, e.Problem) }

// ErrorID is stable.
func (e *CategoryError) ErrorID() string { return "E-TABLE-CATEGORIES" }

// Hint says what to do.
func (e *CategoryError) Hint() string {
	return "take the column out of table.categorical, or lower table.maxCategories"
}

// MeanError says that there is nothing to fill a missing value with.
type MeanError struct {
	Column  string
	Missing int64
}

func (e *MeanError) Error() string {
	return fmt.Sprintf("column %q has no value in any training row: there is no mean to fill %d missing ones with", e.Column, e.Missing)
}

// ErrorID is stable.
func (e *MeanError) ErrorID() string { return "E-TABLE-MISSING" }

// Hint says what to do.
func (e *MeanError) Hint() string { return "leave the column out of table.features" }

// Encoding is what was learned. It is called once, after the last row.
func (v *Surveyor) Encoding() (*Encoding, error) {
	width := 0
	for i := range v.e.Columns {
		c := &v.e.Columns[i]
		if c.Categorical {
			v.choose(i)
			width += c.Width()
			continue
		}
		if c.Missing == 0 {
			continue
		}
		fill, ok := v.numeric[i].mean()
		if !ok {
			return nil, &MeanError{Column: c.Name, Missing: c.Missing}
		}
		c.Fill = fill
	}
	if width > maxEncoded {
		widest := slices.MaxFunc(v.e.Columns, func(a, b Coding) int { return len(a.Categories) - len(b.Categories) })
		return nil, &CategoryError{Column: widest.Name, Problem: fmt.Sprintf("and the other categorical columns become %d columns, more than %d", width, maxEncoded)}
	}
	seen := map[string]bool{}
	for _, name := range v.e.Names() {
		if seen[name] {
			return nil, &CategoryError{Column: name, Problem: "is in the table, and a category of another column becomes a column of the same name"}
		}
		seen[name] = true
	}
	return &v.e, nil
}

// choose gives the most frequent categories of the training rows a column of their own; of equally
// frequent ones the first by name. The columns stand in the order of the names.
func (v *Surveyor) choose(i int) {
	c := &v.e.Columns[i]
	var names []string
	for name, t := range v.count[i] {
		if t.train > 0 && name != Other && (name != Absent || !c.Absent) {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(a, b int) bool {
		if x, y := v.count[i][names[a]].train, v.count[i][names[b]].train; x != y {
			return x > y
		}
		return names[a] < names[b]
	})
	names = names[:min(len(names), v.most)]
	slices.Sort(names)
	c.Categories = make([]string, len(names))
	for k, n := range names {
		c.Categories[k] = strings.Clone(n)
	}
	for name, t := range v.count[i] {
		if _, own := slices.BinarySearch(names, name); !own && (name != Absent || !c.Absent) {
			c.Others += t.all
		}
	}
	v.count[i] = nil
}

// mean is a running sum with the error of every addition beside it (Neumaier), so that the mean of
// a column is right to the last bits of a float64 and far beyond those of a float32.
type mean struct {
	n          int64
	sum, error float64
}

func (m *mean) add(x float64) {
	m.n++
	t := m.sum + x
	if math.Abs(m.sum) >= math.Abs(x) {
		m.error += (m.sum - t) + x
	} else {
		m.error += (x - t) + m.sum
	}
	m.sum = t
}

func (m *mean) mean() (float32, bool) {
	return float32((m.sum + m.error) / float64(m.n)), m.n > 0
}
