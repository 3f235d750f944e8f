package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/mrtest"
	"github.com/vista-mr/vista-mr/mr/task"
)

const (
	seed  = 5
	share = 0.3
	most  = 3
)

// text is a table with everything that can be the matter with a cell.
func text(rnd *rand.Rand, rows int) string {
	var b strings.Builder
	b.WriteString("id,x,brand,label,y,shop\n")
	number := func() string {
		switch rnd.IntN(12) {
		case 0:
			return ""
		case 1:
			return []string{"NA", "nan", "NULL", " n/a "}[rnd.IntN(4)]
		case 2:
			if rnd.IntN(8) == 0 {
				return []string{"inf", "many", "1e99"}[rnd.IntN(3)]
			}
		}
		return strconv.FormatFloat(rnd.NormFloat64()*math.Pow10(rnd.IntN(12)), 'g', -1, 64)
	}
	category := func(n int) string {
		if rnd.IntN(9) == 0 {
			return ""
		}
		return []string{"b", "a", "other", "c", "missing", "d", "e", strings.Repeat("long", 60)}[rnd.IntN(n)*rnd.IntN(2)]
	}
	for range rows {
		key := fmt.Sprintf("k%d", rnd.IntN(rows*4))
		fmt.Fprintf(&b, "%s,%s,%s,%s,%s,%s\n", key, number(), category(8), []string{"p", "q", ""}[(rnd.IntN(20)+1)/10], number(), category(3))
	}
	return b.String()
}

// expected is what the rows must become, worked out with nothing of the packages under test.
type expected struct {
	names  []string
	rows   []string
	bad    int64
	drop   int64
	filled map[string]float32
}

func oracle(t *testing.T, text, missing string) *expected {
	t.Helper()
	recs, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	e := &expected{filled: map[string]float32{}}
	none := func(s string) bool {
		return slices.Contains([]string{"", "na", "n/a", "nan", "null"}, strings.ToLower(strings.TrimSpace(s)))
	}
	test := func(key string) bool {
		sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s", seed, key)))
		u, _ := new(big.Rat).SetFrac(new(big.Int).SetUint64(binary.BigEndian.Uint64(sum[:8])), new(big.Int).Lsh(big.NewInt(1), 64)).Float64()
		return u < share
	}
	var good [][]string
	seen := map[string]bool{}
	var aside []string
	for _, r := range recs[1:] {
		holes, wrong := 0, r[0] == "" || r[3] == ""
		for _, i := range []int{1, 2, 4, 5} {
			if none(r[i]) {
				holes++
				continue
			}
			if v, err := strconv.ParseFloat(r[i], 64); (i == 1 || i == 4) && (err != nil || math.Abs(v) > math.MaxFloat32) {
				wrong = true
			}
		}
		switch {
		case wrong || holes > 0 && missing == "bad":
			e.bad++
			aside = append(aside, r[0])
		case holes > 0 && missing == "drop":
			e.drop++
			aside = append(aside, r[0])
		case seen[r[0]]:
			e.bad++
		default:
			seen[r[0]] = true
			good = append(good, r)
		}
	}
	out := make([][]float32, len(good))
	for _, col := range []int{1, 2, 4, 5} {
		name := recs[0][col]
		if col == 1 || col == 4 {
			sum, n := new(big.Rat), int64(0)
			for _, r := range good {
				if v, err := strconv.ParseFloat(r[col], 64); err == nil && !test(r[0]) && !none(r[col]) {
					sum.Add(sum, new(big.Rat).SetFloat64(v))
					n++
				}
			}
			mean, _ := sum.Quo(sum, big.NewRat(max(n, 1), 1)).Float32()
			e.names = append(e.names, name)
			for i, r := range good {
				v, _ := strconv.ParseFloat(r[col], 64)
				if none(r[col]) {
					v, e.filled[name] = float64(mean), mean
				}
				out[i] = append(out[i], float32(v))
			}
			continue
		}
		count, absent := map[string]int{}, false
		for _, r := range good {
			switch {
			case test(r[0]):
			case none(r[col]):
				absent = true
			case len(r[col]) <= 200:
				count[r[col]]++
			}
		}
		delete(count, "other")
		if absent {
			delete(count, "missing")
		}
		var kept []string
		for c := range count {
			kept = append(kept, c)
		}
		sort.Slice(kept, func(i, j int) bool {
			return count[kept[i]] > count[kept[j]] || count[kept[i]] == count[kept[j]] && kept[i] < kept[j]
		})
		kept = kept[:min(most, len(kept))]
		sort.Strings(kept)
		kept = append(kept, "other")
		if absent {
			kept = append(kept, "missing")
		}
		for _, c := range kept {
			e.names = append(e.names, name+"="+c)
		}
		for i, r := range good {
			one := slices.Index(kept, r[col])
			if absent && none(r[col]) {
				one = len(kept) - 1
			}
			if one < 0 {
				one = slices.Index(kept, "other")
			}
			for k := range kept {
				out[i] = append(out[i], map[bool]float32{true: 1}[k == one])
			}
		}
	}
	for i, r := range good {
		e.rows = append(e.rows, fmt.Sprintf("%s %s %v %v", r[0], r[3], test(r[0]), out[i]))
	}
	for _, key := range aside { // behind the good rows, once, and only where no row of the key is good
		if key != "" && !seen[key] {
			seen[key] = true
			e.rows = append(e.rows, key+" aside")
		}
	}
	return e
}

// plan surveys a table file.
func plan(t *testing.T, path, missing string) (*Params, *Surveyed) {
	t.Helper()
	fs, p := local.New(filepath.Dir(path), true), dfs.Path(filepath.Base(path))
	s, err := table.Inspect(t.Context(), fs, []dfs.Path{p}, table.Spec{Key: "id", Label: "label", Missing: missing, Categorical: []string{"brand", "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	found, err := Survey(t.Context(), fs, []dfs.Path{p}, s, most, seed, share, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	return &Params{Schema: *s, Encoding: found.Encoding, MaxCategories: most, Seed: seed, Test: share, Part: true}, found
}

// run runs the ingest phase.
func runPhase(t *testing.T, path string, p *Params) (*mrtest.Cluster, *mr.PhaseManifest, error) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c := mrtest.New(t, Kind())
	m, err := c.Run(t.Context(), &mr.JobSpec{ID: "job", Name: "job", Phases: []mr.PhaseSpec{{ID: "table", Type: mr.MapPhase, Kind: Name, Params: b,
		Splits: []mr.Split{{Files: []mr.FileRange{{URI: path}}}}}}})
	return c, m["table"], err
}

func TestRowsAreWhatAnOracleMakesOfThem(t *testing.T) {
	defer func(was int) { maxAside = was }(maxAside)
	from := rand.Uint64()
	rnd := rand.New(rand.NewPCG(from, 1))
	path := filepath.Join(t.TempDir(), "t.csv")
	for i := range 30 {
		data := text(rnd, 120+rnd.IntN(400))
		if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
		missing := []string{table.MissingMean, table.MissingDrop, table.MissingBad}[i%3]
		want := oracle(t, data, missing)
		p, found := plan(t, path, missing)
		if d := cmp.Diff(want.names, p.Encoding.Names()); d != "" {
			t.Fatalf("seed %d, %s: columns (-want +got):\n%s", from, missing, d)
		}
		maxAside = []int{64 << 20, 100}[i/3%2] // with few keys kept, the table is read again for them
		c, m, err := runPhase(t, path, p)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range m.Files(Rows) {
			for rec, err := range task.ReadPart(t.Context(), c.Store, f) {
				if err != nil {
					t.Fatal(err)
				}
				if row.IsAside(rec.Value) {
					got = append(got, string(rec.Key)+" aside")
					continue
				}
				var r row.Row
				if err := r.Decode(rec.Value); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s %s %v %v", rec.Key, r.Label, r.Test, r.X))
			}
		}
		if d := cmp.Diff(want.rows, got); d != "" {
			t.Fatalf("seed %d, %s (-want +got):\n%s", from, missing, d)
		}
		causes := int64(0)
		for _, n := range found.Causes {
			causes += n
		}
		rows := int64(strings.Count(data, "\n") - 1)
		if m.Sum("rows") != rows || m.Sum("bad") != want.bad || causes != want.bad || m.Sum("left-out.missing") != want.drop || p.Encoding.Dropped != want.drop {
			t.Fatalf("seed %d, %s: %d rows, %d bad, %d left out; want %d, %d, %d", from, missing, m.Sum("rows"), m.Sum("bad"), m.Sum("left-out.missing"), rows, want.bad, want.drop)
		}
		for _, c := range p.Encoding.Columns {
			if v, ok := want.filled[c.Name]; ok != (c.Missing > 0 && !c.Categorical) || v != c.Fill {
				t.Fatalf("seed %d, %s: column %q is filled with %v, want %v", from, missing, c.Name, c.Fill, v)
			}
		}
	}
}

func TestATableThatChangedAfterPlanning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.csv")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	old := "id,x,brand,label,y,shop\na,1,p,1,2,s\nb,,p,0,2,s\nc,4,q,0,2,s\n"
	write(old)
	p, _ := plan(t, path, table.MissingMean)
	for _, c := range []struct{ text, want string }{
		{old + "d,1,p,1,2,s\n", "it had 3 rows, and has 4"},
		{strings.Replace(old, "4", "5", 1), "as many rows, and other values"},
		{strings.Replace(old, "q", "r", 1), "as many rows, and other values"},
		{strings.Replace(old, "b,,", "b,7,", 1), "as many rows, and other values"},
	} {
		write(c.text)
		_, _, err := runPhase(t, path, p)
		var e *ChangedError
		if !errors.As(err, &e) || !strings.Contains(e.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	write(old)
	if _, _, err := runPhase(t, path, p); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeEncoded(t *testing.T) {
	var many, wide strings.Builder
	many.WriteString("id,brand,label,shop\n")
	for i := range 100_001 {
		fmt.Fprintf(&many, "%d,b%d,0,s\n", i, i)
	}
	wide.WriteString("id,label,brand,shop," + "x\n")
	for i := range 6000 {
		fmt.Fprintf(&wide, "%d,0,b%d,s%d,1\n", i, i, i)
	}
	for _, c := range []struct{ text, want string }{
		{many.String(), `column "brand" has more than 100000 different values`},
		{wide.String(), "and the other categorical columns become 12002 columns, more than 10000"},
		{"id,x,label,brand,shop\na,,1,b,s\nb,,0,b,s\n", ""},
		{"id,label,brand,shop,brand=p\na,1,p,s,1\nb,0,q,s,2\n", `column "brand=p" is in the table`},
	} {
		path := filepath.Join(t.TempDir(), "t.csv")
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		fs := local.New(filepath.Dir(path), true)
		spec := table.Spec{Key: "id", Label: "label", Missing: table.MissingMean, Categorical: []string{"brand", "shop"}}
		if c.want == "" {
			spec.Features, c.want = []string{"x"}, `column "x" has no value in any training row: there is no mean to fill 2 missing ones with`
		}
		s, err := table.Inspect(t.Context(), fs, []dfs.Path{"t.csv"}, spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Survey(t.Context(), fs, []dfs.Path{"t.csv"}, s, 10_000, seed, 0, math.MaxInt64)
		var says interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &says) || says.Hint() == "" {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
