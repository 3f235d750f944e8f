package ingest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// A survey tells for every key what the task will make of it, and which rows no image was met of.
func TestKeys(t *testing.T) {
	fs := mem.New()
	text := "id,x,label\nbad,what,red\na,1,red\nb,2,blue\na,3,blue\nlate,,red\nlate,1,red\nc,5,green\n"
	if err := dfs.WriteFile(t.Context(), fs, "t.csv", []byte(text)); err != nil {
		t.Fatal(err)
	}
	files := []dfs.Path{"t.csv"}
	s, err := table.Inspect(t.Context(), fs, files, table.Spec{Key: "id", Label: "label"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Survey(t.Context(), fs, files, s, most, seed, 0.5, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"blue", "green", "red"}; !slices.Equal(got.Classes, want) || got.Example != "a" {
		t.Fatalf("classes %q, first key %q", got.Classes, got.Example)
	}
	if keys, labels := len("a"+"b"+"late"+"c"), len("red"+"blue"+"red"+"green"); got.KeyText != int64(keys) || got.LabelText != int64(labels) {
		t.Errorf("keys of %d bytes and labels of %d, want %d and %d: of good rows alone", got.KeyText, got.LabelText, keys, labels)
	}
	var first []string
	for _, b := range got.First {
		first = append(first, b.Key+" "+b.Cause)
	}
	if want := []string{"bad number", "a duplicate-key", "late missing"}; !slices.Equal(first, want) {
		t.Errorf("bad rows %q, want %q", first, want)
	}
	split := row.NewSplitter(seed, 0.5)
	for key, class := range map[string]int{"a": 2, "b": 0, "late": 2} {
		test, _ := split.Split([]byte(key))
		if k, ok := got.Keys.Meet(key); !ok || k != (Key{Class: class, Test: test}) {
			t.Errorf("%s: %+v, %v", key, k, ok)
		}
	}
	if k, ok := got.Keys.Meet("bad"); !ok || !k.Aside {
		t.Errorf("a key without a good row: %+v, %v", k, ok)
	}
	if _, ok := got.Keys.Meet("nobody"); ok {
		t.Error("a key that is not there was found")
	}
	var alone []string
	err = got.Keys.Alone(t.Context(), fs, files, s, func(key string) bool {
		alone = append(alone, key)
		return true
	})
	if err != nil || !slices.Equal(alone, []string{"c"}) {
		t.Errorf("without an image: %q, %v; want c alone", alone, err)
	}
}

// A value that no model can be trained on is found, with its column; one of a row that is held out is none.
func TestSurveyFindsLargeValues(t *testing.T) {
	fs := mem.New()
	split := row.NewSplitter(seed, 0.5)
	var text strings.Builder
	text.WriteString("id,x,colour,y,label\n")
	for i := range 20 {
		y := "9.9e29"
		if test, _ := split.Split(fmt.Appendf(nil, "k%d", i)); test || i > 10 {
			y = "-3e38"
		}
		fmt.Fprintf(&text, "k%d,1,3e38,%s,red\n", i, y)
	}
	if err := dfs.WriteFile(t.Context(), fs, "t.csv", []byte(text.String())); err != nil {
		t.Fatal(err)
	}
	files := []dfs.Path{"t.csv"}
	s, err := table.Inspect(t.Context(), fs, files, table.Spec{Key: "id", Label: "label", Categorical: []string{"colour"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Survey(t.Context(), fs, files, s, most, seed, 0.5, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if got.Range == nil || got.Range.Name != "y" || got.Range.Value != 3e38 {
		t.Errorf("found %+v", got.Range)
	}
	for i := range 20 {
		key := fmt.Sprintf("k%d", i)
		if k, ok := got.Keys.Meet(key); !ok || k.Large != (!k.Test && i > 10) {
			t.Errorf("%s: %+v, %v", key, k, ok)
		}
	}
}

// Of many bad rows a survey keeps the first only.
func TestSurveyKeepsFewBadRows(t *testing.T) {
	fs := mem.New()
	var text strings.Builder
	text.WriteString("id,x,label\na,1,red\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "k%d,no number,red\n", i)
	}
	if err := dfs.WriteFile(t.Context(), fs, "t.csv", []byte(text.String())); err != nil {
		t.Fatal(err)
	}
	s, err := table.Inspect(t.Context(), fs, []dfs.Path{"t.csv"}, table.Spec{Key: "id", Label: "label", Features: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Survey(t.Context(), fs, []dfs.Path{"t.csv"}, s, most, seed, 0.5, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if got.Causes["number"] != 1000 || len(got.First) != maxShown {
		t.Errorf("%d bad rows, %d of them kept", got.Causes["number"], len(got.First))
	}
	_, err = Survey(t.Context(), fs, []dfs.Path{"t.csv"}, s, most, seed, 0.5, 200) // and it reads on only while there is hope
	if many := (*TooManyError)(nil); !errors.As(err, &many) || many.Causes["number"] != 201 || len(many.First) != maxShown {
		t.Errorf("with 200 allowed: %v", err)
	}
}

// Bad records show the beginning of a long key, and a key that is too long to be one marks no record.
func TestLongKeysAreShownInPart(t *testing.T) {
	fs := mem.New()
	long, tooLong := strings.Repeat("\x01", 4096), strings.Repeat("k", 4097)
	text := "id,x,label\n" + strings.Repeat(long+",1,red\n", 3) + tooLong + ",1,red\n" + long + ",,red\n"
	if err := dfs.WriteFile(t.Context(), fs, "t.csv", []byte(text)); err != nil {
		t.Fatal(err)
	}
	s, err := table.Inspect(t.Context(), fs, []dfs.Path{"t.csv"}, table.Spec{Key: "id", Label: "label"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Survey(t.Context(), fs, []dfs.Path{"t.csv"}, s, most, seed, 0.5, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.First) != 4 || got.Causes["duplicate-key"] != 2 || got.Causes["long"] != 1 || got.Causes["missing"] != 1 {
		t.Fatalf("%v", got.Causes)
	}
	for _, b := range got.First {
		if len(b.Key) > maxKeyShown+3 || len(b.Error) > 600 {
			t.Errorf("%s: a key of %d bytes, a text of %d", b.Cause, len(b.Key), len(b.Error))
		}
	}
	if len(got.Keys.marks) != 1 {
		t.Errorf("%d keys are marked, want 1", len(got.Keys.marks))
	}
}
