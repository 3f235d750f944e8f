package synth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func generate(t *testing.T, c Config) Summary {
	t.Helper()
	s, err := Generate(context.Background(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree maps every file under dir to its digest.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		out[filepath.ToSlash(rel)] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestShapes(t *testing.T) {
	for _, c := range []struct {
		shape             string
		records, features int
	}{{"foods", 20_000, 130}, {"amazon", 200_000, 200}} {
		s, err := shapeOf(c.shape)
		if err != nil {
			t.Fatal(err)
		}
		if s.records != c.records || len(s.columns) != c.features {
			t.Errorf("%s: %d records, %d columns", c.shape, s.records, len(s.columns))
		}
		seen := map[string]bool{"id": true, "label": true}
		for _, n := range s.columns {
			if seen[n] || strings.ContainsAny(n, ",\" ") {
				t.Errorf("%s: column %q", c.shape, n)
			}
			seen[n] = true
		}
	}
}

// TestFiles reads back what a data set consists of.
func TestFiles(t *testing.T) {
	for _, shape := range []string{"foods", "amazon"} {
		dir := t.TempDir()
		calls := 0
		sum, err := Generate(context.Background(), Config{Shape: shape, Records: 12, Seed: 3, Out: dir}, func(done, total int) {
			calls++
			if done != calls || total != 12 {
				t.Errorf("progress %d of %d at call %d", done, total, calls)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(sum.Table)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 13 || rows[0][0] != "id" || rows[0][len(rows[0])-1] != "label" || len(rows[0]) != sum.Features+2 {
			t.Fatalf("%s: %d rows, header %v", shape, len(rows), rows[0])
		}
		positive, total := 0, int64(0)
		for _, row := range rows[1:] {
			for _, cell := range row[1:] {
				if v, err := strconv.ParseFloat(cell, 64); err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
					t.Errorf("%s: cell %q", row[0], cell)
				}
			}
			if row[len(row)-1] == "1" {
				positive++
			}
			b, err := os.ReadFile(filepath.Join(sum.Images, row[0]+".jpg"))
			if err != nil {
				t.Fatal(err)
			}
			total += int64(len(b))
			m, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if w, h := m.Bounds().Dx(), m.Bounds().Dy(); w*h < 150_000 || w*h > 210_000 {
				t.Errorf("%s is %dx%d", row[0], w, h)
			}
			if len(b) < 20_000 || len(b) > 120_000 {
				t.Errorf("%s has %d bytes", row[0], len(b))
			}
		}
		if calls != 12 || sum.Positive != positive || sum.Written != 12 || sum.Bytes != total {
			t.Errorf("%d progress calls, %d of %+v positive, %d bytes", calls, positive, sum, total)
		}
	}
}

// TestDeterminism: the same bytes on any number of cores, other ones with another seed, and a longer set
// begins with the shorter.
func TestDeterminism(t *testing.T) {
	base := Config{Shape: "foods", Records: 9, Seed: 11, Broken: 2}
	make := func(c Config, procs int) map[string]string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		c.Out = t.TempDir()
		generate(t, c)
		return tree(t, c.Out)
	}
	one := make(base, 1)
	if len(one) != 9+2 {
		t.Fatalf("%d files", len(one))
	}
	if d := cmp.Diff(one, make(base, 7)); d != "" {
		t.Errorf("one and seven cores differ:\n%s", d)
	}
	other := base
	other.Seed++
	for name, digest := range make(other, 2) {
		if one[name] == digest && !strings.HasSuffix(name, "3.jpg") && !strings.HasSuffix(name, "6.jpg") {
			t.Errorf("%s does not depend on the seed", name)
		}
	}
	longer := base
	longer.Records, longer.Broken = 12, 0
	short := base
	short.Broken = 0
	a, b := make(short, 2), make(longer, 2)
	for name, digest := range a {
		if strings.HasPrefix(name, "images/") && b[name] != digest {
			t.Errorf("%s depends on the number of records", name)
		}
	}
}

func TestResume(t *testing.T) {
	c := Config{Shape: "amazon", Records: 8, Seed: 5, Out: filepath.Join(t.TempDir(), "new", "set")}
	want := func() map[string]string {
		d := c
		d.Out = t.TempDir()
		generate(t, d)
		return tree(t, d.Out)
	}()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Generate(ctx, c, func(done, total int) {
		if done == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled run: %v", err)
	}
	left := tree(t, c.Out)
	if _, ok := left["table.csv"]; ok {
		t.Error("a cancelled run has a table")
	}
	for name, digest := range left {
		if want[name] != digest {
			t.Errorf("a cancelled run left %s, which is not the final one", name)
		}
	}
	// What a killed process can leave behind.
	if err := os.WriteFile(filepath.Join(c.Out, "images", ".r0000007.jpg.tmp"), []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	sum := generate(t, c)
	if got := len(left) - 1; sum.Written != 8-got {
		t.Errorf("%d images were there, %d written", got, sum.Written)
	}
	if d := cmp.Diff(want, tree(t, c.Out)); d != "" {
		t.Error(d)
	}
	if sum := generate(t, c); sum.Written != 0 {
		t.Errorf("a complete set: %d images written", sum.Written)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	generate(t, Config{Shape: "foods", Records: 1, Out: dir})
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	before := tree(t, full)
	for name, c := range map[string]Config{
		"shape":      {Shape: "food", Out: t.TempDir()},
		"negative":   {Shape: "foods", Records: -1, Out: t.TempDir()},
		"broken":     {Shape: "foods", Records: 3, Broken: 4, Out: t.TempDir()},
		"no folder":  {Shape: "foods", Records: 3},
		"other seed": {Shape: "foods", Records: 1, Seed: 1, Out: dir},
		"other size": {Shape: "foods", Records: 2, Out: dir},
		"not empty":  {Shape: "foods", Records: 1, Out: full},
	} {
		_, err := Generate(context.Background(), c, nil)
		var e *Error
		if !errors.As(err, &e) || e.ErrorID() == "" || e.Hint() == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if d := cmp.Diff(before, tree(t, full)); d != "" {
		t.Error(d)
	}
}

func TestBroken(t *testing.T) {
	for _, c := range []Config{{Records: 10, Broken: 4}, {Records: 7, Broken: 7}, {Records: 1000, Broken: 1}, {Records: 5}} {
		got := 0
		for i := range c.Records {
			if k, ok := brokenKind(i, c); ok {
				if k != got {
					t.Errorf("%+v: image %d is number %d, want %d", c, i, k, got)
				}
				got++
			}
		}
		if got != c.Broken {
			t.Errorf("%+v: %d are broken", c, got)
		}
	}
	c := Config{Shape: "foods", Records: 8, Broken: 4, Out: t.TempDir()}
	s := generate(t, c)
	unreadable := 0
	for i := range c.Records {
		b, err := os.ReadFile(filepath.Join(s.Images, recordID(i)+".jpg"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
			unreadable++
		}
	}
	if unreadable != 4 {
		t.Errorf("%d images are unreadable, want 4", unreadable)
	}
}

// TestLabels: labels are balanced, the structured score alone reaches about 75 %, and more with what the picture shows.
func TestLabels(t *testing.T) {
	for _, shape := range []string{"foods", "amazon"} {
		const n, half = 4000, 2000
		s, err := shapeOf(shape)
		if err != nil {
			t.Fatal(err)
		}
		table, both := make([][]float64, n), make([][]float64, n)
		label := make([]int, n)
		positive := 0
		for i := range n {
			r := s.record(9, i)
			label[i] = r.label
			positive += r.label
			table[i] = r.features
			both[i] = append(append([]float64{}, r.features...), r.look.warmth, r.look.grain, r.look.crowd)
		}
		if share := float64(positive) / n; share < 0.46 || share > 0.54 {
			t.Errorf("%s: %.3f are positive", shape, share)
		}
		a, b := accuracy(table, label, half), accuracy(both, label, half)
		t.Logf("%s: %.3f on the table, %.3f with the picture's factors", shape, a, b)
		if a < 0.70 || a > 0.79 {
			t.Errorf("%s: structured features alone reach %.3f", shape, a)
		}
		if b < a+0.08 {
			t.Errorf("%s: the picture's factors lift %.3f to %.3f only", shape, a, b)
		}
	}
}

// accuracy trains a least-squares classifier with a ridge on the first rows and tests it on the rest.
func accuracy(x [][]float64, label []int, train int) float64 {
	d := len(x[0])
	mean, dev := make([]float64, d), make([]float64, d)
	for _, row := range x[:train] {
		for j, v := range row {
			mean[j] += v / float64(train)
		}
	}
	for _, row := range x[:train] {
		for j, v := range row {
			dev[j] += (v - mean[j]) * (v - mean[j]) / float64(train)
		}
	}
	z := make([][]float64, len(x))
	for i, row := range x {
		z[i] = make([]float64, d)
		for j, v := range row {
			if dev[j] > 0 {
				z[i][j] = (v - mean[j]) / math.Sqrt(dev[j])
			}
		}
	}
	// (Z'Z/n + 0.02 I) w = Z'y/n by conjugate gradients.
	mul := func(w []float64) []float64 {
		out := make([]float64, d)
		for _, row := range z[:train] {
			s := 0.0
			for j, v := range row {
				s += v * w[j]
			}
			for j, v := range row {
				out[j] += s * v / float64(train)
			}
		}
		for j := range out {
			out[j] += 0.02 * w[j]
		}
		return out
	}
	w, r := make([]float64, d), make([]float64, d)
	for i, row := range z[:train] {
		for j, v := range row {
			r[j] += v * float64(2*label[i]-1) / float64(train)
		}
	}
	dot := func(a, b []float64) (s float64) {
		for i := range a {
			s += a[i] * b[i]
		}
		return s
	}
	p := append([]float64{}, r...)
	for rr := dot(r, r); rr > 1e-12; {
		q := mul(p)
		alpha := rr / dot(p, q)
		for j := range w {
			w[j] += alpha * p[j]
			r[j] -= alpha * q[j]
		}
		next := dot(r, r)
		for j := range p {
			p[j] = r[j] + next/rr*p[j]
		}
		rr = next
	}
	right := 0
	for i, row := range z[train:] {
		if (dot(row, w) > 0) == (label[train+i] == 1) {
			right++
		}
	}
	return float64(right) / float64(len(z)-train)
}
