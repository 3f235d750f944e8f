//go:build (linux || darwin) && (amd64 || arm64)

package image

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// turboLib is libjpeg-turbo's TurboJPEG API, loaded at run time: building needs no headers and no cgo,
// and the same binary runs where the library is missing. The functions used exist in versions 2 and 3
// with the same names and arguments.
type turboLib struct {
	version    string
	init       uintptr
	header     uintptr
	decompress uintptr
	destroy    uintptr
}

// Values of turbojpeg.h.
const (
	tjpfRGB         = 0
	tjpfCMYK        = 11
	tjFlagLimitScan = 32768
)

// loadTurbo opens the library once per process.
var loadTurbo = sync.OnceValues(func() (*turboLib, error) {
	names := []string{"libturbojpeg.so.0", "libturbojpeg.so"}
	if runtime.GOOS == "darwin" {
		names = nil
		for _, dir := range []string{"", "/opt/homebrew/lib", "/usr/local/lib", "/opt/homebrew/opt/jpeg-turbo/lib", "/usr/local/opt/jpeg-turbo/lib"} {
			names = append(names, filepath.Join(dir, "libturbojpeg.0.dylib"), filepath.Join(dir, "libturbojpeg.dylib"))
		}
	}
	var errs []error
	for _, name := range names {
		h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l := &turboLib{}
		for _, f := range []struct {
			name string
			to   *uintptr
		}{
			{"tjInitDecompress", &l.init}, {"tjDecompressHeader3", &l.header},
			{"tjDecompress2", &l.decompress}, {"tjDestroy", &l.destroy},
		} {
			if *f.to, err = purego.Dlsym(h, f.name); err != nil {
				break
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		// The library does not tell its version; what it exports does, roughly.
		l.version = "1"
		for _, v := range []struct{ version, symbol string }{{"2", "tjGetErrorCode"}, {"3.0", "tj3Init"}, {"3.1", "tj3GetICCProfile"}} {
			if _, err := purego.Dlsym(h, v.symbol); err == nil {
				l.version = v.version
			}
		}
		return l, nil
	}
	return nil, errors.Join(errs...)
})

// TurboAvailable says whether libjpeg-turbo can be loaded, and the version of its TurboJPEG API.
func TurboAvailable() (version string, ok bool) {
	l, err := loadTurbo()
	if err != nil {
		return "", false
	}
	return l.version, true
}

// turboHandle is one decompressor. The C side keeps state in it: one per Pipeline.
type turboHandle struct {
	lib     *turboLib
	h       uintptr
	cleanup runtime.Cleanup
	// Results of header, here because C writes them: the handle lives on the heap.
	w, ht, subsamp, colorspace int32
}

func newTurbo() (*turboHandle, error) {
	l, err := loadTurbo()
	if err != nil {
		return nil, err
	}
	h, _, _ := purego.SyscallN(l.init)
	if h == 0 {
		return nil, errors.New("tjInitDecompress failed")
	}
	t := &turboHandle{lib: l, h: h}
	t.cleanup = runtime.AddCleanup(t, func(h uintptr) { purego.SyscallN(l.destroy, h) }, h)
	return t, nil
}

func (t *turboHandle) close() {
	t.cleanup.Stop()
	purego.SyscallN(t.lib.destroy, t.h)
}

// decode returns the whole picture in p's buffer, or nil if the library had to
// say anything at all about it.
func (t *turboHandle) decode(p *Pipeline, src []byte, head *jpegHead) *packed {
	r, _, _ := purego.SyscallN(t.lib.header, t.h, uintptr(unsafe.Pointer(unsafe.SliceData(src))), uintptr(len(src)),
		uintptr(unsafe.Pointer(&t.w)), uintptr(unsafe.Pointer(&t.ht)),
		uintptr(unsafe.Pointer(&t.subsamp)), uintptr(unsafe.Pointer(&t.colorspace)))
	// The sizes must be those that were checked, or the buffer would be too short.
	if int32(r) != 0 || int(t.w) != head.w || int(t.ht) != head.h {
		return nil
	}
	m := &packed{w: head.w, h: head.h, stride: 3 * head.w}
	format, bytes := tjpfRGB, 3
	if head.components == 4 {
		format, bytes = tjpfCMYK, 4
	}
	size := m.w * m.h
	p.rgb = grow(p.rgb, size*bytes)
	m.pix = p.rgb
	r, _, _ = purego.SyscallN(t.lib.decompress, t.h, uintptr(unsafe.Pointer(unsafe.SliceData(src))), uintptr(len(src)),
		uintptr(unsafe.Pointer(unsafe.SliceData(m.pix))), uintptr(m.w), uintptr(bytes*m.w), uintptr(m.h), uintptr(format), tjFlagLimitScan)
	runtime.KeepAlive(t)
	if int32(r) != 0 {
		return nil
	}
	if bytes == 4 {
		// Adobe's files store the inks inverted, and there are no others.
		for i := range size {
			s := m.pix[4*i:][:4]
			cmyk(m.pix[3*i:], 255-s[0], 255-s[1], 255-s[2], 255-s[3])
		}
	}
	return m
}
