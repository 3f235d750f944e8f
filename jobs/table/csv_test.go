package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// cut reads all records; what is no record is its line and error.
func cut(text string, comma byte) ([]string, error) {
	r := newCSVReader(iotest.HalfReader(strings.NewReader(text)), comma)
	var out []string
	for {
		err := r.read()
		switch {
		case errors.Is(err, errBareQuote), errors.Is(err, errQuote), errors.Is(err, errOpen):
			out = append(out, fmt.Sprintf("%d: %v", r.line, err))
		case err == io.EOF:
			return out, nil
		case err != nil:
			return out, err
		default:
			if r.count != len(r.fields) {
				return nil, fmt.Errorf("%d fields, %d kept", r.count, len(r.fields))
			}
			out = append(out, fmt.Sprintf("%d: %q", r.line, r.fields))
		}
	}
}

func TestRecords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"\n\r\n\n", ""},
		{"a,b", `1: ["a" "b"]`},
		{"a,b\n\nc\n", `1: ["a" "b"]|3: ["c"]`},
		{",\n,,", `1: ["" ""]|2: ["" "" ""]`},
		{"\"a\nb\",c\nd", `1: ["a\nb" "c"]|3: ["d"]`},
		{"\"a\r\nb\",c\r\nd\r", `1: ["a\nb" "c"]|3: ["d"]`},
		{`"a""b","",""""`, `1: ["a\"b" "" "\""]`},
		// A stray quote costs its line and nothing else.
		{"1,5\" screen\n2,b", `1: a quote inside a cell that does not begin with one|2: ["2" "b"]`},
		{"1,\"big\" one\n2,b", `1: text behind a closing quote|2: ["2" "b"]`},
		{"1,\"open\n2,b\n3,c", `1: a quote that is not closed (looked for in 1000 lines at most)|2: ["2" "b"]|3: ["3" "c"]`},
		{"1,\"open\n2,\"b\"\n3,c", `1: text behind a closing quote|2: ["2" "b"]|3: ["3" "c"]`},
	} {
		got, err := cut(c.text, ',')
		if s := strings.Join(got, "|"); s != c.want || err != nil {
			t.Errorf("%q is %s, %v; want %s", c.text, s, err, c.want)
		}
	}
}

// agree compares with encoding/csv up to its first error, from which on the two differ on purpose.
func agree(t *testing.T, text string, comma byte) {
	t.Helper()
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord = rune(comma), -1
	var want []string
	var failed error
	for {
		rec, err := r.Read()
		if err != nil {
			if err != io.EOF {
				failed = err
			}
			break
		}
		if strings.Count(strings.Join(rec, ""), "\n") >= maxLines {
			failed = errOpen // encoding/csv has no bound
			break
		}
		line, _ := r.FieldPos(0)
		want = append(want, fmt.Sprintf("%d: %q", line, rec))
	}
	got, err := cut(text, comma)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if failed == nil && !slices.Equal(got, want) || failed != nil && (len(got) <= len(want) || !slices.Equal(got[:len(want)], want) || strings.Contains(got[len(want)], "[")) {
		t.Fatalf("%q cut by %q:\ngot  %q\nwant %q, then %v", text, comma, got, want, failed)
	}
}

func TestRecordsAreThoseOfEncodingCSV(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 15_000 {
		b := make([]byte, rnd.IntN(24))
		for i := range b {
			b[i] = "ab,;\"\"\"\n\n\r "[rnd.IntN(11)]
		}
		agree(t, string(b), ",;"[rnd.IntN(2)])
	}
}

func FuzzRecords(f *testing.F) {
	for _, s := range []string{"a,b\n1,\"2\n3\"\n", "\"\"\"\",\r\n\r\n;", "1,\"a\n2,\"b\"\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { agree(t, text, ',') })
}

// A file that breaks off has no last line.
func TestAStoreThatFails(t *testing.T) {
	gone := errors.New("the disk is gone")
	r := newCSVReader(io.MultiReader(strings.NewReader("a,1\nb,12"), iotest.ErrReader(gone)), ',')
	if err := r.read(); err != nil || string(r.fields[0]) != "a" {
		t.Fatalf("the first line: %q, %v", r.fields, err)
	}
	for range 2 {
		if err := r.read(); err != gone {
			t.Errorf("behind it: %v, want %v", err, gone)
		}
	}
}

func TestDelimiters(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"id,label,x", ","}, {"id\tlabel\tx", "\t"}, {"id;label;x", ";"}, {"id|label|x", "|"}, {"id:label:x", ":"},
		{`id;"a,b,c,d";x`, ";"}, {"id,time:utc:iso,x", ","}, {"id", ","}, {`"a;b`, ","}, {"a,b;c", ","},
	} {
		if got := string(findDelimiter([]byte(c.line))); got != c.want {
			t.Errorf("%q is cut by %q, want %q", c.line, got, c.want)
		}
	}
	for _, d := range []struct{ name, char string }{{"auto", ","}, {"auto", "\t"}, {"tab", "\t"}, {"|", "|"}, {":", ":"}, {";", ";"}} {
		fs := store(t, map[string]string{"t": strings.ReplaceAll("id,x,label\na,1,p\nb,\"2\",q\n", ",", d.char)})
		s := inspect(t, fs, "t", Spec{Delimiter: d.name})
		if got := lines(t, fs, s, "t"); s.Delimiter != d.char || !slices.Equal(got, []string{"2 a p 1", "3 b q 2"}) {
			t.Errorf("%+v: cut by %q: %v", d, s.Delimiter, got)
		}
	}
}

func TestWithoutHeader(t *testing.T) {
	fs := store(t, map[string]string{"a.csv": "a,1,p\nb,2,q\n", "b.csv": "c,3,p\nd,4\n"})
	s := inspect(t, fs, "a.csv", Spec{Key: "c1", Label: "c3", NoHeader: true})
	if got, want := lines(t, fs, s, "a.csv", "b.csv"), []string{"1 a p 1", "2 b q 2", "1 c p 3", "bad 2 d ragged"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, err := Inspect(t.Context(), fs, []dfs.Path{"a.csv"}, Spec{Key: "identifier", Label: "c3", NoHeader: true})
	var h *HeaderError
	if !errors.As(err, &h) || !strings.Contains(h.Hint(), "c1, c2, c3") {
		t.Errorf("a name where there are none: %v", err)
	}
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGzipGoesByContent(t *testing.T) {
	text := "\xef\xbb\xbfid,x,label\r\na,1,p\r\n"
	two := gzipped(t, text) + gzipped(t, "b,2,q\n") // as cat makes of two files
	fs := store(t, map[string]string{"t.csv": two, "u.csv.gz": "id,x,label\nc,3,p\n"})
	s := inspect(t, fs, "t.csv", Spec{})
	if got, want := lines(t, fs, s, "t.csv", "u.csv.gz"), []string{"2 a p 1", "3 b q 2", "2 c p 3"}; !slices.Equal(got, want) || s.Format != GzipCSV {
		t.Errorf("got %v, want %v", got, want)
	}
}

// endless is a file of one byte repeated.
type endless struct {
	dfs.File
	n int64
	b byte
}

func (e *endless) Size() int64  { return e.n }
func (e *endless) Close() error { return nil }
func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), e.n-off))
	for i := range n {
		p[i] = e.b
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestHostileText(t *testing.T) {
	// A line that never ends.
	_, err := openCSV(&endless{n: 1 << 30, b: 'x'}, "t.csv", CSV, ",")
	if err == nil || !strings.Contains(err.Error(), "line 1 has more than 16 MiB") {
		t.Errorf("a line of a GiB: %v", err)
	}
	// A cell may have many lines, but not any number: one that is not closed costs its own line and no other.
	whole := "1,\"" + strings.Repeat("b\n", maxLines-1) + "c\"\n2,d\n"
	r := newCSVReader(strings.NewReader(whole), ',')
	if err := r.read(); err != nil || len(r.fields[1]) != 2*maxLines-1 {
		t.Errorf("a cell of %d lines: %v", maxLines, err)
	}
	r = newCSVReader(strings.NewReader("0,a\n1,\"open\n"+strings.Repeat("2,b\n", maxLines)+"3,\"x\"\n"), ',')
	if err := errors.Join(r.read(), r.read()); !errors.Is(err, errOpen) || r.line != 2 {
		t.Errorf("a cell of more lines: %v at line %d, want it at line 2", err, r.line)
	}
	if err := r.read(); err != nil || string(r.fields[0]) != "2" || r.line != 3 {
		t.Errorf("behind it: %q at line %d, %v", r.fields, r.line, err)
	}
	// A quote that is not closed for more than memory should hold: one bad line, and on it goes.
	long := "1,\"open\n" + strings.Repeat("2,b"+strings.Repeat(" ", 32<<10)+"\n", 640) // 20 MiB
	r = newCSVReader(strings.NewReader(long), ',')
	if err := r.read(); !errors.Is(err, errOpen) {
		t.Errorf("an open quote: %v", err)
	}
	n := 0
	for n < 640 && r.read() == nil && string(r.fields[0]) == "2" {
		n++
	}
	if n != 640 || r.line != 641 || cap(r.buf) > 2*maxRecord {
		t.Errorf("%d records behind it, at line %d, a buffer of %d bytes", n, r.line, cap(r.buf))
	}
	// 72 MB in some hundred kilobytes.
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	chunk := []byte(strings.Repeat("a,1,"+strings.Repeat("p", 4000)+"\n", 100))
	if _, err := w.Write([]byte("id,x,label\n")); err != nil {
		t.Fatal(err)
	}
	for range 180 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fs := store(t, map[string]string{"bomb.csv": b.String()})
	s := inspect(t, fs, "bomb.csv", Spec{})
	var last error
	for _, err := range Read(t.Context(), fs, []dfs.Path{"bomb.csv"}, s) {
		last = err
	}
	var fe *FormatError
	if !errors.As(last, &fe) || !strings.Contains(fe.Error(), "bomb.csv: ") || !strings.Contains(fe.Error(), "unpack to more than") {
		t.Errorf("a bomb: %v", last)
	}
	// It is found out where it becomes one, not at its end.
	u := &unpacked{packed: iotest.HalfReader(strings.NewReader(b.String()))}
	gz, err := gzip.NewReader(bufio.NewReader(readerFunc(u.take)))
	if err != nil {
		t.Fatal(err)
	}
	u.out = gz
	bomb := newCSVReader(u, ',')
	for err == nil {
		err = bomb.read()
	}
	if !errors.As(err, &fe) || u.n > freeUnpacked+1<<20 {
		t.Errorf("a bomb, after %d bytes: %v", u.n, err)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []string{"1", "-1", "0", "-0", "1.", ".5", "-.5", ".", "-", "", "1.2.3", "9007199254740991", "9007199254740993", "123456789012345678", "0.123456789012345678", "1e5", "1E-5", "+3", " 4 ", "\t5",
		"0x1p-2", "1_000", "inf", "-Infinity", "1e999", "12345678901234567890", "true", "False", "TRUE", "١", "1,5", strings.Repeat("1", 300), strings.Repeat("0", 500)} {
		agreeNumber(t, c)
	}
}

// agreeNumber compares with strconv, but for numbers as programs write them.
func agreeNumber(t *testing.T, s string) {
	t.Helper()
	v, missing, ok := parseNumber([]byte(s))
	trimmed := strings.TrimSpace(s)
	want, err := strconv.ParseFloat(trimmed, 64)
	if strings.ContainsAny(s, "_xXpP") {
		err = strconv.ErrSyntax
	}
	switch {
	case strings.EqualFold(trimmed, "true"):
		want, err = 1, nil
	case strings.EqualFold(trimmed, "false"):
		want, err = 0, nil
	}
	none := missingText([]byte(s)) || err == nil && want != want && len(s) <= maxNumber
	fine := err == nil && !none && len(s) <= maxNumber
	if missing != none || ok != fine || ok && math.Float64bits(v) != math.Float64bits(want) {
		t.Fatalf("%q is %v, missing %v, a number %v; strconv has %v, %v", s, v, missing, ok, want, err)
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"12.5", "-0.001", "1e5", "nan", "NA", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { agreeNumber(t, s) })
}

func TestNumbersAreThoseOfStrconv(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 50_000 {
		v := rnd.NormFloat64() * math.Pow10(rnd.IntN(30)-15)
		agreeNumber(t, strconv.FormatFloat(v, "efg"[rnd.IntN(3)], rnd.IntN(20)-1, 64))
	}
}

func TestNumbersOfProgramsAreText(t *testing.T) {
	for _, s := range []string{"1_000", "0x1p3", "0X1P3", "0x_1p0", "-0x8"} {
		if _, _, ok := parseNumber([]byte(s)); ok {
			t.Errorf("%s is a number", s)
		}
	}
}
