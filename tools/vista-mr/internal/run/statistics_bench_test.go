package run

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
)

// BenchmarkStatistics explains a job over 20,000 small images in a folder and in tar archives, from the job file to the plan, with
// all that the optimizer wants to know of the data. Of that nearly all is reading the table, the list of images and a sample.
func BenchmarkStatistics(b *testing.B) {
	const images = 20_000
	b.Setenv("VISTA_MR_CACHE", b.TempDir())
	dir := b.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2))
	var few [][]byte
	for i := range 32 {
		few = append(few, picture(rnd, []string{"red", "blue"}[i%2], "jpg"))
	}
	var rows bytes.Buffer
	rows.WriteString("id,x,y,label\n")
	var all []picked
	for i := range images {
		key := fmt.Sprintf("image%05d", i)
		fmt.Fprintf(&rows, "%s,%.3f,%.3f,%s\n", key, rnd.NormFloat64(), rnd.NormFloat64(), []string{"red", "blue"}[i%2])
		all = append(all, picked{key + ".jpg", few[i%len(few)]})
	}
	save(b, filepath.Join(dir, "t.csv"), rows.Bytes())
	for _, p := range all {
		save(b, filepath.Join(dir, "folder", p.name), p.data)
	}
	for i, c := range slices.Collect(slices.Chunk(all, 1000)) {
		save(b, filepath.Join(dir, "tar", fmt.Sprintf("%03d.tar", i)), tarOf(b, c))
	}
	for _, source := range []string{"folder", "tar"} {
		b.Run(source, func(b *testing.B) {
			j := conf.Defaults()
			j.Name, j.CNN[0].Model, j.CNN[0].Weights = "statistics", "resnet50", "random"
			j.Table.URI, j.Table.Key, j.Table.Label = conf.URI(filepath.Join(dir, "t.csv")), "id", "label"
			j.Images.URI = conf.URI(filepath.Join(dir, source))
			for b.Loop() {
				x, err := Explain(b.Context(), j, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if x.Data.Images != images || x.Data.Matched != images || x.Data.Pixels == 0 {
					b.Fatalf("it has found %+v", x.Data)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/job")
		})
	}
}
