//go:build unix

package run

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// processor is the processor time that this process has used, in seconds: what the clock says on a machine shared with
// others is not worth comparing.
func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkSources runs the same job, from planning to the last image's features, on images in a folder, in tar and
// Parquet files and in packed shards, in turns, and gives the processor time of each as a share of the folder's, and
// the time of the clock likewise.
func BenchmarkSources(b *testing.B) {
	const records = 512
	x := newBench(b, "alexnet", records)
	folder := x.job.Images.URI
	uris := map[string]conf.URI{"folder": folder}
	names := []string{"folder", "tar", "parquet", "pack"}
	shards := filepath.Join(x.dir, "tar")
	var all []picked
	files, err := filepath.Glob(filepath.Join(string(folder), "*.jpg"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, picked{filepath.Base(name), data})
	}
	for i, c := range slices.Collect(slices.Chunk(all, 256)) {
		save(b, filepath.Join(shards, fmt.Sprintf("%03d.tar", i)), tarOf(b, c))
	}
	uris["tar"] = conf.URI(shards)
	var out bytes.Buffer
	w := parquet.NewGenericWriter[hfRow](&out, parquet.Compression(&parquet.Snappy))
	for _, p := range all {
		if _, err := w.Write([]hfRow{{1, hfImage{p.data, p.name}}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	save(b, filepath.Join(x.dir, "images.parquet"), out.Bytes())
	uris["parquet"] = conf.URI(filepath.Join(x.dir, "images.parquet"))
	if _, err := Pack(b.Context(), images.Spec{URI: string(folder)}, filepath.Join(x.dir, "packed"), progress.Discard); err != nil {
		b.Fatal(err)
	}
	uris["pack"] = conf.URI(filepath.Join(x.dir, "packed"))
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy}
	x.run(p, false) // prepares the model's cache
	seconds, cpu := map[string]float64{}, map[string]float64{}
	for b.Loop() {
		for _, name := range names {
			x.job.Images.URI = uris[name]
			start := processor(b)
			_, s := x.run(p, false)
			seconds[name] += s
			cpu[name] += processor(b) - start
		}
	}
	for _, name := range names[1:] {
		b.ReportMetric(cpu[name]/cpu["folder"], name+"/folder-cpu")
		b.ReportMetric(seconds[name]/seconds["folder"], name+"/folder-clock")
	}
	b.ReportMetric(records*float64(b.N)/cpu["folder"], "images/cpu-s-folder")
}
