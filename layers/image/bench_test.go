//go:build unix

package image

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkProcess is the whole way from bytes to 224 x 224 RGB, in one goroutine. images/core-s counts processor time,
// the collector's included: on a machine with other work it is the figure to compare.
func BenchmarkProcess(b *testing.B) {
	for _, d := range decoders(b) {
		for _, size := range [][2]int{{227, 227}, {500, 375}, {1024, 768}, {2048, 1536}} {
			b.Run(fmt.Sprintf("decoder=%v/size=%dx%d", d, size[0], size[1]), func(b *testing.B) {
				src := sceneJPEG(b, size[0], size[1], 1)
				benchmark(b, d, src)
			})
		}
		b.Run(fmt.Sprintf("decoder=%v/size=500x375-photo", d), func(b *testing.B) {
			benchmark(b, d, readFile(b, "photo.jpg"))
		})
	}
}

func benchmark(b *testing.B, d DecoderChoice, src []byte) {
	p := pipeline(b, Imagenet(), d)
	dst := make([]byte, 224*224*3)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	start := processorTime(b)
	for b.Loop() {
		if _, err := p.Process(dst, src); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
	b.ReportMetric(float64(b.N)/(processorTime(b)-start), "images/core-s")
}

// processorTime is that of the whole process, in seconds.
func processorTime(b *testing.B) float64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// BenchmarkResample is the resize and crop of a decoded picture alone.
func BenchmarkResample(b *testing.B) {
	for _, size := range [][2]int{{500, 375}, {1024, 768}} {
		for _, kind := range []string{"rgb", "planes"} {
			b.Run(fmt.Sprintf("kind=%s/size=%dx%d", kind, size[0], size[1]), func(b *testing.B) {
				p := pipeline(b, Imagenet(), Go)
				p.geo[0], _ = p.specs[0].layout(size[0], size[1], 1)
				dst := [][]byte{make([]byte, 224*224*3)}
				m := scene(size[0], size[1], 1)
				rgb := *p.pack(m)
				rgb.pix = append([]byte(nil), rgb.pix...)
				w, h := size[0], size[1]
				c := plane{pix: make([]byte, w*h/4+w), stride: (w + 1) / 2, w: (w + 1) / 2, h: (h + 1) / 2}
				ycc := planes{denom: 1, y: plane{pix: make([]byte, w*h), stride: w, w: w, h: h}, cb: c, cr: c, up: [2]int{2, 2}}
				b.ReportAllocs()
				for b.Loop() {
					if kind == "rgb" {
						p.drawPacked(dst, &rgb)
					} else {
						p.drawPlanes(dst, &ycc)
					}
				}
			})
		}
	}
}
