package images

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/jobs/parquet"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What becomes of several images of one record (images.multiple).
const (
	First = "first"
	Mean  = "mean"
	Max   = "max"
	Keep  = "keep" // all of them, however many: for package pack
)

// kind says what a unit is.
type kind string

const (
	wholeFile kind = "file"    // the image is the file
	byteRange kind = "range"   // images are ranges of the file
	avroBlock kind = "avro"    // images are records of a block
	page      kind = "parquet" // images are values of a page
)

// unit is what is read as one, or, for ranges, read from.
type unit struct {
	Kind   kind   `json:"kind"`
	Folder string `json:"folder,omitempty"` // the first part of the URI, which many files share; or ""
	Name   string `json:"name"`             // the rest
	Size   int64  `json:"size,omitempty"`   // of the file; 0: not known

	Packed *packing `json:"packed,omitempty"` // of a block or page. Apart: there may be millions of files, each a unit
}

func (u *unit) uri() string { return u.Folder + u.Name }

func (u *unit) sameFile(v *unit) bool { return u.Name == v.Name && u.Folder == v.Folder }

// packing says where a block or page lies, and how to unpack it.
type packing struct {
	At     int64         `json:"at,omitempty"` // of the block or of the page's body
	Stored int64         `json:"stored,omitempty"`
	Page   *parquet.Page `json:"page,omitempty"`
	Key    string        `json:"key,omitempty"` // columns of an Avro record
	Field  string        `json:"field,omitempty"`
}

// isPacked tells whether the unit has to be unpacked.
func (u *unit) isPacked() bool { return u.Kind == avroBlock || u.Kind == page }

// raw is about how much a unit holds when it is unpacked.
func (u *unit) raw() int64 {
	if p := u.Packed; p.Page != nil {
		return p.Stored + int64(p.Page.Raw)
	}
	return 2 * u.Packed.Stored
}

// Flags of an entry.
const (
	isFirst = 1 << iota // of its record
	isLast              // of its record
	isAside             // it belongs to no record
)

// entry is one image.
type entry struct {
	key   string
	unit  int32
	elem  int32 // in a block or page
	at    int64 // of a range
	size  int64 // of a range or file; 0: not known
	flags uint8
	bad   *flaw
}

// flaw is why an image cannot be used.
type flaw struct {
	Cause string `json:"cause"`
	Error string `json:"error"`
}

// Index is what a source holds.
type Index struct {
	// What is the source in words, for people.
	What string
	// Images is the number of all images; Records of keys that have one or more; Several of keys that have
	// more than one.
	Images, Records, Several int64
	// Bytes is the size of all images, as far as it is known, as they are stored.
	Bytes int64
	// PerRecord is the largest number of images of one record.
	PerRecord int64
	// Largest is the most that a page or block takes which has to be unpacked, in bytes; 0: nothing is packed.
	Largest int64
	// Listing is the SHA-256 (hex) of the names, sizes and times of the source's files; of a table's column, of
	// what it names. It changes when files are added, removed or written again.
	Listing string

	units   []unit
	entries []entry
}

// builder takes what scans find, in order.
type builder struct {
	units   []unit
	entries []entry
	bytes   int64
	largest int64
	text    int64          // bytes of keys, URIs and flaws
	size    int64          // of the containers; 0: text has no bound
	flaws   map[flaw]*flaw // each text is kept once
	folders map[string]string
	unique  bool // no two images have the same key
}

func (b *builder) flaw(cause, text string) *flaw {
	f := flaw{cause, text}
	if b.flaws == nil {
		b.flaws = map[flaw]*flaw{}
	}
	if b.flaws[f] == nil {
		b.flaws[f] = &f
		b.text += int64(len(text))
	}
	return b.flaws[f]
}

func (b *builder) unit(u unit) int32 {
	b.text += int64(len(u.Folder) + len(u.Name)) // written with each unit, though memory holds it once
	if u.isPacked() {
		b.largest = max(b.largest, u.raw())
		b.text += int64(len(u.Packed.Key) + len(u.Packed.Field))
	}
	b.units = append(room(b.units), u)
	return int32(len(b.units) - 1)
}

// maxFolders bounds the folders that are looked for again. Files in further ones have names of their own.
const maxFolders = 1 << 16

// file adds the unit of a file that is an image. Its folder is held once.
func (b *builder) file(uri string) int32 {
	u := unit{Kind: wholeFile, Name: uri}
	at := strings.LastIndexByte(uri, '/') + 1
	folder, known := b.folders[uri[:at]]
	if !known && len(b.folders) < maxFolders {
		if b.folders == nil {
			b.folders = map[string]string{}
		}
		folder, known = strings.Clone(uri[:at]), true
		b.folders[folder] = folder
	}
	if known {
		u.Folder, u.Name = folder, strings.Clone(uri[at:])
	}
	return b.unit(u)
}

// add adds an image. Without a key it cannot be used; name then says which it is.
func (b *builder) add(e entry, name string) error {
	if len(b.entries) >= maxImages {
		return errs.E("images", errs.Invalid, "", fmt.Errorf("more than %d images", maxImages))
	}
	b.bytes += e.size
	// Keys are trimmed as those of tables are. What is cut off a long one is not held.
	if key := strings.TrimSpace(e.key); len(key) < len(e.key) {
		e.key = strings.Clone(key)
	}
	switch {
	case e.key == "":
		e.key = strings.Clone(clip(name))
		e.flags, e.bad = isAside, b.flaw("no-key", b.units[e.unit].uri()+": the image has no key")
	case len(e.key) > maxKey:
		e.key = strings.Clone(clip(e.key))
		e.flags, e.bad = isAside, b.flaw("no-key", fmt.Sprintf("%s: a key of more than %d bytes", b.units[e.unit].uri(), maxKey))
	}
	if n := len(b.entries); n > 0 && b.entries[n-1].key == e.key {
		e.key = b.entries[n-1].key
	}
	b.text += int64(len(e.key)) // also where it is shared: the index has it with each image
	b.entries = append(room(b.entries), e)
	return b.fits()
}

// room doubles what is full: append adds a quarter to what is large, and leaves four times its size as garbage.
func room[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	return slices.Grow(s, max(len(s), 16))
}

// fits refuses keys and URIs that take more than the files can stand for.
func (b *builder) fits() error {
	if most := mostText(b.size); b.size > 0 && b.text > most {
		return corrupt("the keys of the images take more than %d bytes, out of %d bytes of files", most, b.size)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}

// join puts another builder's finds behind b's.
func (b *builder) join(o *builder) error {
	if len(b.entries)+len(o.entries) > maxImages {
		return errs.E("images", errs.Invalid, "", fmt.Errorf("more than %d images", maxImages))
	}
	shift := int32(len(b.units))
	b.units = append(b.units, o.units...)
	b.entries = slices.Grow(b.entries, len(o.entries))
	for _, e := range o.entries {
		e.unit += shift
		b.entries = append(b.entries, e)
	}
	b.bytes += o.bytes
	b.largest = max(b.largest, o.largest)
	b.text, b.size = b.text+o.text, b.size+o.size
	return nil
}

// index decides which images belong to which record.
func (b *builder) index(multiple string) *Index {
	x := &Index{units: b.units, entries: b.entries, Bytes: b.bytes, Largest: b.largest, Images: int64(len(b.entries))}
	if b.unique {
		x.mark()
		return x
	}
	group := make(map[string]int32, len(b.entries))
	place := make([]int32, len(b.entries)) // of each entry: the number of its record, by first appearance
	var sizes []int32                      // images of each record
	for i := range x.entries {
		e := &x.entries[i]
		if e.flags&isAside != 0 {
			place[i] = int32(len(sizes)) // stays between its neighbours
			sizes = append(sizes, 0)
			continue
		}
		g, seen := group[e.key]
		if !seen || multiple == First || multiple == "" {
			g = int32(len(sizes))
			sizes = append(sizes, 0)
		}
		if seen && (multiple == First || multiple == "") {
			e.flags, e.bad = isAside, b.flaw("duplicate-key", x.units[e.unit].uri()+": an earlier image has the same key, and stays")
			place[i] = g
			continue
		}
		group[e.key], place[i] = g, g
		if sizes[g]++; sizes[g] > MaxPerRecord && multiple != Keep {
			e.flags, e.bad = isAside, b.flaw("too-many-images", fmt.Sprintf("%s: of one record the first %d images count", x.units[e.unit].uri(), MaxPerRecord))
		}
	}
	x.arrange(place, len(sizes))
	x.mark()
	return x
}

// arrange brings the images of each record together, without changing the order within it.
func (x *Index) arrange(place []int32, groups int) {
	if slices.IsSorted(place) {
		return
	}
	start := make([]int, groups+1)
	for _, g := range place {
		start[g+1]++
	}
	for g := range groups {
		start[g+1] += start[g]
	}
	out := make([]entry, len(x.entries))
	for i, g := range place {
		out[start[g]] = x.entries[i]
		start[g]++
	}
	x.entries = out
}

// mark flags the first and last image of each record, and counts.
func (x *Index) mark() {
	before := -1
	n := int64(0)
	end := func() {
		if before < 0 {
			return
		}
		x.entries[before].flags |= isLast
		x.Records++
		if n > 1 {
			x.Several++
		}
		x.PerRecord = max(x.PerRecord, n)
	}
	for i := range x.entries {
		e := &x.entries[i]
		if e.flags&isAside != 0 {
			continue
		}
		if before < 0 || x.entries[before].key != e.key {
			end()
			e.flags |= isFirst
			n = 0
		}
		n++
		before = i
	}
	end()
}

// Larger counts the images whose files are known to have more than one number of bytes and at most another, and says how many the
// largest of them has.
func (x *Index) Larger(than, most int64) (n, largest int64) {
	for i := range x.entries {
		if e := &x.entries[i]; e.bad == nil && e.size > than && e.size <= most {
			n, largest = n+1, max(largest, e.size)
		}
	}
	return n, largest
}

// Listed is what is known of an image before anything is read of it.
type Listed struct {
	Key    string
	Record bool   // it belongs to a record, whose images follow each other
	Last   bool   // of its record
	Cause  string // why it cannot be used; "": nothing is known against it
	Error  string
}

// Listed gives all images in the index's order.
func (x *Index) Listed() iter.Seq[Listed] {
	return func(yield func(Listed) bool) {
		for i := range x.entries {
			e := &x.entries[i]
			l := Listed{Key: e.key, Record: e.flags&isAside == 0, Last: e.flags&isLast != 0}
			if e.bad != nil {
				l.Cause, l.Error = e.bad.Cause, e.bad.Error
			}
			if !yield(l) {
				return
			}
		}
	}
}
