package avro

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// cursor reads forward through an io.ReaderAt with a buffer, and always knows where it is.
type cursor struct {
	r    io.ReaderAt
	next int64 // offset of the first byte behind the buffer
	end  int64
	buf  []byte
	pos  int
	seen func([]byte) // told of all bytes that are read, in order; may be nil
}

func newCursor(r io.ReaderAt, start, end int64) *cursor {
	return &cursor{r: r, next: min(start, end), end: end}
}

func (c *cursor) offset() int64 { return c.next - int64(len(c.buf)-c.pos) }

// fill makes at least one byte available.
func (c *cursor) fill() error {
	if c.pos < len(c.buf) {
		return nil
	}
	n := min(c.end-c.next, readBuffer)
	if n <= 0 {
		return io.ErrUnexpectedEOF
	}
	if int64(cap(c.buf)) < n {
		c.buf = make([]byte, n)
	}
	c.buf, c.pos = c.buf[:n], 0
	got, err := c.readAt(c.buf)
	c.buf = c.buf[:got]
	if got > 0 && err == io.ErrUnexpectedEOF {
		return nil // shorter than it was said to be; what is there is good
	}
	return err
}

// readAt reads all of b from where the buffer ends.
func (c *cursor) readAt(b []byte) (int, error) {
	n, err := c.r.ReadAt(b, c.next)
	c.next += int64(n)
	if c.seen != nil {
		c.seen(b[:n])
	}
	switch {
	case n == len(b):
		return n, nil
	case err == nil || err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, &storeError{err}
}

// storeError is a failure of the store, as opposed to bytes that make no sense.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// full fills b.
func (c *cursor) full(b []byte) error {
	n := copy(b, c.buf[c.pos:])
	c.pos += n
	b = b[n:]
	if len(b) >= readBuffer { // large pieces need no buffer
		if c.end-c.next < int64(len(b)) {
			return io.ErrUnexpectedEOF
		}
		c.buf, c.pos = c.buf[:0], 0
		_, err := c.readAt(b)
		return err
	}
	for len(b) > 0 {
		if err := c.fill(); err != nil {
			return err
		}
		n := copy(b, c.buf[c.pos:])
		c.pos += n
		b = b[n:]
	}
	return nil
}

func (c *cursor) byte() (byte, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	c.pos++
	return c.buf[c.pos-1], nil
}

// long reads a zig-zag variable-length integer.
func (c *cursor) long() (int64, error) {
	var b [binary.MaxVarintLen64]byte
	for i := range b {
		x, err := c.byte()
		if err != nil {
			return 0, err
		}
		b[i] = x
		if x < 0x80 {
			v, n := binary.Varint(b[:i+1])
			if n != i+1 {
				return 0, errors.New("integer is too large")
			}
			return v, nil
		}
	}
	return 0, errors.New("integer is too long")
}

// bytes reads a length-prefixed value of at most limit bytes that are really there.
func (c *cursor) bytes(limit int64) ([]byte, error) {
	n, err := c.long()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > limit || n > c.end-c.offset() {
		return nil, fmt.Errorf("%d bytes announced, %d are left", n, c.end-c.offset())
	}
	b := make([]byte, n)
	return b, c.full(b)
}

// skipPast moves behind the next occurrence of marker and tells whether it ends before limit.
func (c *cursor) skipPast(marker []byte, limit int64) (bool, error) {
	var window []byte
	for {
		if c.offset()-int64(len(window)) >= limit {
			return false, nil
		}
		if err := c.fill(); err != nil {
			if c.next >= c.end && err == io.ErrUnexpectedEOF {
				return false, nil
			}
			return false, err
		}
		window = append(window, c.buf[c.pos:]...)
		c.pos = len(c.buf)
		if i := bytes.Index(window, marker); i >= 0 {
			end := c.next - int64(len(window)) + int64(i+len(marker))
			*c = *newCursor(c.r, end, c.end)
			return end < limit, nil
		}
		if keep := len(marker) - 1; len(window) > keep {
			window = append(window[:0], window[len(window)-keep:]...)
		}
	}
}
