package synth

import "testing"

// BenchmarkPicture draws and encodes one picture.
func BenchmarkPicture(b *testing.B) {
	for _, stage := range []string{"paint", "jpeg"} {
		b.Run("stage="+stage, func(b *testing.B) {
			p := newPainter(newTextures(1))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if stage == "paint" {
					p.paint(random(1, streamPicture, i), look{})
					continue
				}
				data, err := p.jpeg(1, i, look{})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(data)))
			}
		})
	}
}
