package dfstest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Bench measures what the engine does often: small commits (manifests), large ones (part
// files), claims, reads in blocks, and listings.
func Bench(b *testing.B, c Case) {
	c = c.filled()
	for _, size := range []int{4 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("op=commit/size=%d", size), func(b *testing.B) {
			fs, data := c.New(b), pattern(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := dfs.Path(fmt.Sprintf("out/part-%d", i))
				write(b, fs, p, data)
				if i%8 == 7 { // not to fill the disk
					must(b, "remove", fs.Remove(b.Context(), p))
				}
			}
		})
	}
	b.Run("op=commit/size=4096/parallel=8", func(b *testing.B) {
		fs, data := c.New(b), pattern(4<<10)
		var n atomic.Int64
		b.SetBytes(4 << 10)
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := n.Add(1)
				if err := dfs.WriteFile(b.Context(), fs, dfs.Path(fmt.Sprintf("out/%d/part-%d", i%8, i)), data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("op=claim", func(b *testing.B) {
		fs := c.New(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			must(b, "claim", fs.Claim(b.Context(), dfs.Path(fmt.Sprintf("epochs/%d", i))))
		}
	})
	b.Run("op=open-read/size=65536", func(b *testing.B) {
		fs, buf := c.New(b), make([]byte, 64<<10)
		write(b, fs, "image", pattern(len(buf)))
		b.SetBytes(int64(len(buf)))
		b.ReportAllocs()
		for b.Loop() {
			f, err := fs.Open(b.Context(), "image")
			must(b, "open", err)
			if n, err := f.ReadAt(buf, 0); n < len(buf) {
				b.Fatal(err)
			}
			must(b, "close", f.Close())
		}
	})
	b.Run("op=read/size=1048576", func(b *testing.B) {
		fs, buf := c.New(b), make([]byte, 1<<20)
		write(b, fs, "part", pattern(8<<20))
		f, err := fs.Open(b.Context(), "part")
		must(b, "open", err)
		b.SetBytes(int64(len(buf)))
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			if n, err := f.ReadAt(buf, i%8<<20); n < len(buf) {
				b.Fatal(err)
			}
		}
		must(b, "close", f.Close())
	})
	b.Run(fmt.Sprintf("op=list/files=%d", c.Many), func(b *testing.B) {
		fs := c.New(b)
		for i := range c.Many {
			must(b, "claim", fs.Claim(b.Context(), dfs.Path(fmt.Sprintf("images/%06d.jpg", i))))
		}
		b.ReportAllocs()
		for b.Loop() {
			if n := len(paths(b, fs, "images")); n != c.Many {
				b.Fatalf("%d files", n)
			}
		}
	})
}
