package table

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pq "github.com/parquet-go/parquet-go"
	twmb "github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

var update = flag.Bool("update", false, "write the golden files again")

// item is a row of every type that two formats and CSV can hold.
type item struct {
	ID    string   `parquet:"id" avro:"id"`
	Price *float64 `parquet:"price,optional" avro:"price"`
	Count *int64   `parquet:"count,optional" avro:"count"`
	Brand *string  `parquet:"brand,optional,dict" avro:"brand"`
	Fresh bool     `parquet:"fresh" avro:"fresh"`
	Ratio float32  `parquet:"ratio" avro:"ratio"`
	Note  string   `parquet:"note" avro:"note"`
	Label int32    `parquet:"label" avro:"label"`
}

const itemSchema = `{"type":"record","name":"Item","fields":[
 {"name":"id","type":"string"},{"name":"price","type":["null","double"]},{"name":"count","type":["long","null"]},
 {"name":"brand","type":["null","string"]},{"name":"fresh","type":"boolean"},{"name":"ratio","type":"float"},
 {"name":"note","type":"string"},{"name":"label","type":"int"}]}`

func items(rnd *rand.Rand, n int) []item {
	brands := []string{"acme", "zeta", "über", "a,b", `say "x"`, "line\nbreak", "other"}
	out := make([]item, n)
	for i := range out {
		it := item{ID: fmt.Sprintf("k%04d", i), Fresh: rnd.IntN(2) == 0, Ratio: rnd.Float32(), Note: "free text", Label: int32(rnd.IntN(3))}
		if rnd.IntN(5) > 0 {
			v := rnd.NormFloat64() * math.Pow10(rnd.IntN(9)-4)
			it.Price = &v
		}
		if rnd.IntN(7) > 0 {
			v := int64(rnd.IntN(2000) - 1000)
			it.Count = &v
		}
		if rnd.IntN(6) > 0 {
			it.Brand = &brands[rnd.IntN(len(brands))*rnd.IntN(2)]
		}
		out[i] = it
	}
	return out
}

// asCSV writes items by hand, with every cell quoted that has to be.
func asCSV(rows []item, comma string) string {
	var b strings.Builder
	write := func(cells ...string) {
		for i, c := range cells {
			if i > 0 {
				b.WriteString(comma)
			}
			if strings.ContainsAny(c, comma+"\"\n") {
				c = `"` + strings.ReplaceAll(c, `"`, `""`) + `"`
			}
			b.WriteString(c)
		}
		b.WriteString("\n")
	}
	write("id", "price", "count", "brand", "fresh", "ratio", "note", "label")
	for _, r := range rows {
		price, count, brand := "", "NA", ""
		if r.Price != nil {
			price = strconv.FormatFloat(*r.Price, 'g', -1, 64)
		}
		if r.Count != nil {
			count = strconv.FormatInt(*r.Count, 10)
		}
		if r.Brand != nil {
			brand = *r.Brand
		}
		// A float of 32 bits is written with as many digits as a double needs, so that both are one number.
		write(r.ID, price, count, brand, strconv.FormatBool(r.Fresh), strconv.FormatFloat(float64(r.Ratio), 'g', -1, 64), r.Note, strconv.Itoa(int(r.Label)))
	}
	return b.String()
}

func asParquet(t testing.TB, rows []item, o ...pq.WriterOption) string {
	t.Helper()
	var b bytes.Buffer
	if err := pq.Write(&b, rows, o...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asAvro(t testing.TB, rows []item, o ...ocf.WriterOpt) string {
	t.Helper()
	var b bytes.Buffer
	w, err := ocf.NewWriter(&b, twmb.MustParse(itemSchema), o...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := w.Encode(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAllFormatsGiveTheSameRows(t *testing.T) {
	seed := rand.Uint64()
	rows := items(rand.New(rand.NewPCG(seed, 1)), 500)
	half := len(rows) / 2
	fs := store(t, map[string]string{
		"t.csv": asCSV(rows, ","), "t.gz": gzipped(t, asCSV(rows, ";")), "t.parquet": asParquet(t, rows, pq.MaxRowsPerRowGroup(77), pq.Compression(&pq.Zstd)), "t.avro": asAvro(t, rows, ocf.WithCodec(ocf.DeflateCodec(6))),
		"f/a.csv": asCSV(rows[:half], ","), "f/b.csv": gzipped(t, asCSV(rows[half:], ",")),
		"g/a.parquet": asParquet(t, rows[:half]), "g/b": asParquet(t, rows[half:], pq.DataPageVersion(1), pq.Compression(&pq.Snappy)),
		"h/a.avro": asAvro(t, rows[:half], ocf.WithCodec(ocf.SnappyCodec())), "h/b": asAvro(t, rows[half:]),
	})
	read := func(files ...dfs.Path) []string {
		spec := Spec{Key: "id", Label: "label", Missing: MissingMean, Categorical: []string{"brand"}}
		s, err := Inspect(t.Context(), fs, files, spec)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.FeatureNames(), []string{"price", "count", "brand", "fresh", "ratio"}; !slices.Equal(got, want) || !slices.Equal(s.Skipped, []string{"note"}) {
			t.Fatalf("%v: features %v, skipped %v; want %v", files, got, s.Skipped, want)
		}
		out := lines(t, fs, s, files...)
		for i, l := range out {
			_, out[i], _ = strings.Cut(l, " ") // where the row stands differs
		}
		return out
	}
	want := read("t.csv")
	if len(want) != len(rows) || strings.Contains(strings.Join(want, "\n"), "bad") {
		t.Fatalf("seed %d: %d rows of CSV", seed, len(want))
	}
	for _, files := range [][]dfs.Path{{"t.gz"}, {"t.parquet"}, {"t.avro"}, {"f/a.csv", "f/b.csv"}, {"g/a.parquet", "g/b"}, {"h/a.avro", "h/b"}} {
		if d := cmp.Diff(want, read(files...)); d != "" {
			t.Errorf("seed %d: %v gives other rows than CSV (-want +got):\n%s", seed, files, d)
		}
	}
}

func TestTypesOfColumns(t *testing.T) {
	type record struct {
		ID     int64     `parquet:"id"`
		Cents  int64     `parquet:"cents,decimal(2:18)"`
		Day    int32     `parquet:"day,date"`
		When   time.Time `parquet:"when,timestamp(microsecond)"`
		Digits string    `parquet:"digits"`
		Tags   []string  `parquet:"tags,list"`
		Score  float64   `parquet:"score"`
		Label  float64   `parquet:"label"`
	}
	var b bytes.Buffer
	when := time.Date(2024, 5, 1, 12, 0, 0, 500_000_000, time.UTC)
	rows := []record{{7, 1250, 19844, when, "3.5", []string{"a"}, math.NaN(), 1}, {8, -5, 0, when, "NA", nil, 1.5, math.NaN()}, {9, 100, 1, when, "x", nil, math.Inf(1), 0}}
	if err := pq.Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	fs := store(t, map[string]string{"t.parquet": b.String()})
	s := inspect(t, fs, "t.parquet", Spec{Missing: MissingMean})
	if got, want := s.FeatureNames(), []string{"cents", "score"}; !slices.Equal(got, want) {
		t.Errorf("features %v, want %v", got, want)
	}
	if got, want := lines(t, fs, s, "t.parquet"), []string{"1 7 1 12.5 -", "bad 2 8 no-label", "bad 3 9 number"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Dates and text are features when the job names them.
	s = inspect(t, fs, "t.parquet", Spec{Features: []string{"day", "when", "digits"}, Missing: MissingDrop, Categorical: []string{"cents"}})
	if got, want := lines(t, fs, s, "t.parquet"), []string{`1 7 1 "12.50" 19844 1.7145648005e+09 3.5`, "bad 2 8 no-label", "bad 3 9 number"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s = inspect(t, fs, "t.parquet", Spec{Key: "day", Label: "digits", Missing: MissingMean})
	if got, want := lines(t, fs, s, "t.parquet"), []string{"1 2024-05-01 3.5 7 12.5 - 1", "2 1970-01-01 NA 8 -0.05 1.5 -", "bad 3 1970-01-02 number"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRowNumbersAreNoFeatures(t *testing.T) {
	fs := store(t, map[string]string{"t.csv": ",id,label,x,Unnamed: 0,__index_level_0__\n0,a,p,1,0,0\n1,b,q,2,1,1\n"})
	s := inspect(t, fs, "t.csv", Spec{})
	if got := s.FeatureNames(); !slices.Equal(got, []string{"x"}) || !slices.Equal(s.Skipped, []string{"(no name)", "Unnamed: 0", "__index_level_0__"}) {
		t.Errorf("features %v, skipped %q", got, s.Skipped)
	}
	if got := inspect(t, fs, "t.csv", Spec{Features: []string{"Unnamed: 0"}}).FeatureNames(); !slices.Equal(got, []string{"Unnamed: 0"}) {
		t.Errorf("asked for by name: %v", got)
	}
}

func TestAvroTypes(t *testing.T) {
	schema := `{"type":"record","name":"R","fields":[
	 {"name":"id","type":{"type":"enum","name":"E","symbols":["a","b"]}},
	 {"name":"nested","type":{"type":"record","name":"N","fields":[{"name":"self","type":["null","N"]},{"name":"list","type":{"type":"array","items":"null"}},{"name":"map","type":{"type":"map","values":"E"}}]}},
	 {"name":"num","type":["null","int","double"]},
	 {"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
	 {"name":"fix","type":{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4,"scale":1}},
	 {"name":"day","type":{"type":"int","logicalType":"date"}},
	 {"name":"mixed","type":["int","string"]},
	 {"name":"label","type":["string","null"]}]}`
	// The records are written by hand, to have what writers do not do: array blocks with sizes.
	rec := func(parts ...string) string { return strings.Join(parts, "") }
	body := rec("\x00", "\x02\x00\x01\x00\x00"+"\x00", "\x02\x02b\x00\x00", "\x02\x54", "\x04\x04\xe2", "\x00\x0f", "\x02", "\x02\x02z", "\x00\x02p") +
		rec("\x02", "\x00", "\x06\x00", "\x00", "\x04\x00\x00\x00\x00\x00\x00\xf0\x3f", "\x02\xff", "\xff\xff", "\x00", "\x00\x06", "\x02")
	file := ocfFile(schema, 2, body)
	fs := store(t, map[string]string{"t.avro": file})
	s := inspect(t, fs, "t.avro", Spec{})
	if got, want := s.FeatureNames(), []string{"num", "dec", "fix"}; !slices.Equal(got, want) || !slices.Equal(s.Skipped, []string{"nested", "day", "mixed"}) {
		t.Errorf("features %v, skipped %v, want %v", got, s.Skipped, want)
	}
	if got, want := lines(t, fs, s, "t.avro"), []string{"1 a p 42 12.5 1.5", "bad 2 b no-label"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Polars gives its records no name.
	nameless := `{"type":"record","name":"","fields":[{"name":"id","type":"string"},{"name":"x","type":["null","float"]},{"name":"label","type":"long"}]}`
	fs = store(t, map[string]string{"t.avro": ocfFile(nameless, 1, "\x02a\x02\x00\x00\x80\x3f\x04")})
	if got, want := lines(t, fs, inspect(t, fs, "t.avro", Spec{}), "t.avro"), []string{"1 a 2 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, c := range []struct{ schema, want string }{
		{`"long"`, "values are of type long"}, {`{"type":"array","items":"int"}`, "of type array"}, {`{"type":`, "schema"}, {`{"type":"record","name":"R","fields":[{"name":"id","type":"X"}]}`, "schema"},
	} {
		fs := store(t, map[string]string{"t.avro": ocfFile(c.schema, 0, "")})
		_, err := Inspect(t.Context(), fs, []dfs.Path{"t.avro"}, Spec{Key: "id", Label: "label"})
		var fe *FormatError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.schema, err, c.want)
		}
	}
}

// ocfFile is an Avro container file with one block.
func ocfFile(schema string, count int, body string) string {
	long := func(n int) string { return string(appendLong(nil, n)) }
	out := "Obj\x01\x02" + long(len("avro.schema")) + "avro.schema" + long(len(schema)) + schema + "\x00" + "0123456789abcdef"
	if count > 0 {
		out += long(count) + long(len(body)) + body + "0123456789abcdef"
	}
	return out
}

func appendLong(b []byte, n int) []byte {
	u := uint64(n)<<1 ^ uint64(n>>63)
	for ; u >= 0x80; u >>= 7 {
		b = append(b, byte(u)|0x80)
	}
	return append(b, byte(u))
}

// TestErrors is a golden: the words that a user reads.
func TestErrors(t *testing.T) {
	rows := items(rand.New(rand.NewPCG(1, 1)), 20)
	parquet, avro := asParquet(t, rows), asAvro(t, rows)
	csv := asCSV(rows, ",")
	files := map[string]string{
		"good.csv": csv, "good.parquet": parquet, "good.avro": avro,
		"cut.parquet": parquet[:len(parquet)-20], "cut.avro": avro[:len(avro)-30], "cut.csv.gz": gzipped(t, strings.Repeat(csv, 50))[:500],
		"wrong.parquet": csv, "wrong.avro": csv, "book.csv": "PK\x03\x04rest", "utf16.csv": "\xff\xfei\x00d\x00", "packed.csv": "\x28\xb5\x2f\xfd....", "inside.csv.gz": gzipped(t, parquet),
		"binary.csv": "a\x00b,c\n", "mac.csv": "id,label,x\ra,1,2\r", "latin.csv": "id,label,pr\xe9nom\na,b,1\n", "quote.csv": "id,la\"bel,x\n", "open.csv": "id,\"label,x\na,b,1\n",
		"semi.csv": "id;label;x\na;b;1\n", "other.parquet": asOther(t), "names.csv": "id,label,Price,x\na,b,1,2\n",
		"list.parquet": asList(t),
	}
	fs := store(t, files)
	var out strings.Builder
	report := func(name string, spec Spec, paths ...dfs.Path) {
		if spec.Key == "" {
			spec.Key, spec.Label = "id", "label"
		}
		s, err := Inspect(t.Context(), fs, paths, spec)
		if err == nil {
			for _, e := range Read(t.Context(), fs, paths, s) {
				var bad *Bad
				if e != nil && !errors.As(e, &bad) {
					err = e
				}
			}
		}
		var says interface {
			ErrorID() string
			Hint() string
		}
		if err == nil || !errors.As(err, &says) {
			t.Errorf("%s: %v", name, err)
			return
		}
		fmt.Fprintf(&out, "%s\n  %s  %v\n  next   %s\n", name, says.ErrorID(), err, says.Hint())
	}
	for _, f := range []dfs.Path{"cut.parquet", "cut.avro", "cut.csv.gz", "wrong.parquet", "wrong.avro", "book.csv", "utf16.csv", "packed.csv", "inside.csv.gz", "binary.csv", "mac.csv", "latin.csv", "quote.csv", "open.csv"} {
		report(string(f), Spec{}, f)
	}
	report("two formats", Spec{}, "good.csv", "good.parquet")
	report("two schemas, Parquet", Spec{}, "good.parquet", "other.parquet")
	report("two schemas, CSV", Spec{}, "good.csv", "names.csv")
	report("two delimiters", Spec{}, "names.csv", "semi.csv")
	report("wrong delimiter", Spec{Delimiter: ","}, "semi.csv")
	report("unknown key", Spec{Key: "identity", Label: "label"}, "names.csv")
	report("unknown feature", Spec{Features: []string{"price"}}, "names.csv")
	report("unknown category", Spec{Categorical: []string{"brand"}}, "names.csv")
	report("category is label", Spec{Categorical: []string{"label"}}, "names.csv")
	report("a list as feature", Spec{Features: []string{"tags.list.element"}}, "list.parquet")
	golden(t, "errors.txt", out.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func asOther(t testing.TB) string {
	type other struct {
		ID    string   `parquet:"id"`
		Price *float32 `parquet:"price,optional"`
		Count *int64   `parquet:"count,optional"`
		Brand *string  `parquet:"brand,optional"`
		Fresh bool     `parquet:"fresh"`
		Ratio float32  `parquet:"ratio"`
		Note  string   `parquet:"note"`
		Label int32    `parquet:"label"`
	}
	var b bytes.Buffer
	if err := pq.Write(&b, []other{{ID: "x"}}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asList(t testing.TB) string {
	type list struct {
		ID    string   `parquet:"id"`
		Tags  []string `parquet:"tags,list"`
		Label int32    `parquet:"label"`
	}
	var b bytes.Buffer
	if err := pq.Write(&b, []list{{ID: "x"}}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzTable reads hostile files of any format: no panic, and rows are what the package says.
func FuzzTable(f *testing.F) {
	rows := items(rand.New(rand.NewPCG(2, 2)), 12)
	f.Add([]byte(asCSV(rows, ",")))
	f.Add([]byte(gzipped(f, asCSV(rows, ";"))))
	f.Add([]byte(asParquet(f, rows)))
	f.Add([]byte(asAvro(f, rows)))
	f.Add([]byte(asAvro(f, rows, ocf.WithCodec(ocf.DeflateCodec(6)))))
	foreign, err := filepath.Glob(filepath.Join("testdata", "foreign", "*.*"))
	if err != nil || len(foreign) < 4 {
		f.Fatalf("files of other programs: %q, %v", foreign, err)
	}
	for _, name := range foreign {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("id,label,x\na,b,1\n"))
	f.Add([]byte("id,label,x\n\"a,b,1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := mem.New()
		if err := dfs.WriteFile(t.Context(), fs, "t", data); err != nil {
			t.Fatal(err)
		}
		for _, spec := range []Spec{{Key: "id", Label: "label", Missing: MissingMean}, {Key: "id", Label: "label", Categorical: []string{"brand"}, Missing: MissingDrop}, {Key: "c1", Label: "c2", NoHeader: true}} {
			s, err := Inspect(t.Context(), fs, []dfs.Path{"t"}, spec)
			if err != nil {
				continue
			}
			v := NewSurveyor(s, 3)
			var kept []Row
			for r, err := range Read(t.Context(), fs, []dfs.Path{"t"}, s) {
				var bad *Bad
				if err != nil && !errors.As(err, &bad) {
					break
				}
				if bad != nil {
					continue
				}
				if r.Key == "" || r.Label == "" || len(r.Cells) != len(s.Features) {
					t.Fatalf("row %+v", r)
				}
				if err := v.Row(r, len(kept)%3 > 0); err != nil {
					t.Fatal(err)
				}
				c := *r
				c.Cells = slices.Clone(r.Cells)
				for i := range c.Cells {
					c.Cells[i].Text = bytes.Clone(c.Cells[i].Text)
				}
				if kept = append(kept, c); len(kept) > 100 {
					break
				}
			}
			e, err := v.Encoding()
			if err != nil {
				continue
			}
			x := NewEncoder(e)
			for i := range kept {
				out, err := x.Append(nil, &kept[i])
				if err != nil || len(out) != e.Width() || len(out) != len(e.Names()) {
					t.Fatalf("%d values of %d: %v", len(out), e.Width(), err)
				}
				for _, f := range out {
					if f-f != 0 {
						t.Fatalf("row %d has the value %v", i, f)
					}
				}
			}
		}
	})
}
