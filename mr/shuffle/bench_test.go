package shuffle

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
)

// BenchmarkExternalSort sorts ten times as much as its memory holds, with Snappy and
// checksums, through spills and the merge of a reduce task. peak-MiB is the most heap in use,
// garbage included, beside the benchmark's own data.
func BenchmarkExternalSort(b *testing.B) {
	for _, c := range []struct {
		memory, value, random int // bytes; random: how much of a value does not pack
	}{{8 << 20, 90, 8}, {8 << 20, 90, 90}, {8 << 20, 16 << 10, 16 << 10}} {
		const key = 10
		records := 10 * c.memory / (key + c.value)
		b.Run(fmt.Sprintf("memory=%dMiB/data=%dMiB/value=%d/random=%d", c.memory>>20, (key+c.value)*records>>20, c.value, c.random), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			noise := make([]byte, 1<<20+c.value+key)
			for i := 0; i+8 <= len(noise); i += 8 {
				binary.LittleEndian.PutUint64(noise[i:], rnd.Uint64())
			}
			value := make([]byte, c.value)
			for i := range value {
				value[i] = byte('a' + i%7)
			}
			b.SetBytes(int64((key + c.value) * records))
			b.ReportAllocs()
			runtime.GC()
			base, peak := inUse(), uint64(0)
			for b.Loop() {
				peak = max(peak, externalSort(b, c.memory, records, func(i int) (k, v []byte) {
					at := i * 2654435761 % (1 << 20)
					copy(value, noise[at+key:][:c.random])
					return noise[at : at+key], value
				}))
			}
			b.ReportMetric(float64(peak-min(peak, base))/(1<<20), "peak-MiB")
		})
	}
}

func inUse() uint64 {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapInuse
}

// externalSort sorts and merges once, and returns the most heap in use.
func externalSort(b *testing.B, memory, records int, at func(i int) (k, v []byte)) (peak uint64) {
	b.Helper()
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	w, err := NewWriter(Options{Partitions: 4, Memory: int64(memory), Scratch: dir})
	check(err)
	for i := range records {
		k, v := at(i)
		check(w.Add(b.Context(), k, v))
		if i%(records/32) == 0 {
			peak = max(peak, inUse())
		}
	}
	f, err := os.CreateTemp(dir, "out")
	check(err)
	index, err := w.Finish(b.Context(), f)
	check(err)
	peak = max(peak, inUse())
	check(w.Close())
	n := 0
	for _, s := range index {
		g, err := Merge(b.Context(), []Source{{R: f, Seg: s}}, MergeOptions{Memory: int64(memory), Scratch: dir})
		check(err)
		for g.Next(b.Context()) {
			for range g.Values() {
				n++
			}
		}
		check(g.Err())
		check(g.Close())
	}
	peak = max(peak, inUse())
	check(f.Close())
	check(os.Remove(f.Name()))
	if n != records {
		b.Fatalf("%d records came out of %d", n, records)
	}
	return peak
}
