//go:build !((linux || darwin) && (amd64 || arm64))

package image

import "errors"

// turboHandle stands in on platforms where libraries are not loaded at run time.
type turboHandle struct{}

// TurboAvailable says whether libjpeg-turbo can be loaded: not on this platform.
func TurboAvailable() (version string, ok bool) { return "", false }

func newTurbo() (*turboHandle, error) { return nil, errors.New("not available on this platform") }

func (t *turboHandle) close() {}

func (t *turboHandle) decode(*Pipeline, []byte, *jpegHead) *packed { return nil }
