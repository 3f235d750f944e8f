package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Delimiters that are looked for, the more usual ones first. A colon stands in times and paths: it
// counts only where there is nothing else.
const (
	delimiters = ",\t;|"
	rare       = ":"
)

// Bounds of what n bytes of a compressed file may unpack to: maxRatio*n or longUnpacked+longRatio*n bytes, whichever is
// less, or freeUnpacked if that is more, and freeRows+rowsPerByte*n lines or records. Tables that are written out
// unpack to 3 to 10 times as much, at the most to 100 with many empty or equal cells, and take bytes for each row, as
// its key is in no other. What goes beyond is a trap: deflate can reach a thousand times.
const (
	freeUnpacked = 64 << 20
	maxRatio     = 200
	longUnpacked = 4 << 30
	longRatio    = 20
	freeRows     = 1 << 20
	rowsPerByte  = 4
)

// mayUnpack is how many bytes n bytes may unpack to.
func mayUnpack(n int64) int64 {
	return max(freeUnpacked, min(maxRatio*n, longUnpacked+longRatio*n))
}

// csvFile is a CSV file being read.
type csvFile struct {
	path   string
	file   dfs.File
	gz     *gzip.Reader // nil: not compressed
	csv    *csvReader
	schema *Schema
}

func openCSV(f dfs.File, path, format, delimiter string) (*csvFile, error) {
	c := &csvFile{path: path, file: f}
	var in io.Reader = io.NewSectionReader(f, 0, f.Size())
	if format == GzipCSV {
		u := &unpacked{packed: in}
		gz, err := gzip.NewReader(bufio.NewReader(readerFunc(u.take)))
		if err != nil {
			return nil, damaged(c.path, "the gzipped file", gzipKind(err))
		}
		c.gz, u.out = gz, gz
		in = u
	}
	c.csv = newCSVReader(in, ',')
	return c, c.begin(delimiter)
}

// begin looks at the first line: what the text is, and its delimiter.
func (c *csvFile) begin(delimiter string) error {
	r := c.csv
	for len(r.buf) < 16 && r.fill() { // enough to know a format by
	}
	if c.gz != nil {
		format, err := formatOf(r.buf, c.path)
		if err != nil {
			return err
		}
		if format != CSV {
			return &FormatError{Path: c.path, Problem: "the file is gzipped, and what is in it is not CSV", Fix: "unpack it: Parquet and Avro files are compressed inside"}
		}
	}
	if bytes.HasPrefix(r.buf, []byte("\xef\xbb\xbf")) {
		r.pos = 3
	}
	n, ok := r.lineEnd(0)
	if !ok && (n > 0 || r.eof != nil && r.eof != io.EOF) {
		return c.failure(r.ended(n))
	}
	line := trim(r.buf[r.pos : r.pos+n])
	if bytes.IndexByte(line, 0) >= 0 {
		return &FormatError{Path: c.path, Problem: "the file is not text, and no table that can be read: CSV, gzipped CSV, Parquet and Avro are", Fix: "set table.uri to the table's file"}
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return &FormatError{Path: c.path, Problem: "its lines end in CR alone", Fix: "convert it: tr '\\r' '\\n'"}
	}
	switch delimiter {
	case "", "auto":
		r.comma = findDelimiter(line)
	case "tab":
		r.comma = '\t'
	default:
		r.comma = delimiter[0]
	}
	return nil
}

// findDelimiter is the delimiter that stands most often in a line outside quotes; of equals the
// more usual one.
func findDelimiter(line []byte) byte {
	var count [256]int
	quoted := false
	for _, b := range line {
		switch {
		case b == '"':
			quoted = !quoted
		case !quoted:
			count[b]++
		}
	}
	best := delimiters[0]
	for _, d := range []byte(delimiters) {
		if count[d] > count[best] {
			best = d
		}
	}
	if count[best] == 0 && count[rare[0]] > 0 {
		best = rare[0]
	}
	return best
}

// columns reads the header, or makes names where there is none.
func (c *csvFile) columns(noHeader bool) ([]string, error) {
	fail := func(problem, fix string) ([]string, error) {
		return nil, &HeaderError{Path: c.path, Line: true, Problem: problem, Fix: fix}
	}
	err := c.csv.read()
	switch {
	case err == io.EOF:
		return fail("the file is empty", "the first line must name the columns")
	case errors.Is(err, errBareQuote), errors.Is(err, errQuote), errors.Is(err, errOpen):
		return fail(err.Error(), fmt.Sprintf("the first line must name the columns, separated by %q", c.csv.comma))
	case err != nil:
		return nil, c.failure(err)
	}
	if c.csv.count > maxColumns {
		return fail(fmt.Sprintf("%d columns, more than %d", c.csv.count, maxColumns), "this is no table of features")
	}
	if noHeader {
		out := make([]string, c.csv.count)
		for i := range out {
			out[i] = fmt.Sprintf("c%d", i+1)
		}
		return out, nil
	}
	seen := map[string]bool{}
	var out []string
	for _, f := range c.csv.fields {
		name := string(f)
		if !utf8.ValidString(name) {
			return fail(fmt.Sprintf("column %q is not UTF-8", Shown(name, maxShownName)), "convert the file, for example: iconv -f LATIN1 -t UTF-8")
		}
		if seen[name] {
			return fail(fmt.Sprintf("column %q stands there twice", Shown(name, maxShownName)), "give every column a name of its own")
		}
		seen[name] = true
		out = append(out, name)
	}
	return out, nil
}

// use says how records are to be read from here on.
func (c *csvFile) use(s *Schema) error {
	c.schema = s
	c.csv.most = len(s.Columns) + 1
	if s.NoHeader {
		return nil
	}
	columns, err := c.columns(false)
	if err != nil || slices.Equal(columns, s.Columns) {
		return err
	}
	return &HeaderError{Path: c.path, Line: true, Problem: "its header differs from that of the table's first file: " + firstDifference(columns, s.Columns),
		Fix: "give all files of the table the same columns in the same order"}
}

func firstDifference(got, want []string) string {
	show := func(name string) string { return Shown(name, maxShownName) }
	for i, w := range want {
		switch {
		case i >= len(got):
			return fmt.Sprintf("column %d, %q, is missing", i+1, show(w))
		case got[i] != w:
			return fmt.Sprintf("column %d is %q, not %q", i+1, show(got[i]), show(w))
		}
	}
	return fmt.Sprintf("column %d, %q, is new", len(want)+1, show(got[min(len(want), len(got)-1)]))
}

func (c *csvFile) next(row *Row) (*Bad, error) {
	err := c.csv.read()
	row.Line = c.csv.line
	switch {
	case err == nil:
	case errors.Is(err, errBareQuote), errors.Is(err, errQuote), errors.Is(err, errOpen):
		return c.bad("quote", err), nil
	case err == io.EOF:
		return nil, io.EOF
	default:
		return nil, c.failure(err)
	}
	if n := len(c.schema.Columns); c.csv.count != n {
		b := c.bad("ragged", fmt.Errorf("%d fields, the %s has %d", c.csv.count, map[bool]string{false: "header", true: "first line"}[c.schema.NoHeader], n))
		if c.schema.Key < len(c.csv.fields) {
			b.setKey(trimName(c.csv.fields[c.schema.Key]))
		}
		return b, nil
	}
	if utf8.Valid(c.csv.raw) {
		return nil, nil
	}
	for i, f := range c.csv.fields {
		if !utf8.Valid(f) {
			b := c.bad("encoding", fmt.Errorf("column %q is not UTF-8: convert the file, for example: iconv -f LATIN1 -t UTF-8", c.schema.name(i)))
			b.setKey(trimName(c.csv.fields[c.schema.Key]))
			return b, nil
		}
	}
	return nil, nil
}

func (c *csvFile) bad(cause string, err error) *Bad {
	return &Bad{Line: c.csv.line, Cause: cause, Unit: c.unit(), Err: err}
}

func (c *csvFile) unit() string { return "line" }

func (c *csvFile) text(i int) ([]byte, bool) {
	f := c.csv.fields[i]
	return f, missingText(f)
}

func (c *csvFile) label(i int) []byte { return c.csv.fields[i] }

func (c *csvFile) number(i int) (v float64, missing, ok bool) { return parseNumber(c.csv.fields[i]) }

func (c *csvFile) show(i int) string { return string(c.csv.fields[i]) }

func (c *csvFile) close() error {
	if c.gz != nil {
		return errors.Join(c.gz.Close(), c.file.Close())
	}
	return c.file.Close()
}

// failure is an error that ends the reading of the file.
func (c *csvFile) failure(err error) error {
	var fe *FormatError
	switch {
	case errors.As(err, &fe):
		fe.Path = c.path
		return fe
	case c.gz != nil:
		return damaged(c.path, "the gzipped file", gzipKind(err))
	case errs.KindOf(err) == errs.Unknown:
		return &FormatError{Path: c.path, Problem: err.Error(), Fix: "set table.uri to the table's file"}
	}
	return errs.E("read", errs.KindOf(err), c.path, err)
}

// gzipKind tells damage from a store's failure.
func gzipKind(err error) error {
	if errs.KindOf(err) == errs.Unknown || errors.Is(err, io.ErrUnexpectedEOF) {
		return errs.E("gzip", errs.Corrupt, "", err)
	}
	return err
}

// unpacked bounds what comes out of a compressed file by what has gone in so far: so a large file that is a trap is found
// out as soon as a small one.
type unpacked struct {
	packed, out io.Reader
	in, n       int64
	lines       int64 // in what came out; blank ones take time, too
}

// take passes on what is to be unpacked.
func (u *unpacked) take(p []byte) (int, error) {
	n, err := u.packed.Read(p)
	u.in += int64(n)
	return n, err
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.out.Read(p)
	u.n += int64(n)
	u.lines += int64(bytes.Count(p[:n], []byte{'\n'}))
	// No bytes come with these errors: one that comes with some is only seen at the next read, or never.
	const fix = "unpack the file, if it is what you think it is"
	if most := mayUnpack(u.in); u.n > most {
		return 0, &FormatError{Problem: fmt.Sprintf("%d bytes of it unpack to more than %d", u.in, most), Fix: fix}
	}
	if most := freeRows + rowsPerByte*u.in; u.lines > most {
		return 0, &FormatError{Problem: fmt.Sprintf("%d bytes of it unpack to more than %d lines", u.in, most), Fix: fix}
	}
	return n, err
}

// readerFunc is a function as a reader.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// peekCSV opens a CSV file to look at it.
func peekCSV(ctx context.Context, fs dfs.FS, p dfs.Path, format, delimiter string) (*csvFile, error) {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	c, err := openCSV(f, dfs.Name(fs, p), format, delimiter)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

// delimiterName is how messages call a delimiter.
func delimiterName(d string) string {
	switch d {
	case "\t":
		return "tab"
	case ",":
		return "comma"
	case ";":
		return "semicolon"
	case ":":
		return "colon"
	}
	return d
}
