package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vista-mr/vista-mr/conf"
)

// libraryName is the ONNX Runtime library's file name on this system.
func libraryName() string {
	switch runtime.GOOS {
	case "darwin":
		return "libonnxruntime.dylib"
	case "windows":
		return "onnxruntime.dll"
	}
	return "libonnxruntime.so"
}

// FindORT returns the path of the ONNX Runtime library: the one that is named, or else the one beside
// this program, where the build leaves it. It does not load it.
func FindORT(named string) (string, error) {
	path, key := named, "--ort-lib or VISTA_MR_ORT_LIB"
	if path == "" {
		exe, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("where this program lies: %w", err)
		}
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		path, key = filepath.Join(filepath.Dir(exe), libraryName()), "ONNX Runtime"
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return "", ortError(key, path, "is not a file", nil)
	}
	if err != nil {
		return "", ortError(key, path, "cannot be found", err)
	}
	return path, nil
}

func ortError(key, path, cause string, err error) error {
	return &InputError{ID: "E-ORT-LIBRARY", Key: key, Path: path, Cause: cause, Err: err,
		Next: "make build puts the library beside the program; one that is installed already is named with VISTA_MR_ORT_LIB=/path/to/" + libraryName()}
}

func checkRuntime(_ context.Context, _ *conf.Job, o *Options) (string, error) {
	return FindORT(o.ORTLib)
}
