package ort

import (
	"errors"
	"strings"
	"testing"
)

// What to do depends on who has said no: the file, the system's loader, the system's memory, or our own limit.
func TestAdvice(t *testing.T) {
	for text, want := range map[string]string{
		"libonnxruntime.so: failed to map segment from shared object": "ulimit -v",
		"libonnxruntime.so: invalid ELF header":                       "make build",
	} {
		if got := loadAdvice(errors.New(text)); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want something about %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"Exception during initialization: std::bad_alloc":                           "ulimit -d or ulimit -v",
		"BFCArena::AllocateRawInternal: Available memory of 0 is smaller than 4096": "limits.memory",
	} {
		var e *Error
		if err := fail("open x", idModel, "", errors.New(text)); !errors.As(err, &e) || !e.OutOfMemory() || e.ErrorID() != idMemory || !strings.Contains(e.Hint(), want) {
			t.Errorf("%s: %v, %q, want something about %s", text, err, e.Hint(), want)
		}
	}
}
