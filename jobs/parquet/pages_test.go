package parquet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

// sameByPages tells whether a column of byte strings is the same read by rows and by pages. A failure to read
// it by pages is returned as it is; a difference is an error without a kind.
func sameByPages(f *File, col *Column) error {
	got, err := byPages(f, col)
	if err != nil || col.Type.Kind != cell.Text {
		return err
	}
	r, err := f.Read([]int{col.Index})
	if err != nil {
		return err
	}
	for i := range got {
		if !r.Next() {
			if r.Err() != nil {
				return r.Err()
			}
			return fmt.Errorf("column %q: %d rows, and %d by pages", col.Name, i, len(got))
		}
		if v := r.Value(0); v.Null != (got[i] == nil) || !bytes.Equal(v.Bytes, got[i]) {
			return fmt.Errorf("column %q: row %d: %q, null: %v, by pages %q", col.Name, i, v.Bytes, v.Null, got[i])
		}
	}
	if r.Next() {
		return fmt.Errorf("column %q: more rows than the %d by pages", col.Name, len(got))
	}
	return r.Err()
}

// byPages reads a column in the way of package images; nil stands for null.
func byPages(f *File, col *Column) (out [][]byte, err error) {
	var dictionary [][]byte
	group := -1
	for p, err := range f.Pages(col) {
		if err != nil {
			return nil, err
		}
		if p.Group != group {
			group, dictionary = p.Group, nil
		}
		body := make([]byte, p.Stored)
		if err := readFull(f.r, body, p.Offset); err != nil {
			return nil, err
		}
		values, err := pageStrings(&p, body, dictionary)
		if err != nil {
			return nil, err
		}
		if len(values) != p.Values {
			return nil, fmt.Errorf("page at %d: %d values, its header has %d", p.Offset, len(values), p.Values)
		}
		if p.Plain() {
			if err := sameBySpans(f, &p, values); err != nil {
				return nil, err
			}
		}
		if p.Dictionary() {
			dictionary = values
		} else {
			out = append(out, values...)
		}
	}
	return out, nil
}

func pageStrings(p *Page, body []byte, dictionary [][]byte) ([][]byte, error) {
	if !p.Indexed() {
		return p.Strings(body, p.Offset)
	}
	at, err := p.Indices(body)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(at))
	for i, k := range at {
		if int(k) >= len(dictionary) {
			return nil, corrupt("value %d of a dictionary of %d", k, len(dictionary))
		}
		if k >= 0 {
			out[i] = dictionary[k]
		}
	}
	return out, nil
}

// sameBySpans tells whether the values lie where Spans says.
func sameBySpans(f *File, p *Page, values [][]byte) error {
	i := 0
	for s, err := range p.Spans(f.r) {
		if err != nil {
			return fmt.Errorf("page at %d: spans of what can be read whole: %v", p.Offset, err)
		}
		b := make([]byte, max(s.Size, 0))
		if err := readFull(f.r, b, s.At); err != nil {
			return err
		}
		if i >= len(values) || s.Size < 0 != (values[i] == nil) || !slices.Equal(b, values[i]) {
			return fmt.Errorf("page at %d: span %d has %q", p.Offset, i, b)
		}
		i++
	}
	if i != len(values) {
		return fmt.Errorf("page at %d: %d spans of %d values", p.Offset, i, len(values))
	}
	return nil
}
