package table

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func store(t testing.TB, files map[string]string) dfs.FS {
	t.Helper()
	fs := mem.New()
	for name, text := range files {
		if err := dfs.WriteFile(t.Context(), fs, dfs.Path(name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// inspect finds the schema of one file.
func inspect(t testing.TB, fs dfs.FS, file string, spec Spec) *Schema {
	t.Helper()
	if spec.Key == "" {
		spec.Key, spec.Label = "id", "label"
	}
	s, err := Inspect(t.Context(), fs, []dfs.Path{dfs.Path(file)}, spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lines reads a table as one line for each row or bad row.
func lines(t testing.TB, fs dfs.FS, s *Schema, paths ...dfs.Path) []string {
	t.Helper()
	var out []string
	for r, err := range Read(t.Context(), fs, paths, s) {
		var bad *Bad
		switch {
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("bad %d %s %s", bad.Line, bad.Key, bad.Cause))
		case err != nil:
			out = append(out, "error "+err.Error())
		default:
			line := fmt.Sprintf("%d %s %s", r.Line, r.Key, r.Label)
			for i, c := range r.Cells {
				switch {
				case c.Missing:
					line += " -"
				case s.Features[i].Categorical:
					line += fmt.Sprintf(" %q", c.Text)
				default:
					line += fmt.Sprintf(" %v", c.Number)
				}
			}
			out = append(out, line)
		}
	}
	return out
}

func TestEveryRowIsGoodOrBadWithItsCause(t *testing.T) {
	text := "\xef\xbb\xbfid,x,note,label,y\r\n" +
		"a,1,hello,yes,2\r\n" +
		"b,1,\"with, comma\nand line\",no,-3e2\r\n" +
		"c,1,ragged,yes\r\n" +
		",1,no key,yes,2\r\n" +
		"e,1,no label,,2\r\n" +
		"f,one,no number,yes,2\r\n" +
		"g,1,not there,yes,NaN\r\n" +
		"h,1e300,too large for float32,yes,2\r\n" +
		"i,1,bad \"quote,yes,2\r\n" +
		"j, 7 ,spaces,yes,8\r\n" +
		"k,inf,infinite,yes,8\r\n" +
		"l,1,latin \xe9,yes,8\r\n" +
		"\r\n" +
		"m,true,\"say \"\"so\"\"\",yes,FALSE\r\n" +
		"n,1,\"never closed,yes,2\r\n" +
		"o,1,after it,no,3\r\n" +
		" p ,1,blanks,\" yes\t\",2\r\n" +
		"q,1,blanks alone,  ,2\r\n" +
		" ,1,blanks alone,yes,2"
	fs := store(t, map[string]string{"t.csv": text})
	s := inspect(t, fs, "t.csv", Spec{})
	if got, want := s.FeatureNames(), []string{"x", "y"}; !slices.Equal(got, want) || !slices.Equal(s.Skipped, []string{"note"}) {
		t.Errorf("features %v, skipped %v; want %v and the note", got, s.Skipped, want)
	}
	want := []string{
		"2 a yes 1 2", "3 b no 1 -300", "bad 5 c ragged", "bad 6  no-key", "bad 7 e no-label", "bad 8 f number",
		"bad 9 g missing", "bad 10 h number", "bad 11  quote", "12 j yes 7 8", "bad 13 k number", "bad 14 l encoding",
		"16 m yes 1 0", "bad 17  quote", "18 o no 1 3", "19 p yes 1 2", "bad 20 q no-label", "bad 21  no-key",
	}
	if d := cmp.Diff(want, lines(t, fs, s, "t.csv")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestHeaders(t *testing.T) {
	fs := store(t, map[string]string{
		"ok.csv": "id,label,x\n1,a,2\n", "other.csv": "id,x,label\n2,3,b\n", "empty.csv": "", "twice.csv": "id,id,label\n", "more.csv": "id,label,x,y\n", "less.csv": "id,label\n"})
	s := inspect(t, fs, "ok.csv", Spec{})
	for file, want := range map[string]string{"other.csv": `column 2 is "x", not "label"`, "more.csv": `column 4, "y", is new`, "less.csv": `column 3, "x", is missing`} {
		got := lines(t, fs, s, "ok.csv", dfs.Path(file))
		if len(got) != 2 || !strings.Contains(got[1], file+": line 1: its header differs") || !strings.Contains(got[1], want) {
			t.Errorf("a second file with other columns: %v, want %s", got, want)
		}
	}
	for _, c := range []struct{ file, key, want, hint string }{
		{"ok.csv", "idd", `no column "idd"`, `did you mean "id"`},
		{"empty.csv", "id", "the file is empty", "name the columns"},
		{"twice.csv", "id", `column "id" stands there twice`, "a name of its own"},
	} {
		_, err := Inspect(t.Context(), fs, []dfs.Path{dfs.Path(c.file)}, Spec{Key: c.key, Label: "label"})
		var h *HeaderError
		if !errors.As(err, &h) || !strings.Contains(h.Error(), c.want) || !strings.Contains(h.Hint(), c.hint) || errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v, want %q", c.file, err, c.want)
		}
	}
	if _, err := Inspect(t.Context(), fs, []dfs.Path{"none.csv"}, Spec{}); !errs.Is(err, errs.NotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestLabelsAreOrderedByValueWhereTheyAreNumbers(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"10", "9", "1"}, []string{"1", "9", "10"}},
		{[]string{"b", "a", "10"}, []string{"10", "a", "b"}},
		{[]string{"2", "NaN", "10"}, []string{"10", "2", "NaN"}},
	} {
		if got := Labels(slices.Values(c.in)); !slices.Equal(got, c.want) {
			t.Errorf("%v is ordered %v, want %v", c.in, got, c.want)
		}
	}
}

// A bad row is named by the file as the user knows it, the line, and what to do where that is not plain.
func TestBadRowsNameTheirFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "t.csv"), []byte("id,x,label\na,1,n\xe9\nb,2,yes\nc,what,no\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	fs, root, err := local.Open(t.Context(), &url.URL{Scheme: "file", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	files := []dfs.Path{root.Join("t.csv")}
	s, err := Inspect(t.Context(), fs, files, Spec{Key: "id", Label: "label", Features: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range Read(t.Context(), fs, files, s) {
		if err != nil {
			got = append(got, err.Error())
		}
	}
	want := []string{dir + `/t.csv: line 2: column "label" is not UTF-8: convert the file, for example: iconv -f LATIN1 -t UTF-8`,
		dir + `/t.csv: line 4: column "x": "what" is not a finite number`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	_, err = Inspect(t.Context(), fs, files, Spec{Key: "key", Label: "label"})
	if err == nil || !strings.HasPrefix(err.Error(), dir+"/t.csv: line 1: ") {
		t.Errorf("a column that is not there: %v", err)
	}
	_, err = Inspect(t.Context(), fs, []dfs.Path{root.Join("none.csv")}, Spec{})
	if err == nil || !strings.Contains(err.Error(), ": "+dir+"/none.csv: ") {
		t.Errorf("a file that is not there: %v", err)
	}
}
