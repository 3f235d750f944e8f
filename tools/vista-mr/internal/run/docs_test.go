package run

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// snippets are the parts of a job file that a page of the documentation shows: paragraphs set in by four, that begin
// with one of the file's keys.
func snippets(t *testing.T, page string) []string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for paragraph := range strings.SplitSeq(string(data), "\n\n") {
		if regexp.MustCompile(`^    (table|images): *\{`).MatchString(paragraph) {
			out = append(out, strings.ReplaceAll(strings.TrimPrefix(paragraph, "    "), "\n    ", "\n")+"\n")
		}
	}
	return out
}

// photo is a row of a Parquet file whose columns have names that must be given.
type photo struct {
	ID    string `parquet:"id"`
	Photo []byte `parquet:"photo"`
	Thumb []byte `parquet:"thumb"`
}

// TestSnippetsOfTheInputsPage runs every snippet of docs/inputs.md as a job, on the images of the test's world laid out as
// the page has them, and compares the features with the oracle's. A snippet that is not known here fails.
func TestSnippetsOfTheInputsPage(t *testing.T) {
	rt := startRuntime(t)
	page, err := filepath.Abs("../../../../docs/inputs.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, true)
	n := w.network(t)
	all := w.pick(t)
	want := w.oracle(t, rt, n, true)
	folder := func(t *testing.T) {
		for _, p := range all {
			save(t, filepath.Join("data/images", p.name), p.data)
		}
	}
	layouts := map[string]func(t *testing.T){
		"data/images": folder,
		"shards/train-{000..001}.tar": func(t *testing.T) {
			save(t, "shards/train-000.tar", tarOf(t, all[:30]))
			save(t, "shards/train-001.tar", tarOf(t, all[30:]))
		},
		"hf": func(t *testing.T) { save(t, "hf/train-00000-of-00001.parquet", parquetOf(t, all)) },
		"hf photo": func(t *testing.T) {
			var b bytes.Buffer
			out := parquet.NewGenericWriter[photo](&b)
			for _, p := range all {
				if _, err := out.Write([]photo{{p.key(), p.data, []byte("small")}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			save(t, "hf/a.parquet", b.Bytes())
		},
		"packed": func(t *testing.T) {
			if _, err := Pack(t.Context(), images.Spec{URI: w.images}, "packed", progress.Discard); err != nil {
				t.Fatal(err)
			}
		},
		"data/images photo": func(t *testing.T) {
			folder(t)
			save(t, "photos.csv", w.photos(t, all))
		},
		"albums": nil, // has an oracle of its own
	}
	base, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	table := []byte(strings.Replace(string(base), "name,x,y,colour,z", "id,x,y,label,z", 1))
	const head = "apiVersion: vista-mr/v1\nname: docs\nseed: 7\ncnn: {model: alexnet, weights: random}\noutput: out\n"
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 4, Batch: 3}
	found := snippets(t, page)
	for i, s := range found {
		t.Run(strconv.Itoa(i), func(t *testing.T) { // the name goes into a path, where braces mean something
			t.Log(s)
			text := head + s
			if !strings.HasPrefix(s, "table:") {
				text += "table: {uri: t.csv, key: id, label: label}\n"
			}
			job, err := conf.Load("docs.yaml", []byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			v := *w
			v.dir = t.TempDir()
			t.Chdir(v.dir)
			v.table, v.job = filepath.Join(v.dir, "t.csv"), &conf.Job{}
			*v.job = *w.job
			v.job.Table, v.job.Images = job.Table, job.Images
			save(t, v.table, table)
			want := want
			name := strings.TrimSpace(string(job.Images.URI) + " " + job.Images.Column + job.Images.Fields.Image)
			lay, ok := layouts[name]
			switch {
			case !ok:
				t.Fatalf("nobody runs %q", name)
			case lay == nil:
				a := newAlbum(t, true, job.Images.Multiple)
				if err := os.Symlink(a.images, "albums"); err != nil {
					t.Fatal(err)
				}
				want = a.oracleOfAlbums(t, rt, n, true, job.Images.Multiple)
			default:
				lay(t)
			}
			if len(want.records) < 30 {
				t.Fatalf("the oracle has %d records", len(want.records))
			}
			compareRecords(t, &v, want, v.run(t, rt, n, p))
		})
	}
	if len(found) != len(layouts) {
		t.Errorf("the page has %d snippets, %d are known here", len(found), len(layouts))
	}
}

// TestPagesShowJobFiles reads every part of a job file that README and the pages of docs show, also within a line.
func TestPagesShowJobFiles(t *testing.T) {
	pages, err := filepath.Glob("../../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../../../README.md") {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for paragraph := range strings.SplitSeq(string(data), "\n\n") {
			if regexp.MustCompile(`^    (apiVersion:|(table|images|cnn): *\{|cnn:\n)`).MatchString(paragraph) {
				parts = append(parts, strings.ReplaceAll(strings.TrimPrefix(paragraph, "    "), "\n    ", "\n"))
			}
		}
		for _, m := range regexp.MustCompile("`(cnn: \\{[^`]*\\})`").FindAllStringSubmatch(string(data), -1) {
			parts = append(parts, m[1])
		}
		for _, m := range regexp.MustCompile("`(\\{resize: [^`]*\\})`").FindAllStringSubmatch(string(data), -1) {
			parts = append(parts, "cnn: {model: alexnet, weights: random, preprocess: "+m[1]+"}")
		}
		for _, part := range parts {
			found++
			text := part + "\n"
			for _, rest := range []string{"apiVersion: vista-mr/v1", "name: docs", "table: {uri: t.csv, key: id, label: label}", "images: {uri: images}",
				"cnn: {model: alexnet, weights: random}", "output: out"} {
				if key, _, _ := strings.Cut(rest, ":"); !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) {
					text += rest + "\n"
				}
			}
			if _, err := conf.Load(filepath.Base(page), []byte(text), nil); err != nil {
				t.Errorf("%v\nin\n%s", err, text)
			}
		}
	}
	if found < 14 {
		t.Errorf("only %d parts of job files were found", found)
	}
}

// TestSnippetOfSeveralNetworks runs the list of networks that docs/models.md shows.
func TestSnippetOfSeveralNetworks(t *testing.T) {
	page, err := filepath.Abs("../../../../docs/models.md")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	head := fmt.Sprintf("apiVersion: vista-mr/v1\nname: docs\ntable: {uri: %s, key: name, label: colour}\nimages: {uri: %s}\nlimits: {maxBadFraction: 1}\noutput: %s\n", w.table, w.images, filepath.Join(w.dir, "out"))
	ran := 0
	for paragraph := range strings.SplitSeq(string(data), "\n\n") {
		if !strings.HasPrefix(paragraph, "    cnn:\n") {
			continue
		}
		ran++
		text := head + strings.ReplaceAll(strings.ReplaceAll("\n"+paragraph, "\n    ", "\n"), "nets/", filepath.Join(w.dir, "net")+"/")
		j, err := conf.Load("models.md", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if first := &j.CNN[0]; first.Model != "alexnet" {
			t.Fatalf("the first network is %s", first.Model)
		} else { // a small one in its place: making it ready takes longer than all of this
			first.Name, first.Model, first.Weights, first.Preprocess = first.Model, w.job.CNN[0].Model, "", w.job.CNN[0].Preprocess
		}
		s, err := Submit(t.Context(), j, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range s.Layers {
			got = append(got, l.Name)
		}
		if want := []string{"alexnet./f1_relu/Relu_output_0", "alexnet./f2/Gemm_output_0", "ours./f1/Gemm_output_0", "ours./f2/Gemm_output_0"}; !slices.Equal(got, want) || s.Plan.Networks != "together" {
			t.Errorf("layers %v, networks %s; want %v", got, s.Plan.Networks, want)
		}
	}
	if ran != 1 {
		t.Errorf("%d lists of networks are on the page", ran)
	}
}

// photos is the world's table with a column of paths: of each key the first image by name.
func (w *world) photos(t *testing.T, all []picked) []byte {
	t.Helper()
	b, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines[0] = "id,x,y,label,z,photo"
	for i, l := range lines[1:] {
		key, _, _ := strings.Cut(l, ",")
		if k := slices.IndexFunc(all, func(p picked) bool { return p.key() == key }); k >= 0 {
			l += "," + all[k].name
		} else {
			l += ","
		}
		lines[i+1] = l
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}
