package shuffle

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unsafe"
)

// entry is one buffered record: its place in its page, its partition, and the first bytes of
// its key, which decide most comparisons without touching the key.
type entry struct {
	prefix    uint64
	offset    uint32
	key       uint32 // length
	value     uint32 // length
	partition int32
}

const entryBytes = int(unsafe.Sizeof(entry{}))

// page is a piece of memory with records at its front and their entries at its back, so that
// few large and many small records use it alike, and what is held is what was allocated:
// nothing ever grows. A full page is sorted while it is still in the processor's cache.
type page struct {
	mem   []entry // all of the memory, aligned for entries
	data  []byte  // the records: the same memory from its front
	first int     // entries are mem[first:], the latest first until they are sorted
}

func newPage(bytes int) *page {
	p := &page{mem: make([]entry, (bytes+entryBytes-1)/entryBytes)}
	p.reset()
	return p
}

func (p *page) reset() {
	p.data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.mem))), p.size())[:0]
	p.first = len(p.mem)
}

func (p *page) size() int          { return len(p.mem) * entryBytes }
func (p *page) fits(need int) bool { return need <= p.first*entryBytes-len(p.data) }

func (p *page) add(partition int, key, value []byte) {
	p.first--
	p.mem[p.first] = entry{prefix: prefix(key), offset: uint32(len(p.data)),
		key: uint32(len(key)), value: uint32(len(value)), partition: int32(partition)}
	p.data = append(append(p.data, key...), value...)
}

func (p *page) key(e *entry) []byte { return p.data[e.offset : e.offset+e.key] }
func (p *page) val(e *entry) []byte {
	at := e.offset + e.key
	return p.data[at : at+e.value]
}

// prefix is the key's first 8 bytes as a number that compares as they do.
func prefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// sort orders the page by partition and key. Offsets grow as records are added, so that they
// decide ties by the order of emission.
func (p *page) sort() {
	slices.SortFunc(p.mem[p.first:], func(a, b entry) int {
		switch {
		case a.partition != b.partition:
			return int(a.partition) - int(b.partition)
		case a.prefix != b.prefix:
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		if c := bytes.Compare(p.key(&a), p.key(&b)); c != 0 {
			return c
		}
		if a.offset != b.offset {
			if a.offset < b.offset {
				return -1
			}
			return 1
		}
		// One of them is an empty record, which the other one's bytes follow.
		return int(a.key+a.value) - int(b.key+b.value)
	})
}

// sorted walks the records of sorted pages in order of partition and key; among equal keys
// earlier pages come first.
type sorted struct {
	heap []cursor
}

// cursor is a place in a page, with what most comparisons need at hand.
type cursor struct {
	partition int32
	order     int32 // of the page
	prefix    uint64
	at        *entry
	page      *page
	next      int // in page.mem
}

func newSorted(pages []*page) *sorted {
	s := &sorted{heap: make([]cursor, 0, len(pages))}
	for i, p := range pages {
		c := cursor{page: p, order: int32(i), next: p.first}
		if c.step() {
			s.heap = append(s.heap, c)
		}
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
	return s
}

// step moves to the page's next record.
func (c *cursor) step() bool {
	if c.next == len(c.page.mem) {
		return false
	}
	c.at = &c.page.mem[c.next]
	c.next++
	c.prefix, c.partition = c.at.prefix, c.at.partition
	return true
}

func (c *cursor) less(d *cursor) bool {
	if c.partition != d.partition {
		return c.partition < d.partition
	}
	if c.prefix != d.prefix {
		return c.prefix < d.prefix
	}
	if o := bytes.Compare(c.page.key(c.at), d.page.key(d.at)); o != 0 {
		return o < 0
	}
	return c.order < d.order
}

func (s *sorted) down(i int) {
	h := s.heap
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].less(&h[c]) {
			c++
		}
		if !h[c].less(&h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// done tells whether there is no record any more.
func (s *sorted) done() bool { return len(s.heap) == 0 }

// The current record. Key and value stay valid as long as the pages do.
func (s *sorted) partition() int32 { return s.heap[0].partition }
func (s *sorted) key() []byte      { return s.heap[0].page.key(s.heap[0].at) }
func (s *sorted) val() []byte      { return s.heap[0].page.val(s.heap[0].at) }

// at tells whether the current record is of a partition and key.
func (s *sorted) at(partition int32, key []byte) bool {
	return len(s.heap) > 0 && s.heap[0].partition == partition && bytes.Equal(s.key(), key)
}

// advance moves to the next record.
func (s *sorted) advance() {
	if !s.heap[0].step() {
		n := len(s.heap) - 1
		s.heap[0] = s.heap[n]
		s.heap = s.heap[:n]
	}
	s.down(0)
}
