package ort

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// The first two entries of the library's table, which no version may move.
struct base {
	const void *(*api)(uint32_t);
	const char *(*version)(void);
};

static void *load(const char *name) { return dlopen(name, RTLD_LAZY | RTLD_LOCAL); }

// Returns NULL if this is not ONNX Runtime.
static const char *version(void *library) {
	const struct base *(*get)(void) = (const struct base *(*)(void))dlsym(library, "OrtGetApiBase");
	return get && get() ? get()->version() : NULL;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

// minor is the oldest version 1.x of the library that serves the API which the binding asks for.
// Newer ones serve it too.
const minor = 24

const getLibrary = "`make build` puts the library beside the program; --ort-lib or VISTA_MR_ORT_LIB=/path/to/it names one that is installed"

// Library is the file name of the runtime's library on this system.
func Library() string {
	switch runtime.GOOS {
	case "darwin":
		return "libonnxruntime.dylib"
	case "windows":
		return "onnxruntime.dll"
	}
	return "libonnxruntime.so"
}

// FindLibrary returns the library that is used when Options name none.
func FindLibrary() (string, error) { return locate("") }

// CheckLibrary returns the library that Init would use and its version, or what is wrong with it. A name
// comes first; "" is as in Options.Library.
func CheckLibrary(named string) (path, version string, err error) {
	if path, err = locate(named); err != nil {
		return "", "", err
	}
	version, err = check(path)
	return path, version, err
}

// locate is the only search for the library: the one that is named; that of VISTA_MR_ORT_LIB; beside the program; in
// bin/ of the module that a test runs in; or, as a bare name, what the system's loader knows. It does not tell whether
// the version fits.
func locate(named string) (string, error) {
	who := ""
	if named == "" {
		named, who = os.Getenv("VISTA_MR_ORT_LIB"), "VISTA_MR_ORT_LIB="
	}
	if named != "" {
		st, err := os.Stat(named)
		var at *fs.PathError
		switch {
		case errors.As(err, &at):
			err = at.Err
		case err == nil && !st.Mode().IsRegular():
			err = errors.New("it is not a file")
		}
		if err != nil {
			return "", &Error{Op: "library " + who + named, ID: idLibrary, Fix: getLibrary, Err: err}
		}
		return named, nil
	}
	looked := places()
	for _, p := range looked {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			return p, nil
		}
	}
	for _, name := range []string{Library(), Library() + ".1"} {
		if h, err := load(name); err == nil {
			C.dlclose(h)
			return name, nil
		}
	}
	return "", &Error{Op: "library", ID: idLibrary, Fix: getLibrary,
		Err: fmt.Errorf("%s is not found: looked at %s and where the system keeps libraries", Library(), strings.Join(looked, ", "))}
}

// places lists the files that may be the library.
func places() []string {
	var out []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		out = append(out, filepath.Join(filepath.Dir(exe), Library()))
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return append(out, filepath.Join(dir, "bin", Library()))
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return out
}

// load opens a library or says what its loader has against it.
func load(path string) (unsafe.Pointer, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	runtime.LockOSThread() // dlerror answers for its own thread
	defer runtime.UnlockOSThread()
	h := C.load(name)
	if h == nil {
		return nil, errors.New(C.GoString(C.dlerror()))
	}
	return h, nil
}

// loadAdvice says what to do about a library that cannot be loaded. One that is there but cannot be mapped is in order.
func loadAdvice(err error) string {
	if strings.Contains(err.Error(), "failed to map segment") {
		return "the file is a library, but the system does not map it: raise the limit of address space (ulimit -v), or move it to a disk that is not mounted noexec"
	}
	return getLibrary
}

// check loads the library and returns its version if that fits, before the binding asks it for an interface that it
// might not have. The library stays loaded: it keeps state for threads that may outlive the environment.
func check(path string) (version string, err error) {
	h, err := load(path)
	if err != nil {
		return "", &Error{Op: "load " + path, ID: idLibrary, Fix: loadAdvice(err), Err: err}
	}
	v := C.version(h)
	if v == nil {
		C.dlclose(h)
		return "", &Error{Op: "load " + path, ID: idLibrary, Fix: getLibrary, Err: errors.New("this library is not ONNX Runtime")}
	}
	version = C.GoString(v)
	if !fits(version) {
		C.dlclose(h)
		return "", &Error{Op: "load " + path, ID: idVersion, Fix: getLibrary, Err: fmt.Errorf("this is version %s; 1.%d or later 1.x is needed", version, minor)}
	}
	return version, nil
}

// fits tells whether a version serves the interface that the binding asks for.
func fits(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(second)
	return major == "1" && err == nil && n >= minor
}
