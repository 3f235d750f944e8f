package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	twmb "github.com/twmb/avro"

	"github.com/vista-mr/vista-mr/mr/avro"
)

// Schema is that of packed images: what Pack writes, and what needs no names of columns to be read.
const Schema = `{"type":"record","name":"Image","namespace":"vistamr","fields":[` +
	`{"name":"id","type":"string"},{"name":"image","type":"bytes"}]}`

const (
	// maxFields and maxNested bound the schemas of files whose records are walked.
	maxFields = 10_000
	maxNested = 32
	// maxWork and workPerByte bound the steps of a walk over a block: arrays of empty values take no bytes.
	maxWork     = 1 << 20
	workPerByte = 16
)

// maxUnpacked bounds what all blocks of a file of n bytes unpack to: 64 MiB, or 200 bytes for each, which is more than
// tables of zeros and one pack to, or 4 GiB and 20 bytes for each. Images as people have them hardly pack at all.
func maxUnpacked(n int64) int64 {
	return max(64<<20, min(200*n, 4<<30+20*n))
}

// node is a type of a schema, as far as passing over its values needs it.
type node struct {
	typ    string
	name   string // of a field
	size   int    // of a fixed
	fields []*node
	items  *node // of arrays and maps
}

// keyNames are the columns that hold the key, if none is named.
var keyNames = []string{"id", "key", "__key__"}

// layout says where in a record of an Avro file key and image are.
type layout struct {
	root       *node
	key, image int // fields of root
}

// newLayout finds the columns. A column that is named must be there.
func newLayout(schema, key, image string) (*layout, error) {
	s, err := twmb.Parse(schema)
	if err != nil {
		return nil, invalid("schema: %w", err)
	}
	t := &tree{named: map[string]*node{}}
	n, err := t.node(s.Root(), "", 0)
	if err != nil {
		return nil, invalid("schema: %w", err)
	}
	if n.typ != "record" {
		return nil, invalid("the schema is %s, not a record", n.typ)
	}
	l := &layout{root: n, key: -1, image: -1}
	var names, blobs []string
	for i, f := range n.fields {
		names = append(names, f.name)
		if f.value("bytes") {
			blobs = append(blobs, f.name)
		}
		switch {
		case key != "" && f.name == key, key == "" && l.key < 0 && slices.Contains(keyNames, f.name):
			l.key = i
		}
	}
	if image == "" {
		if image = "image"; !slices.Contains(names, image) && len(blobs) == 1 {
			image = blobs[0]
		}
	}
	l.image = slices.Index(names, image)
	switch {
	case l.image < 0:
		return nil, noColumn("image", image, names)
	case !n.fields[l.image].value("bytes"):
		return nil, invalid("column %q holds no bytes", image)
	case l.key < 0 && key == "":
		return nil, noColumn("key", strings.Join(keyNames, ", "), names)
	case l.key < 0:
		return nil, noColumn("key", key, names)
	case !n.fields[l.key].value("string", "bytes", "int", "long"):
		return nil, invalid("column %q holds neither text nor whole numbers, so it is no key", names[l.key])
	}
	return l, nil
}

func noColumn(what, want string, have []string) error {
	if len(have) > 12 {
		have = append(slices.Clone(have[:12]), "...")
	}
	return &SourceError{Key: "images.fields." + what, Cause: fmt.Sprintf("no column %s; there are %s", want, strings.Join(have, ", ")),
		Fix: fmt.Sprintf("name the column that holds it: images.fields.%s in a job file, --%s-field for vista-mr pack", what, what)}
}

// value tells whether the type, or the one beside null, is one of these.
func (n *node) value(types ...string) bool {
	if n.typ == "union" {
		found := false
		for _, b := range n.fields {
			if b.typ != "null" {
				if found || !b.value(types...) {
					return false
				}
				found = true
			}
		}
		return found
	}
	return slices.Contains(types, n.typ)
}

// tree builds nodes from a schema.
type tree struct {
	named map[string]*node
	count int
}

func (t *tree) node(s *twmb.SchemaNode, space string, depth int) (*node, error) {
	if t.count++; t.count > maxFields || depth > maxNested {
		return nil, fmt.Errorf("more than %d types, or more than %d of them in each other", maxFields, maxNested)
	}
	n := &node{typ: s.Type, size: s.Size}
	switch s.Type {
	case "record", "error", "enum", "fixed":
		if s.Type == "error" {
			n.typ = "record"
		}
		space = s.Namespace
		t.named[s.Name], t.named[full(space, s.Name)] = n, n
	}
	sub := func(c *twmb.SchemaNode) error {
		k, err := t.node(c, space, depth+1)
		n.fields = append(n.fields, k)
		return err
	}
	switch n.typ {
	case "record":
		for i := range s.Fields {
			if err := sub(&s.Fields[i].Type); err != nil {
				return nil, err
			}
			// A named type may stand in several fields, each with a name of its own.
			f := *n.fields[i]
			f.name = s.Fields[i].Name
			if f.typ == "record" {
				f = node{typ: "named", name: f.name, items: n.fields[i]}
			}
			n.fields[i] = &f
		}
	case "union":
		for i := range s.Branches {
			if err := sub(&s.Branches[i]); err != nil {
				return nil, err
			}
		}
	case "array", "map":
		of := s.Items
		if n.typ == "map" {
			of = s.Values
		}
		if of == nil {
			return nil, fmt.Errorf("%s of nothing", n.typ)
		}
		k, err := t.node(of, space, depth+1)
		n.items = k
		return n, err
	case "null", "boolean", "int", "long", "float", "double", "string", "bytes", "enum", "fixed":
	default:
		for _, name := range []string{s.Type, full(space, s.Type)} {
			if k := t.named[name]; k != nil {
				return k, nil
			}
		}
		return nil, fmt.Errorf("unknown type %q", s.Type)
	}
	return n, nil
}

func full(space, name string) string {
	if space == "" || strings.Contains(name, ".") {
		return name
	}
	return space + "." + name
}

// walker passes over values. It reads through a window, so that values that nobody wants are not read.
type walker struct {
	w    *window
	at   int64
	end  int64
	work int64 // steps left
}

// newWalker walks bytes [at, end).
func newWalker(w *window, at, end int64) *walker {
	return &walker{w: w, at: at, end: end, work: maxWork + workPerByte*(end-at)}
}

// inMemory walks a block that has been unpacked.
func inMemory(data []byte) *walker {
	return newWalker(&window{data: data, size: int64(len(data))}, 0, int64(len(data)))
}

func (k *walker) long() (int64, error) {
	b, err := k.w.peek(k.at, int(min(binary.MaxVarintLen64, k.end-k.at)))
	if err != nil {
		return 0, err
	}
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, errEnd
	}
	k.at += int64(n)
	return v, nil
}

func (k *walker) pass(n int64) error {
	if n < 0 || n > k.end-k.at {
		return fmt.Errorf("a value of %d bytes where %d are left", n, k.end-k.at)
	}
	k.at += n
	return nil
}

// bytes passes over a value with a length, and returns where it is.
func (k *walker) bytes() (at, n int64, err error) {
	if n, err = k.long(); err != nil {
		return 0, 0, err
	}
	at = k.at
	return at, n, k.pass(n)
}

func (k *walker) skip(n *node, depth int) error {
	if k.work--; k.work < 0 || depth > maxNested {
		return fmt.Errorf("too many empty values, or more than %d in each other", maxNested)
	}
	switch n.typ {
	case "null":
		return nil
	case "boolean":
		return k.pass(1)
	case "int", "long", "enum":
		_, err := k.long()
		return err
	case "float":
		return k.pass(4)
	case "double":
		return k.pass(8)
	case "fixed":
		return k.pass(int64(n.size))
	case "string", "bytes":
		_, _, err := k.bytes()
		return err
	case "named":
		return k.skip(n.items, depth+1)
	case "record":
		for _, f := range n.fields {
			if err := k.skip(f, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "union":
		b, err := k.branch(n)
		if err != nil {
			return err
		}
		return k.skip(b, depth+1)
	}
	return k.items(n, depth)
}

func (k *walker) branch(n *node) (*node, error) {
	i, err := k.long()
	if err != nil {
		return nil, err
	}
	if i < 0 || i >= int64(len(n.fields)) {
		return nil, fmt.Errorf("branch %d of a union of %d", i, len(n.fields))
	}
	return n.fields[i], nil
}

// items passes over an array or map.
func (k *walker) items(n *node, depth int) error {
	for {
		count, err := k.long()
		if err != nil || count == 0 {
			return err
		}
		if count < 0 { // then the size of the items follows
			size, err := k.long()
			if err != nil {
				return err
			}
			if err := k.pass(size); err != nil {
				return err
			}
			continue
		}
		for ; count > 0; count-- {
			if n.typ == "map" {
				if _, _, err := k.bytes(); err != nil {
					return err
				}
			}
			if err := k.skip(n.items, depth+1); err != nil {
				return err
			}
		}
	}
}

// spot is where the image of a record is; size -1: it has none.
type spot struct {
	key      string
	at, size int64
}

// record passes over one record and finds key and image.
func (k *walker) record(l *layout) (spot, error) {
	s := spot{size: -1}
	for i, f := range l.root.fields {
		if i != l.key && i != l.image {
			if err := k.skip(f, 0); err != nil {
				return s, err
			}
			continue
		}
		if f.typ == "union" {
			var err error
			if f, err = k.branch(f); err != nil {
				return s, err
			}
		}
		if err := k.field(l, i, f, &s); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (k *walker) field(l *layout, i int, f *node, s *spot) error {
	if i == l.key && (f.typ == "int" || f.typ == "long") {
		v, err := k.long()
		s.key = strconv.FormatInt(v, 10)
		return err
	}
	if f.typ == "null" {
		return nil
	}
	at, n, err := k.bytes()
	if err != nil {
		return err
	}
	if i == l.image {
		s.at, s.size = at, n
		return nil
	}
	b, err := k.w.peek(at, int(min(n, maxKey+1)))
	s.key = string(b)
	return err
}

// avro walks a container file. What is not compressed is not read: the images are ranges of the file.
func (c *container) avro(ctx context.Context) error {
	r, err := avro.NewReader(c.f, c.size, avro.ReaderOptions{})
	if err != nil {
		return err
	}
	l, err := newLayout(r.Schema(), c.spec.KeyField, c.spec.ImageField)
	if err != nil {
		return err
	}
	if r.Codec() == avro.Null {
		return c.plainBlocks(ctx, r, l)
	}
	row, unpacked, most := 0, int64(0), maxUnpacked(c.size)
	for it := r.Blocks(0, c.size); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !it.Next() {
			return it.Err()
		}
		block := it.Block()
		if unpacked += int64(len(block.Data)); unpacked > most {
			return corrupt("its blocks unpack to more than %d bytes, out of %d", most, c.size)
		}
		u := c.b.unit(unit{Kind: avroBlock, Name: c.uri, Size: c.size, Packed: &packing{At: block.Offset, Stored: int64(len(block.Data)), Key: l.root.fields[l.key].name, Field: l.root.fields[l.image].name}})
		k := inMemory(block.Data)
		for i := range block.Count {
			s, err := k.record(l)
			if err != nil {
				return corrupt("block at %d: record %d: %w", block.Offset, i, err)
			}
			if err := c.found(s, entry{unit: u, elem: int32(i), size: max(s.size, 0)}, row); err != nil {
				return err
			}
			row++
		}
	}
}

func (c *container) found(s spot, e entry, row int) error {
	e.key = s.key
	if s.size < 0 {
		e.bad = c.b.flaw("no-image", c.uri+": the record has no image")
	}
	return c.add(e, row)
}

// plainBlocks walks the blocks of a file that is not compressed.
func (c *container) plainBlocks(ctx context.Context, r *avro.Reader, l *layout) error {
	u := c.b.unit(unit{Kind: byteRange, Name: c.uri, Size: c.size})
	sync := r.Sync()
	k := newWalker(&c.window, r.HeaderEnd(), c.size)
	for row := 0; k.at < c.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := k.at
		count, err := k.long()
		if err != nil {
			return broken(err, "block at %d", start)
		}
		size, err := k.long()
		if err != nil {
			return broken(err, "block at %d", start)
		}
		if size < 0 || count < 0 || count > size || size > c.size-k.at-16 {
			return corrupt("block at %d: %d records in %d bytes", start, count, size)
		}
		end := k.at + size
		b := newWalker(&c.window, k.at, end)
		for i := range count {
			if i%4096 == 4095 && ctx.Err() != nil {
				return ctx.Err()
			}
			s, err := b.record(l)
			if err != nil {
				return broken(err, "block at %d: record %d", start, i)
			}
			if err := c.found(s, entry{unit: u, at: s.at, size: max(s.size, 0)}, row); err != nil {
				return err
			}
			row++
		}
		marker, err := c.peek(end, 16)
		if err != nil {
			return err
		}
		if b.at != end || !bytes.Equal(marker, sync[:]) {
			return corrupt("block at %d: no sync marker behind its last record", start)
		}
		k.at = end + 16
	}
	return nil
}

// blockValues finds the images of a block that was unpacked.
func blockValues(data []byte, count int64, l *layout) ([][]byte, error) {
	if count > int64(len(data)) {
		return nil, fmt.Errorf("%d records in %d bytes", count, len(data))
	}
	out := make([][]byte, count)
	k := inMemory(data)
	for i := range out {
		s, err := k.record(l)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		if s.size >= 0 {
			out[i] = data[s.at : s.at+s.size : s.at+s.size]
		}
	}
	return out, nil
}
