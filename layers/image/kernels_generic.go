//go:build !amd64

package image

type shuffles struct{}

func (a *axis) row(dst, src []byte, x0 int)         { a.hline(dst, src, x0, 0) }
func (a *axis) row3(dst, src []byte, x0 int)        { a.hline3(dst, src, x0, 0) }
func column(dst, src []byte, stride int, k []int32) { vline(dst, src, stride, k) }
func toRGB(dst, y, cb, cr []byte)                   { yccToRGB(dst, y, cb, cr) }

func transform8(dst []byte, stride int, b *[64]int32) { idct8(dst, stride, b) }
