package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// maxRecord bounds a line, and a record whose quotes go over lines.
	maxRecord = 16 << 20
	// maxLines bounds the lines of a record: a quote that somebody forgot to close must not swallow the good rows behind it.
	maxLines = 1000
	// maxColumns bounds what a header may announce.
	maxColumns = 100_000
	csvBuffer  = 64 << 10 // at first; it grows to the longest record
)

// The reasons why a line is no record.
var (
	errBareQuote = errors.New("a quote inside a cell that does not begin with one")
	errQuote     = errors.New("text behind a closing quote")
	errOpen      = fmt.Errorf("a quote that is not closed (looked for in %d lines at most)", maxLines)
)

// csvReader cuts text into records: by RFC 4180, with any one-byte delimiter, with lines that end in
// LF or CRLF, and with blank lines left out. That is what encoding/csv reads, with two differences: after
// a line that is no record it goes on with the next line, so that one stray quote costs one row and not
// the rest of the file; and what it holds in memory is bounded.
type csvReader struct {
	in     io.Reader
	comma  byte
	most   int // fields that are kept of a record; others are counted
	buf    []byte
	pos    int // of what was not read yet
	eof    error
	line   int // of the record that was read last
	next   int // line at pos
	fields [][]byte
	raw    []byte // all the text of the fields, in one piece
	count  int    // fields of the record, those that were not kept included
	text   []byte
	ends   []int
}

func newCSVReader(in io.Reader, comma byte) *csvReader {
	return &csvReader{in: in, comma: comma, most: maxColumns + 1, next: 1}
}

// fill reads more text behind what is there. It answers false at the end, or when the record at
// pos has become too long.
func (r *csvReader) fill() bool {
	if r.eof != nil {
		return false
	}
	if r.pos > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.pos:])]
		r.pos = 0
	}
	if len(r.buf) == cap(r.buf) {
		if len(r.buf) >= maxRecord {
			return false
		}
		r.buf = append(make([]byte, 0, max(csvBuffer, 2*cap(r.buf))), r.buf...)
	}
	n, err := io.ReadAtLeast(r.in, r.buf[len(r.buf):cap(r.buf)], 1)
	r.buf = r.buf[:len(r.buf)+n]
	if err != nil {
		r.eof = err
	}
	return n > 0
}

// lineEnd is the length of the line at pos+from, its LF included. Without an LF it is the rest of the
// file; ok is false if there is nothing, or no end in sight.
func (r *csvReader) lineEnd(from int) (n int, ok bool) {
	at := from
	for {
		if i := bytes.IndexByte(r.buf[r.pos+at:], '\n'); i >= 0 {
			return at + i + 1 - from, true
		}
		at = len(r.buf) - r.pos
		if !r.fill() {
			return at - from, at > from && r.eof == io.EOF
		}
	}
}

// read reads the next record into fields, which are valid until the next call. An error other
// than io.EOF is either of the record alone, one of the three above, or of the file.
func (r *csvReader) read() error {
	for {
		n, ok := r.lineEnd(0)
		if !ok {
			return r.ended(n)
		}
		if len(trim(r.buf[r.pos:r.pos+n])) == 0 {
			r.pos += n
			r.next++
			continue
		}
		r.line = r.next
		return r.record(n)
	}
}

// ended is why there is no further line.
func (r *csvReader) ended(left int) error {
	switch {
	case r.eof != nil && r.eof != io.EOF:
		return r.eof
	case left > 0:
		return fmt.Errorf("line %d has more than %d MiB: this is not a CSV table", r.next, maxRecord>>20)
	}
	return io.EOF
}

// trim takes the end of a line off.
func trim(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// record reads the record whose first line has n bytes.
func (r *csvReader) record(n int) error {
	r.fields, r.text, r.count = r.fields[:0], r.text[:0], 0
	line := trim(r.buf[r.pos : r.pos+n])
	if bytes.IndexByte(line, '"') < 0 {
		r.plain(line)
		r.raw = line
		r.pos += n
		r.next++
		return nil
	}
	used, lines, err := r.quoted(n)
	if err != nil {
		r.pos += n // the line alone is lost
		r.next++
		return err
	}
	r.pos += used
	r.next += lines
	r.raw = r.text
	return nil
}

// plain cuts a line without quotes.
func (r *csvReader) plain(line []byte) {
	for {
		i := bytes.IndexByte(line, r.comma)
		if i < 0 {
			r.add(line)
			return
		}
		r.add(line[:i])
		line = line[i+1:]
	}
}

func (r *csvReader) add(field []byte) {
	if r.count++; r.count <= r.most {
		r.fields = append(r.fields, field)
	}
}

// quoted reads a record with quotes. Cells are put together in r.text, because lines move when
// more are read; the record ends with the line in which no quote is open.
func (r *csvReader) quoted(n int) (used, lines int, err error) {
	r.ends = r.ends[:0]
	line := trim(r.buf[r.pos : r.pos+n])
	used, lines = n, 1
	for {
		if len(line) == 0 || line[0] != '"' {
			i := bytes.IndexByte(line, r.comma)
			cell := line
			if i >= 0 {
				cell = line[:i]
			}
			if bytes.IndexByte(cell, '"') >= 0 {
				return 0, 0, errBareQuote
			}
			r.text = append(r.text, cell...)
			r.end()
			if i < 0 {
				break
			}
			line = line[i+1:]
			continue
		}
		line = line[1:]
		for {
			i := bytes.IndexByte(line, '"')
			if i < 0 { // the cell goes on in the next line
				r.text = append(append(r.text, line...), '\n')
				more, ok := r.lineEnd(used)
				if !ok || lines == maxLines || used+more > maxRecord {
					return 0, 0, errOpen
				}
				line = trim(r.buf[r.pos+used : r.pos+used+more])
				used += more
				lines++
				continue
			}
			r.text = append(r.text, line[:i]...)
			line = line[i+1:]
			if len(line) > 0 && line[0] == '"' {
				r.text = append(r.text, '"')
				line = line[1:]
				continue
			}
			break
		}
		r.end()
		if len(line) == 0 {
			break
		}
		if line[0] != r.comma {
			return 0, 0, errQuote
		}
		line = line[1:]
	}
	at := 0
	for _, end := range r.ends {
		r.fields = append(r.fields, r.text[at:end])
		at = end
	}
	return used, lines, nil
}

// end ends a cell in r.text.
func (r *csvReader) end() {
	if r.count++; r.count <= r.most {
		r.ends = append(r.ends, len(r.text))
	}
}
