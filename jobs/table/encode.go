package table

import (
	"fmt"
	"slices"
)

// Other and Absent are what stands for a category in the name of the column that all categories
// without one of their own share, and of the column of missing values. A category that is really
// called so belongs to the same column.
const (
	Other  = "other"
	Absent = "missing"
)

// Encoding says how rows become the numbers that models take. It is made once, of all rows, and
// travels with the job.
type Encoding struct {
	Rows    int64    `json:"rows"`              // of the files, good or not
	Good    int64    `json:"good"`              // that are passed on
	Train   int64    `json:"train"`             // of those, training rows
	Dropped int64    `json:"dropped,omitempty"` // left out for a missing value
	Columns []Coding `json:"columns"`           // one for each feature column, in file order
}

// Coding is the encoding of one feature column.
type Coding struct {
	Name    string  `json:"name"`
	Missing int64   `json:"missing,omitempty"` // good rows without a value
	Fill    float32 `json:"fill,omitempty"`    // of a numeric column: the mean over training rows, if any value is missing

	Categorical bool     `json:"categorical,omitempty"`
	Categories  []string `json:"categories,omitempty"` // with a column of their own, in the order of the columns
	Absent      bool     `json:"absent,omitempty"`     // a last column stands for missing values
	Others      int64    `json:"others,omitempty"`     // good rows whose category has no column of its own
}

// Width is the number of columns that the column becomes.
func (c *Coding) Width() int {
	if !c.Categorical {
		return 1
	}
	n := len(c.Categories) + 1
	if c.Absent {
		n++
	}
	return n
}

// Width is the number of values that Append appends.
func (e *Encoding) Width() int {
	n := 0
	for i := range e.Columns {
		n += e.Columns[i].Width()
	}
	return n
}

// Names are the names of the encoded columns in their order: of a numeric column its own, of a
// categorical one brand=acme for each category, brand=other, and brand=missing if there is one.
func (e *Encoding) Names() []string {
	out := make([]string, 0, e.Width())
	for i := range e.Columns {
		c := &e.Columns[i]
		if !c.Categorical {
			out = append(out, c.Name)
			continue
		}
		for _, v := range c.Categories {
			out = append(out, c.Name+"="+v)
		}
		out = append(out, c.Name+"="+Other)
		if c.Absent {
			out = append(out, c.Name+"="+Absent)
		}
	}
	return out
}

// Encoder encodes rows. It belongs to one goroutine.
type Encoder struct {
	e     *Encoding
	index []map[string]int // by column, of its categories
}

// NewEncoder returns an encoder.
func NewEncoder(e *Encoding) *Encoder {
	x := &Encoder{e: e, index: make([]map[string]int, len(e.Columns))}
	for i := range e.Columns {
		if c := &e.Columns[i]; c.Categorical {
			x.index[i] = map[string]int{}
			for k, v := range c.Categories {
				x.index[i][v] = k
			}
		}
	}
	return x
}

// Append appends the row's values to dst. A category that has no column of its own, seen or not
// when the encoding was made, is an other one; so is a missing value where none was missing in
// training.
func (x *Encoder) Append(dst []float32, row *Row) ([]float32, error) {
	if len(row.Cells) != len(x.e.Columns) {
		return dst, fmt.Errorf("a row of %d cells, the encoding has %d columns", len(row.Cells), len(x.e.Columns))
	}
	for i := range row.Cells {
		cell, c := &row.Cells[i], &x.e.Columns[i]
		if !c.Categorical {
			v := float32(cell.Number)
			if cell.Missing {
				v = c.Fill
			}
			dst = append(dst, v)
			continue
		}
		at := len(dst)
		for range c.Width() {
			dst = append(dst, 0)
		}
		dst[at+x.place(i, cell)] = 1
	}
	return dst, nil
}

// place is the number of the column in which a cell's 1 stands.
func (x *Encoder) place(column int, cell *Cell) int {
	c := &x.e.Columns[column]
	other := len(c.Categories)
	if cell.Missing && c.Absent {
		return other + 1
	}
	if k, ok := x.index[column][string(cell.Text)]; ok && !cell.Missing && cell.Text != nil {
		return k
	}
	if c.Absent && string(cell.Text) == Absent {
		return other + 1
	}
	return other
}

// Equal tells whether two encodings are of the same rows.
func (e *Encoding) Equal(o *Encoding) bool {
	if e.Rows != o.Rows || e.Good != o.Good || e.Train != o.Train || e.Dropped != o.Dropped {
		return false
	}
	return slices.EqualFunc(e.Columns, o.Columns, func(a, b Coding) bool {
		return a.Name == b.Name && a.Missing == b.Missing && a.Fill == b.Fill && a.Categorical == b.Categorical && a.Absent == b.Absent &&
			a.Others == b.Others && slices.Equal(a.Categories, b.Categories)
	})
}
