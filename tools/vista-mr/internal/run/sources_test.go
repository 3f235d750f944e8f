package run

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// picked is one image file of a world.
type picked struct {
	name string
	data []byte
}

func (p picked) key() string { return p.name[:strings.LastIndexByte(p.name, '.')] }

// pick reads a world's images in the order of their names.
func (w *world) pick(t *testing.T) []picked {
	t.Helper()
	entries, err := os.ReadDir(w.images)
	if err != nil {
		t.Fatal(err)
	}
	var out []picked
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(w.images, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, picked{e.Name(), b})
	}
	return out
}

func save(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// tarOf packs images with what usually lies beside them in a shard.
func tarOf(t testing.TB, all []picked) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		stem := strings.ReplaceAll(p.key(), ".", "_") // in an archive the key ends at the first dot
		add("./"+stem+".cls", []byte("3"))
		add("./"+stem+filepath.Ext(p.name), p.data)
		add("./"+stem+".json", []byte(`{"a": 1}`))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func avroOf(t *testing.T, all []picked, codec string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &b, CompressionName: codec, Schema: `{"type":"record","name":"r","fields":[
		{"name":"n","type":["null","long"]},{"name":"image","type":["null","bytes"]},{"name":"tags","type":{"type":"array","items":"string"}},{"name":"id","type":"string"}]}`})
	if err != nil {
		t.Fatal(err)
	}
	for c := range slices.Chunk(all, 7) {
		var rows []any
		for _, p := range c {
			rows = append(rows, map[string]any{"n": nil, "image": map[string]any{"bytes": p.data}, "tags": []any{"x", "yy"}, "id": p.key()})
		}
		if err := w.Append(rows); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

type hfImage struct {
	Bytes []byte `parquet:"bytes,optional"`
	Path  string `parquet:"path,optional"`
}

type hfRow struct {
	Label int64   `parquet:"label"`
	Image hfImage `parquet:"image,optional"`
}

// parquetOf packs images as Hugging Face does: a struct of bytes and path, and no key.
func parquetOf(t *testing.T, all []picked, o ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[hfRow](&b, o...)
	for c := range slices.Chunk(all, 25) {
		for _, p := range c {
			if _, err := w.Write([]hfRow{{1, hfImage{p.data, "train/" + p.name}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil { // ends a row group
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sources puts the images of a world into something else, and says so in its job.
var sources = []struct {
	name string
	make func(t *testing.T, w *world, all []picked) (uri string)
}{
	{"nested", func(t *testing.T, w *world, all []picked) string {
		dir := filepath.Join(w.dir, "nested")
		for i, p := range all {
			save(t, filepath.Join(dir, fmt.Sprintf("%02d", i/5), "x", p.name), p.data)
		}
		save(t, filepath.Join(dir, "_SUCCESS"), nil)
		return dir
	}},
	{"tar", func(t *testing.T, w *world, all []picked) string {
		for i, c := range slices.Collect(slices.Chunk(all, 20)) {
			save(t, filepath.Join(w.dir, "shards", fmt.Sprintf("s-%03d.tar", i)), tarOf(t, c))
		}
		save(t, filepath.Join(w.dir, "shards", "README"), []byte("what this is"))
		return filepath.Join(w.dir, "shards")
	}},
	{"tar-braces", func(t *testing.T, w *world, all []picked) string {
		for i, c := range slices.Collect(slices.Chunk(all, 40)) {
			save(t, filepath.Join(w.dir, "two", fmt.Sprintf("s-%03d.tar", i)), tarOf(t, c))
		}
		return filepath.Join(w.dir, "two") + "/s-{000..001}.tar"
	}},
	{"avro-null", avroSource("null")},
	{"avro-snappy", avroSource("snappy")},
	{"avro-deflate", avroSource("deflate")},
	{"parquet-none", parquetSource()},
	{"parquet-snappy", parquetSource(parquet.Compression(&parquet.Snappy), parquet.PageBufferSize(8000))},
	{"parquet-gzip", parquetSource(parquet.Compression(&parquet.Gzip))},
	{"parquet-zstd-v1", parquetSource(parquet.Compression(&parquet.Zstd), parquet.DataPageVersion(1), parquet.PageBufferSize(8000))},
	{"parquet-lz4", parquetSource(parquet.Compression(&parquet.Lz4Raw))},
}

func avroSource(codec string) func(t *testing.T, w *world, all []picked) string {
	return func(t *testing.T, w *world, all []picked) string {
		dir := filepath.Join(w.dir, "avro-"+codec)
		for i, c := range slices.Collect(slices.Chunk(all, 30)) {
			save(t, filepath.Join(dir, fmt.Sprintf("part-%05d.avro", i)), avroOf(t, c, codec))
		}
		return dir
	}
}

func parquetSource(o ...parquet.WriterOption) func(t *testing.T, w *world, all []picked) string {
	return func(t *testing.T, w *world, all []picked) string {
		name := filepath.Join(w.dir, fmt.Sprintf("images-%d.parquet", len(o)))
		save(t, name, parquetOf(t, all, o...))
		return name
	}
}

// sourcePlans is one plan for each way that images are read and joined.
func sourcePlans() []plan.Plan {
	var out []plan.Plan
	for _, p := range []plan.Plan{
		{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast},
		{Inference: plan.Lazy, Placement: plan.AfterJoin, Join: plan.Shuffle},
		{Inference: plan.Staged, Placement: plan.BeforeJoin, Join: plan.Shuffle},
	} {
		p.Storage, p.CPU, p.Partitions, p.Batch = plan.Snappy, 2, 5, 3
		out = append(out, p)
	}
	return out
}

func (w *world) check(t *testing.T, rt *ort.Runtime, n networks, want *expected, plans []plan.Plan) {
	t.Helper()
	for _, p := range plans {
		t.Run(strings.ReplaceAll(p.String(), " ", "_"), func(t *testing.T) {
			phases := w.run(t, rt, n, p)
			compareRecords(t, w, want, phases)
			compareCounts(t, want, phases)
		})
	}
}

// TestAllSourcesGiveWhatTheOracleGives: what images come in changes nothing but the time to read them.
func TestAllSourcesGiveWhatTheOracleGives(t *testing.T) {
	rt := startRuntime(t)
	w := newWorld(t, true)
	n := w.network(t)
	want := w.oracle(t, rt, n, true)
	all := w.pick(t)
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			v := *w
			v.dir = t.TempDir()
			v.job = &conf.Job{}
			*v.job = *w.job
			v.job.Images.URI = conf.URI(s.make(t, &v, all))
			v.check(t, rt, n, want, sourcePlans())
		})
	}
}

// TestImagesThatATableNames has the paths in a column: relative, absolute, missing, and leading out of the folder.
func TestImagesThatATableNames(t *testing.T) {
	rt := startRuntime(t)
	w := newWorld(t, true)
	b, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines[0] += ",photo"
	w.columns = 6
	named := map[string]bool{}
	for i, l := range lines[1:] {
		key, _, _ := strings.Cut(l, ",")
		cell := ""
		for _, ext := range []string{".jpg", ".png"} {
			if _, err := os.Stat(filepath.Join(w.images, key+ext)); err == nil && strings.Count(l, ",") == 4 {
				cell = key + ext
				named[cell] = true
			}
		}
		if i == 10 { // the absolute path of the same file
			cell = filepath.Join(w.images, cell)
		}
		if i == 11 || i == 12 {
			if err := os.Remove(filepath.Join(w.images, cell)); err != nil {
				t.Fatal(err)
			}
			if i == 12 {
				cell = "../" + cell
			}
		}
		lines[i+1] += "," + cell
	}
	save(t, w.table, []byte(strings.Join(lines, "\n")+"\n"))
	for _, p := range w.pick(t) {
		if !named[p.name] {
			if err := os.Remove(filepath.Join(w.images, p.name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.job.Images.Column = "photo"
	n := w.network(t)
	want := w.oracle(t, rt, n, true)
	want.count["images"] += 2 // the two that are not there: each a bad image, where the oracle sees a row without one
	want.count["bad.no-image"] -= 2
	want.count["images"]-- // what a bad row names is not an image of the job
	want.count["left-out.aside"] = 0
	w.check(t, rt, n, want, sourcePlans())
}

// newAlbum is a world of records with none to five images each, in a folder for each record.
func newAlbum(t *testing.T, required bool, how string) *world {
	t.Helper()
	w := newWorld(t, required)
	w.images = filepath.Join(w.dir, "albums")
	w.job.Images.URI, w.job.Images.Key, w.job.Images.Multiple = conf.URI(w.images), images.Folder, how
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		key := fmt.Sprintf("k%02d", i)
		for k := range rnd.IntN(6) {
			data := picture(rnd, []string{"red", "blue"}[i%2], "jpg")
			if i == 20 || i%7 == 3 && k == 1 { // one among several, or all of a record
				data = data[:200]
			}
			save(t, filepath.Join(w.images, key, fmt.Sprintf("%d.jpg", k)), data)
		}
	}
	for k := range 3 { // no row
		save(t, filepath.Join(w.images, "nobody", fmt.Sprintf("%d.png", k)), picture(rnd, "red", "png"))
	}
	save(t, filepath.Join(w.images, "nobody", "3.png"), []byte("not an image"))
	save(t, filepath.Join(w.images, "k20", "a.jpg"), []byte("not an image"))
	return w
}

// oracleOfAlbums pools each image as usual, then takes the mean or the largest value.
func (w *world) oracleOfAlbums(t *testing.T, rt *ort.Runtime, n networks, required bool, how string) *expected {
	t.Helper()
	e := w.rows(t)
	run := w.whole(t, rt, n)
	folders, err := os.ReadDir(w.images)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range folders {
		key := f.Name()
		files, err := filepath.Glob(filepath.Join(w.images, key, "*"))
		if err != nil {
			t.Fatal(err)
		}
		e.count["images"] += int64(len(files))
		if len(files) > 1 {
			e.count["images.several"]++
		}
		seen[key] = true
		if _, ok := e.labels[key]; !ok {
			if e.aside[key] {
				e.count["left-out.aside"]++
			} else if required {
				e.count["bad"]++ // the record, not each image
				e.count["bad.no-row"]++
			} else {
				e.count["left-out.image"]++
			}
			continue
		}
		var all []map[string][]float64
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if v := run(b); v != nil {
				all = append(all, v)
			} else {
				e.count["bad"]++
				if string(b) != "not an image" {
					e.count["bad.truncated"]++
				}
			}
		}
		if len(all) > 0 {
			e.truth(key, combine(all, how))
		}
	}
	e.withoutImages(seen, required)
	return e
}

func combine(all []map[string][]float64, how string) map[string][]float64 {
	out := map[string][]float64{}
	for layer, first := range all[0] {
		v := make([]float64, len(first))
		for i := range v {
			sum, most := 0.0, math.Inf(-1)
			for _, a := range all {
				sum += a[layer][i]
				most = max(most, a[layer][i])
			}
			if v[i] = sum / float64(len(all)); how == images.Max {
				v[i] = most
			}
		}
		out[layer] = v
	}
	return out
}

// TestSeveralImagesOfARecord runs every plan: where images are read, pooled and joined must not matter.
func TestSeveralImagesOfARecord(t *testing.T) {
	rt := startRuntime(t)
	for _, c := range []struct {
		how      string
		required bool
	}{{images.Mean, true}, {images.Max, false}} {
		t.Run(c.how, func(t *testing.T) {
			w := newAlbum(t, c.required, c.how)
			n := w.network(t)
			want := w.oracleOfAlbums(t, rt, n, c.required, c.how)
			if len(want.records) < 30 || want.count["images.several"] < 20 || want.count["bad"] < 5 {
				t.Fatalf("the oracle has %d records, counts %v", len(want.records), want.count)
			}
			var plans []plan.Plan
			for _, p := range allPlans() {
				if p.Storage == plan.Snappy || p.Inference == plan.Eager {
					plans = append(plans, p)
				}
			}
			w.check(t, rt, n, want, plans)
		})
	}
}
