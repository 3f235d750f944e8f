package shuffle

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/golang/snappy"

	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const (
	blockBytes = 64 << 10
	blockHead  = 12
	// maxBlock bounds what a reader allocates for one block; a record may be larger than
	// blockBytes, and then has a block of its own.
	maxBlock = 1 << 30
	// keepBytes is the largest buffer that a segmentWriter keeps.
	keepBytes = 4 * blockBytes
	// maxRecord leaves room for the lengths, for the tag of an intermediate run, and for the
	// records in front of it in its block.
	maxRecord = maxBlock - 2*blockBytes
	// snappyRatio is more than Snappy can pack: its best is 64 bytes in 3.
	snappyRatio = 22
)

// segmentWriter writes one segment.
type segmentWriter struct {
	w      io.Writer
	raw    []byte
	packed []byte
	seg    Segment
}

func (s *segmentWriter) start(partition int, offset int64) {
	s.seg = Segment{Partition: partition, Offset: offset}
	s.raw = s.raw[:0]
}

func (s *segmentWriter) add(key, value []byte) error { return s.addTagged(key, nil, value) }

// addTagged adds a record whose value has a tag in front.
func (s *segmentWriter) addTagged(key, tag, value []byte) error {
	s.raw = binary.AppendUvarint(s.raw, uint64(len(key)))
	s.raw = binary.AppendUvarint(s.raw, uint64(len(tag)+len(value)))
	s.raw = append(s.raw, key...)
	s.raw = append(s.raw, tag...)
	s.raw = append(s.raw, value...)
	s.seg.Records++
	if len(s.raw) < blockBytes {
		return nil
	}
	err := s.flush()
	if cap(s.raw) > keepBytes { // a large record's memory is not kept for small ones
		s.raw, s.packed = nil, nil
	}
	return err
}

func (s *segmentWriter) flush() error {
	if len(s.raw) == 0 {
		return nil
	}
	if n := blockHead + snappy.MaxEncodedLen(len(s.raw)); cap(s.packed) < n {
		s.packed = make([]byte, n)
	}
	body := snappy.Encode(s.packed[blockHead:cap(s.packed)], s.raw)
	block := s.packed[:blockHead+len(body)]
	binary.LittleEndian.PutUint32(block[0:], uint32(len(body)))
	binary.LittleEndian.PutUint32(block[4:], uint32(len(s.raw)))
	crc := checksum.Update(checksum.Sum(block[:8]), body)
	binary.LittleEndian.PutUint32(block[8:], crc)
	if _, err := s.w.Write(block); err != nil {
		return errs.E("shuffle", errs.KindOf(err), "", err)
	}
	s.seg.Block = max(s.seg.Block, int64(len(s.raw)))
	s.seg.Bytes += int64(len(block))
	s.seg.RawBytes += int64(len(s.raw))
	s.seg.CRC = checksum.Update(s.seg.CRC, block)
	s.raw = s.raw[:0]
	return nil
}

// finish ends the last block and returns the segment.
func (s *segmentWriter) finish() (Segment, error) {
	err := s.flush()
	return s.seg, err
}

// run reads one segment, record by record.
type run struct {
	src   Source
	order int // among the runs of a merge; decides ties
	off   int64
	crc   uint32
	seen  int64
	head  [blockHead]byte // of the block at off
	read  bool            // whether head has been read
	block []byte          // unpacked records, from the next one on
	whole []byte          // memory of block
	stage *[]byte         // memory of stored bytes, shared by the runs of a merge
	key   []byte
	value []byte

	prefix uint64 // of key
	tag    int    // index of the source that the current record came from
	mixed  bool   // an intermediate run: values begin with their tag
}

// advance moves to the next record as a merge sees it.
func (r *run) advance() (bool, error) {
	ok, err := r.next()
	if !ok || err != nil {
		return false, err
	}
	r.prefix = prefix(r.key)
	if r.mixed {
		tag, n := binary.Uvarint(r.value)
		if n <= 0 {
			return false, r.corrupt("a record has no tag")
		}
		r.tag, r.value = int(tag), r.value[n:]
	}
	return true, nil
}

func appendTag(dst []byte, tag int) []byte { return binary.AppendUvarint(dst, uint64(tag)) }

func (r *run) corrupt(format string, args ...any) error {
	return errs.E("shuffle", errs.Corrupt, r.src.Name, fmt.Errorf(format, args...))
}

// next moves to the next record; false at the end.
func (r *run) next() (bool, error) {
	if len(r.block) == 0 {
		if r.off == r.src.Seg.Bytes {
			if r.seen != r.src.Seg.Records || r.crc != r.src.Seg.CRC {
				return false, r.corrupt("segment of partition %d: %d records and checksum %08x, want %d and %08x",
					r.src.Seg.Partition, r.seen, r.crc, r.src.Seg.Records, r.src.Seg.CRC)
			}
			if r.src.Done != nil {
				return false, r.src.Done()
			}
			return false, nil
		}
		if err := r.unpack(); err != nil {
			return false, err
		}
	}
	k, n := binary.Uvarint(r.block)
	if n <= 0 {
		return false, r.corrupt("a record is damaged")
	}
	v, m := binary.Uvarint(r.block[n:])
	rest := r.block[n+max(m, 0):]
	if m <= 0 || k > uint64(len(rest)) || v > uint64(len(rest))-k {
		return false, r.corrupt("a record is damaged")
	}
	r.key, r.value, r.block = rest[:k], rest[k:k+v], rest[k+v:]
	r.seen++
	return true, nil
}

// unpack reads and unpacks the next block. It reads the head of the block behind it with it, so
// that each block costs the store one request.
func (r *run) unpack() error {
	if !r.read {
		if err := r.readAt(r.head[:]); err != nil {
			return err
		}
	}
	head := r.head
	stored, raw := int64(binary.LittleEndian.Uint32(head[0:])), int64(binary.LittleEndian.Uint32(head[4:]))
	left := r.src.Seg.Bytes - r.off
	// Nothing is allocated for a length that no block of this segment can have.
	limit := int64(maxBlock)
	if r.src.Seg.Block > 0 {
		limit = min(limit, r.src.Seg.Block)
	}
	if stored > left || raw == 0 || raw > limit || raw > snappyRatio*stored || stored > int64(snappy.MaxEncodedLen(int(raw))) {
		return r.corrupt("block of %d bytes, %d unpacked, where %d are left", stored, raw, left)
	}
	at, n := r.src.Seg.Offset+r.off, stored
	if r.read = left-stored >= blockHead; r.read {
		n += blockHead
	}
	*r.stage = sized(*r.stage, int(n))
	if err := r.readAt(*r.stage); err != nil {
		return err
	}
	body := (*r.stage)[:stored]
	copy(r.head[:], (*r.stage)[stored:])
	if crc := checksum.Update(checksum.Sum(head[:8]), body); crc != binary.LittleEndian.Uint32(head[8:]) {
		return r.corrupt("block checksum differs at offset %d", at)
	}
	size, err := snappy.DecodedLen(body)
	if err != nil || int64(size) != raw {
		return r.corrupt("block unpacks to %d bytes, want %d", size, raw)
	}
	r.whole = sized(r.whole, size)
	if r.block, err = snappy.Decode(r.whole, body); err != nil {
		return r.corrupt("block: %w", err)
	}
	return nil
}

// readAt fills b from the segment and sums it up.
func (r *run) readAt(b []byte) error {
	if int64(len(b)) > r.src.Seg.Bytes-r.off {
		return r.corrupt("ends in the middle of a block")
	}
	n, err := r.src.R.ReadAt(b, r.src.Seg.Offset+r.off)
	if n < len(b) {
		if err == nil || err == io.EOF { // any other error is the store's, and keeps its kind
			return r.corrupt("ends after %d bytes of %d", r.off+int64(n), r.src.Seg.Bytes)
		}
		return errs.E("shuffle", errs.KindOf(err), r.src.Name, err)
	}
	r.off += int64(n)
	r.crc = checksum.Update(r.crc, b)
	return nil
}

// sized makes b n bytes long. A little more is taken, because blocks differ by a record.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/32)
	}
	return b[:n]
}
