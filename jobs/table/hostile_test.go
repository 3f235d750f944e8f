package table

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// ends reads a table to its end or to the error that ends it, and counts rows, good or bad.
func ends(t *testing.T, data string, spec Spec) (rows int, err error) {
	t.Helper()
	fs := store(t, map[string]string{"t": data})
	spec.Key, spec.Label = "id", "label"
	s, err := Inspect(t.Context(), fs, []dfs.Path{"t"}, spec)
	if err != nil {
		return 0, err
	}
	for _, err := range Read(t.Context(), fs, []dfs.Path{"t"}, s) {
		var bad *Bad
		if err != nil && !errors.As(err, &bad) {
			return rows, err
		}
		rows++
	}
	return rows, nil
}

func refused(t *testing.T, data, want string) {
	t.Helper()
	rows, err := ends(t, data, Spec{})
	var f *FormatError
	if !errors.As(err, &f) || !strings.Contains(err.Error(), want) {
		t.Errorf("%d rows, then %v; want %q", rows, err, want)
	}
}

const avroBase = `{"name":"id","type":"string"},{"name":"label","type":"string"}`

// A record may hold any number of values that take no bytes; there is an end to reading them.
func TestAvroValuesWithoutBytes(t *testing.T) {
	// 2^40 of them in one record: each type holds two of the next.
	typ := `{"type":"record","name":"R40","fields":[{"name":"a","type":"null"}]}`
	for k := 39; k > 0; k-- {
		typ = fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"a","type":%s},{"name":"b","type":"R%d"}]}`, k, typ, k+1)
	}
	refused(t, ocfFile(`{"type":"record","name":"T","fields":[`+avroBase+`,{"name":"n","type":`+typ+`}]}`, 1, "\x02a\x02p"), "take no bytes")

	var fields strings.Builder
	for i := range 2_000 {
		fmt.Fprintf(&fields, `,{"name":"n%d","type":"null"}`, i)
	}
	schema := `{"type":"record","name":"T","fields":[` + avroBase + fields.String() + `]}`
	refused(t, ocfFile(schema, 10_000, strings.Repeat("\x02a\x02p", 10_000)), "take no bytes")
	if rows, err := ends(t, ocfFile(schema, 500, strings.Repeat("\x02a\x02p", 500)), Spec{}); rows != 500 || err != nil {
		t.Errorf("few of them: %d rows, %v", rows, err)
	}
}

// The symbol of an enum is not copied for each row.
func TestAvroLongSymbol(t *testing.T) {
	schema := `{"type":"record","name":"T","fields":[` + avroBase + `,{"name":"e","type":{"type":"enum","name":"E","symbols":["` + strings.Repeat("s", 1<<20) + `"]}}]}`
	data := ocfFile(schema, 5000, strings.Repeat("\x02a\x02p\x00", 5000))
	for _, spec := range []Spec{{}, {Categorical: []string{"e"}}, {Features: []string{"e"}}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if rows, err := ends(t, data, spec); rows != 5000 || err != nil {
			t.Fatalf("%d rows, %v", rows, err)
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 500 {
			t.Errorf("%+v: %d MiB were allocated", spec, n)
		}
	}
}

// Blanks are trimmed off what may be a name or a number, and not off megabytes.
func TestManyBlanks(t *testing.T) {
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	fs := store(t, map[string]string{"t": "id,x,label\n" + blanks(10) + "a" + blanks(4085) + ",1,p\nb" + blanks(4096) + ",1,p\nc,1,q" + blanks(4096) + "\nd," + blanks(400) + ",p\ne," + blanks(401) + ",p\n"})
	s := inspect(t, fs, "t", Spec{})
	want := "2 a p 1|bad 3 b long|bad 4 c long|bad 5 d missing|bad 6 e number"
	got := lines(t, fs, s, "t")
	if got[1] = strings.ReplaceAll(got[1], blanks(99), ""); strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Short rows that are all alike take nearly nothing of a compressed file: their number has a bound, too.
func TestDenseRows(t *testing.T) {
	const n = freeRows + 200_000
	refused(t, gzipped(t, "id,label,x\n"+strings.Repeat("a,p,1\n", n)), "lines")
	refused(t, gzipped(t, "id,label,x\na,p,1\n"+strings.Repeat("\n", n)), "lines")

	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(strings.Repeat("\x02a\x02p", n))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := ocfFile(`{"type":"record","name":"T","fields":[`+avroBase+`]}`, n, b.String())
	refused(t, strings.Replace(file, "\x02\x16avro.schema", "\x04\x14avro.codec\x0edeflate\x16avro.schema", 1), "records")
}

// The bound of what is unpacked: small files may unpack to much, large ones to a larger multiple than tables do.
func TestMayUnpack(t *testing.T) {
	for n, want := range map[int64]int64{0: 64 << 20, 300 << 10: 64 << 20, 1 << 20: 200 << 20, 100 << 20: 4<<30 + 2000<<20, 1 << 40: 4<<30 + 20<<40} {
		if got := mayUnpack(n); got != want {
			t.Errorf("%d bytes may unpack to %d, want %d", n, got, want)
		}
	}
}

// A job file may name every column of a wide table.
func TestManyFeatures(t *testing.T) {
	const n = 99_000
	names, values := make([]string, n), make([]string, n)
	for i := range names {
		names[i], values[i] = fmt.Sprintf("%x", 1<<16+i), "1"
	}
	data := "id,label," + strings.Join(names, ",") + "\na,p," + strings.Join(values, ",") + "\n"
	start := time.Now()
	if rows, err := ends(t, data, Spec{Features: names}); rows != 1 || err != nil {
		t.Errorf("%d rows, %v", rows, err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("%v for a line of %d columns", d, n)
	}
}

// Messages show the beginning of a name that is megabytes long, and look for none that is like it.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("n", 3<<20)
	for name, data := range map[string]string{"alone": "id,label," + long + "\n", "twice": "id,label," + long + "," + long + "\n", "not UTF-8": "id,label,\xff" + long + "\n"} {
		for _, spec := range []Spec{{Features: []string{long[1:]}}, {Features: []string{"nn"}}} {
			if _, err := ends(t, data, spec); err == nil || len(err.Error()) > 1000 {
				t.Errorf("%s: %.1000v", name, err)
			}
		}
	}
	var h *HeaderError
	if _, err := ends(t, "id,label,"+long+"\n", Spec{Features: []string{"zz"}}); !errors.As(err, &h) || len(h.Hint()) > 1000 {
		t.Errorf("%.1000v", err)
	}
	fs := store(t, map[string]string{"t": "id,label," + long + "\na,p,\n"})
	if got := lines(t, fs, inspect(t, fs, "t", Spec{Features: []string{long}}), "t"); len(got) != 1 {
		t.Errorf("%d rows", len(got))
	}
}

// Rows of one key share it.
func TestRepeatedKeysAreOne(t *testing.T) {
	fs := store(t, map[string]string{"t": "id,label,x\n" + strings.Repeat(strings.Repeat("k", 4000)+",p,1\n", 5000)})
	s := inspect(t, fs, "t", Spec{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rows := 0
	for _, err := range Read(t.Context(), fs, []dfs.Path{"t"}, s) {
		if err != nil {
			t.Fatal(err)
		}
		rows++
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 5 || rows != 5000 {
		t.Errorf("%d MiB were allocated for %d rows", n, rows)
	}
}
