package images

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/jobs/parquet"
)

// columns are those of a Parquet file that matter.
type columns struct {
	image *parquet.Column
	key   *parquet.Column
	stem  bool // the key column holds paths, of which the stem is the key
}

// findColumns finds the columns. Without names: image, be it bytes or a struct with bytes as Hugging Face
// writes it, or else the only column of bytes; and id, key, __key__, or else the path beside the bytes.
func findColumns(f *parquet.File, spec Spec) (columns, error) {
	var c columns
	byName := map[string]*parquet.Column{}
	var names []string
	var blobs []*parquet.Column
	for i := range f.Columns {
		col := &f.Columns[i]
		byName[col.Name] = col
		names = append(names, col.Name)
		if col.Bytes() && !col.Text && !col.List && !slices.Contains(keyNames, col.Name) {
			blobs = append(blobs, col)
		}
	}
	find := func(name string) *parquet.Column {
		if col := byName[name]; col != nil {
			return col
		}
		return byName[name+".bytes"]
	}
	want := spec.ImageField
	if want == "" {
		if want = "image"; find(want) == nil && len(blobs) == 1 {
			want = blobs[0].Name
		}
	}
	if c.image = find(want); c.image == nil {
		return c, noColumn("image", want, names)
	}
	if !c.image.Bytes() {
		return c, invalid("column %q holds no bytes", c.image.Name)
	}
	if err := c.findKey(spec, byName); err != nil {
		return c, err
	}
	if c.key == nil {
		return c, noColumn("key", strings.Join(keyNames, ", "), names)
	}
	switch c.key.Type.Kind {
	case cell.Other, cell.Bool, cell.Float32, cell.Float64, cell.Null:
		if !c.key.List { // which is refused by its name when it is read
			return c, invalid("column %q holds neither text nor whole numbers, so it is no key", c.key.Name)
		}
	}
	return c, nil
}

func (c *columns) findKey(spec Spec, byName map[string]*parquet.Column) error {
	if spec.KeyField != "" {
		if c.key = byName[spec.KeyField]; c.key == nil {
			var names []string
			for n := range byName {
				names = append(names, n)
			}
			slices.Sort(names)
			return noColumn("key", spec.KeyField, names)
		}
		return nil
	}
	for _, n := range keyNames {
		if c.key = byName[n]; c.key != nil {
			return nil
		}
	}
	// Hugging Face has the file's name beside the bytes, Spark a column path.
	c.stem = true
	dir, _, _ := strings.Cut(c.image.Name, ".bytes")
	if c.key = byName[dir+".path"]; c.key == nil {
		c.key = byName["path"]
	}
	return nil
}

// parquet walks a file: the key column is read, of the images only the headers of pages.
func (c *container) parquet(ctx context.Context) error {
	f, err := parquet.Open(c.f, c.size)
	if err != nil {
		return err
	}
	cols, err := findColumns(f, c.spec)
	if err != nil {
		return err
	}
	if f.Rows > c.most() {
		return corrupt("%d rows are more than a file of %d bytes can hold", f.Rows, c.size)
	}
	keys, err := f.Read([]int{cols.key.Index})
	if err != nil {
		return err
	}
	p := &pages{c: c, cols: cols, keys: keys, ranges: -1, group: -1}
	for pg, err := range f.Pages(cols.image) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := p.page(&pg); err != nil {
			return err
		}
	}
	return nil
}

// pages adds the images of a file, page by page.
type pages struct {
	c      *container
	cols   columns
	keys   *parquet.Reader // at the row before the next one
	row    int             // the next one
	text   []byte          // of a key
	ranges int32           // unit of ranges of the file; -1: not yet

	group      int     // row group
	dictionary int32   // unit of its dictionary page; -1: none
	spans      []entry // of the dictionary's values, if they are ranges
}

func (p *pages) rangeUnit() int32 {
	if p.ranges < 0 {
		p.ranges = p.c.b.unit(unit{Kind: byteRange, Name: p.c.uri, Size: p.c.size})
	}
	return p.ranges
}

func (p *pages) pageUnit(pg *parquet.Page) int32 {
	return p.c.b.unit(unit{Kind: page, Name: p.c.uri, Size: p.c.size, Packed: &packing{At: pg.Offset, Stored: int64(pg.Stored), Page: pg}})
}

func (p *pages) page(pg *parquet.Page) error {
	if pg.Group != p.group {
		p.group, p.dictionary, p.spans = pg.Group, -1, nil
	}
	switch {
	case pg.Dictionary() && !pg.Plain():
		p.dictionary = p.pageUnit(pg)
	case pg.Dictionary():
		for s, err := range pg.Spans(p.c.f) {
			if err != nil {
				return err
			}
			p.spans = append(p.spans, entry{unit: p.rangeUnit(), at: s.At, size: s.Size})
		}
	case pg.Plain():
		for s, err := range pg.Spans(p.c.f) {
			if err != nil {
				return err
			}
			if err := p.add(entry{unit: p.rangeUnit(), at: s.At, size: max(s.Size, 0)}, s.Size < 0); err != nil {
				return err
			}
		}
	case pg.Indexed():
		return p.indexed(pg)
	default:
		u := p.pageUnit(pg)
		for i := range pg.Values {
			// Whether there is an image is seen when the page is read.
			if err := p.add(entry{unit: u, elem: int32(i), size: mean(pg)}, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// indexed adds the images of a page that refers to a dictionary.
func (p *pages) indexed(pg *parquet.Page) error {
	body := make([]byte, pg.Stored)
	if _, err := io.ReadFull(io.NewSectionReader(p.c.f, pg.Offset, int64(pg.Stored)), body); err != nil {
		return broken(err, "page at %d", pg.Offset)
	}
	at, err := pg.Indices(body)
	if err != nil {
		return err
	}
	for _, v := range at {
		e := entry{unit: max(p.dictionary, 0), elem: max(v, 0)}
		if len(p.c.b.units) == 0 {
			e.unit = p.rangeUnit()
		}
		switch {
		case p.spans != nil && int(v) >= len(p.spans):
			return corrupt("value %d of a dictionary of %d", v, len(p.spans))
		case p.spans != nil && v >= 0:
			e = p.spans[v]
		case v >= 0 && p.dictionary < 0:
			return corrupt("value %d of no dictionary", v)
		case v >= 0:
			d := p.c.b.units[p.dictionary].Packed
			if int(v) >= d.Page.Values {
				return corrupt("value %d of a dictionary of %d", v, d.Page.Values)
			}
			e.size = mean(d.Page)
		}
		if err := p.add(e, v < 0); err != nil {
			return err
		}
	}
	return nil
}

// mean is about how large an image of a page is.
func mean(pg *parquet.Page) int64 { return int64(pg.Stored / max(pg.Values, 1)) }

func (p *pages) add(e entry, null bool) (err error) {
	if e.key, err = p.key(); err != nil {
		return err
	}
	if null {
		e.size, e.bad = 0, p.c.b.flaw("no-image", p.c.uri+": the row has no image")
	}
	p.row++
	return p.c.add(e, p.row-1)
}

// key is the next row's key, as a table writes it; "" if there is none.
func (p *pages) key() (string, error) {
	if !p.keys.Next() {
		if err := p.keys.Err(); err != nil {
			return "", err
		}
		return "", corrupt("there are fewer keys than images")
	}
	v := *p.keys.Value(0)
	if v.Null {
		return "", nil
	}
	v.Bytes = v.Bytes[:min(len(v.Bytes), maxKey+1)] // more is too long anyway
	p.text = p.cols.key.Type.AppendText(p.text[:0], &v)
	if p.cols.stem {
		return strings.Clone(FileKey(Stem, "", string(p.text))), nil // without the folders
	}
	return string(p.text), nil
}
