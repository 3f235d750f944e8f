package images

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/jobs/images/parquet"
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
		byName[col.Name()] = col
		names = append(names, col.Name())
		if col.Type == parquet.ByteArray && !col.Text && !col.List && !slices.Contains(keyNames, col.Name()) {
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
			want = blobs[0].Name()
		}
	}
	if c.image = find(want); c.image == nil {
		return c, noColumn("image", want, names)
	}
	if c.image.Type != parquet.ByteArray {
		return c, invalid("column %q holds no bytes", c.image.Name())
	}
	if err := c.findKey(spec, byName); err != nil {
		return c, err
	}
	if c.key == nil {
		return c, noColumn("key", strings.Join(keyNames, ", "), names)
	}
	switch c.key.Type {
	case parquet.ByteArray, parquet.FixedLen, parquet.Int32, parquet.Int64:
		return c, nil
	}
	return c, invalid("column %q holds neither text nor whole numbers, so it is no key", c.key.Name())
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
	dir, _, _ := strings.Cut(c.image.Name(), ".bytes")
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
	row := 0
	for g := range f.Groups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := c.group(ctx, f, cols, g, row)
		if err != nil {
			return err
		}
		row += n
	}
	return nil
}

// group adds the images of one row group.
func (c *container) group(ctx context.Context, f *parquet.File, cols columns, g, row int) (int, error) {
	keys, err := f.Chunk(g, cols.key, c.size)
	if err != nil {
		return 0, err
	}
	if keys.Rows > c.most()-int64(len(c.b.entries)) {
		return 0, corrupt("row group %d: %d rows are more than the file can hold", g, keys.Rows)
	}
	names, err := c.keys(ctx, keys, cols.stem)
	if err != nil {
		return 0, err
	}
	chunk, err := f.Chunk(g, cols.image, c.size)
	if err != nil {
		return 0, err
	}
	p := &pages{c: c, chunk: chunk, names: names, row: row, ranges: -1, dictionary: -1}
	err = chunk.Walk(c.f, func(pg parquet.Page) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return p.page(pg)
	})
	if err == nil && p.at != len(names) {
		err = corrupt("row group %d: %d keys and %d images", g, len(names), p.at)
	}
	return p.at, err
}

// keys reads a column of keys.
func (c *container) keys(ctx context.Context, chunk parquet.Chunk, stem bool) ([]string, error) {
	var out []string
	var dictionary [][]byte
	err := chunk.Walk(c.f, func(p parquet.Page) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, err := readBody(c.f, p)
		if err != nil {
			return err
		}
		if p.Dictionary {
			dictionary, err = chunk.ReadDictionary(p, body)
			return err
		}
		values, err := chunk.Read(p, body, dictionary)
		if err != nil {
			return err
		}
		for _, v := range values {
			key := string(v[:min(len(v), maxKey+1)])
			if stem && v != nil {
				key = FileKey(Stem, "", key)
			}
			out = append(out, key)
		}
		return nil
	})
	return out, err
}

func readBody(r io.ReaderAt, p parquet.Page) ([]byte, error) {
	w := window{r: r, size: p.Offset + int64(p.Stored)}
	return w.peek(p.Offset, p.Stored)
}

// pages adds the images of a chunk, page by page.
type pages struct {
	c      *container
	chunk  parquet.Chunk
	names  []string
	row    int   // of the file, of the chunk's first
	at     int   // rows so far
	ranges int32 // unit of ranges of the file; -1: not yet

	dictionary int32   // unit of the dictionary page
	spans      []entry // of the dictionary's values, if they are ranges
}

func (p *pages) rangeUnit() int32 {
	if p.ranges < 0 {
		p.ranges = p.c.b.unit(unit{Kind: byteRange, URI: p.c.uri, Size: p.c.size})
	}
	return p.ranges
}

func (p *pages) pageUnit(pg parquet.Page) int32 {
	ref := p.chunk.Ref(pg)
	return p.c.b.unit(unit{Kind: page, URI: p.c.uri, Size: p.c.size, At: pg.Offset, Stored: int64(pg.Stored), Page: &ref})
}

func (p *pages) page(pg parquet.Page) error {
	if pg.Dictionary {
		if !p.chunk.Plain(pg) {
			p.dictionary = p.pageUnit(pg)
			return nil
		}
		p.spans = nil
		return p.chunk.Spans(p.c.f, pg, func(_ int, at, n int64) error {
			p.spans = append(p.spans, entry{unit: p.rangeUnit(), at: at, size: n})
			return nil
		})
	}
	if pg.Values > len(p.names)-p.at {
		return corrupt("%d images where %d keys are left", pg.Values, len(p.names)-p.at)
	}
	if p.chunk.Plain(pg) {
		return p.chunk.Spans(p.c.f, pg, func(_ int, at, n int64) error {
			return p.add(entry{unit: p.rangeUnit(), at: at, size: max(n, 0)}, n < 0)
		})
	}
	body, err := []byte(nil), error(nil)
	if p.chunk.Indexed(pg) {
		if body, err = readBody(p.c.f, pg); err != nil {
			return err
		}
	}
	at, ok, err := p.chunk.Indices(pg, body)
	if err != nil {
		return err
	}
	if !ok {
		u := p.pageUnit(pg)
		for i := range pg.Values {
			// Whether there is an image is seen when the page is read.
			if err := p.add(entry{unit: u, elem: int32(i), size: p.mean(pg)}, false); err != nil {
				return err
			}
		}
		return nil
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
			d := &p.c.b.units[p.dictionary]
			if int(v) >= d.Page.Page.Values {
				return corrupt("value %d of a dictionary of %d", v, d.Page.Page.Values)
			}
			e.size = p.mean(parquet.Page{Stored: int(d.Stored), Values: d.Page.Page.Values})
		}
		if err := p.add(e, v < 0); err != nil {
			return err
		}
	}
	return nil
}

// mean is about how large an image of a page is.
func (p *pages) mean(pg parquet.Page) int64 { return int64(pg.Stored / max(pg.Values, 1)) }

func (p *pages) add(e entry, null bool) error {
	e.key = p.names[p.at]
	row := p.row + p.at
	p.at++
	if null {
		e.size, e.bad = 0, p.c.b.flaw("no-image", p.c.uri+": the row has no image")
	}
	return p.c.add(e, row)
}
