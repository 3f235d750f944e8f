// Package checksum computes CRC32C (Castagnoli) over whole files, so that a reader can tell
// whether it has what the writer wrote. Every manifest of the engine carries such a sum.
package checksum

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/vista-mr/vista-mr/mr/errs"
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Sum is the checksum of b.
func Sum(b []byte) uint32 { return crc32.Checksum(b, table) }

// Update adds b to a checksum.
func Update(crc uint32, b []byte) uint32 { return crc32.Update(crc, table, b) }

// Writer passes bytes on and sums up those that were taken.
type Writer struct {
	w   io.Writer
	n   int64
	crc uint32
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes b and adds what was written to the sum.
func (w *Writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.crc = crc32.Update(w.crc, table, b[:n])
	w.n += int64(n)
	return n, err
}

// Sum is the checksum so far.
func (w *Writer) Sum() uint32 { return w.crc }

// N is the number of bytes so far.
func (w *Writer) N() int64 { return w.n }

// Verify reads size bytes of r and compares their checksum; a difference is errs.Corrupt.
func Verify(r io.ReaderAt, size int64, want uint32) error {
	if size < 0 {
		return errs.E("verify", errs.Corrupt, "", fmt.Errorf("a length of %d bytes", size))
	}
	buf := make([]byte, min(size, 256<<10))
	var crc uint32
	for off := int64(0); off < size; {
		n := min(size-off, int64(len(buf)))
		if k, err := r.ReadAt(buf[:n], off); int64(k) < n {
			if err == nil || err == io.EOF {
				return errs.E("verify", errs.Corrupt, "", fmt.Errorf("ends after %d bytes, want %d", off+int64(k), size))
			}
			return err
		}
		crc = crc32.Update(crc, table, buf[:n])
		off += n
	}
	if crc != want {
		return errs.E("verify", errs.Corrupt, "", fmt.Errorf("checksum is %08x, want %08x: the stored bytes are damaged", crc, want))
	}
	return nil
}
