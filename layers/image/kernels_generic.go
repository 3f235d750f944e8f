package image

func (a *axis) row(dst, src []byte, base int)       { a.hline(dst, src, base) }
func (a *axis) row3(dst, src []byte, base int)      { a.hline3(dst, src, base) }
func column(dst, src []byte, stride int, k []int32) { vline(dst, src, stride, k) }

type shuffles struct{}

// rowSlack is how far past the end of a line the kernels may read.
const rowSlack = 0
