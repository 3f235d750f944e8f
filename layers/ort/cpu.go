package ort

import (
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"
)

// CPUClass names what the runtime's layout of weights depends on: a prepared model of one
// class must not be used on another.
func CPUClass() string {
	out := []string{runtime.GOARCH}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"sse41", cpu.X86.HasSSE41}, {"avx", cpu.X86.HasAVX}, {"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW}, {"avx512vl", cpu.X86.HasAVX512VL},
		{"avxvnni", cpu.X86.HasAVXVNNI}, {"vnni", cpu.X86.HasAVX512VNNI}, {"bf16", cpu.X86.HasAVX512BF16}, {"amx", cpu.X86.HasAMXTile},
		{"dotprod", cpu.ARM64.HasASIMDDP}, {"fp16", cpu.ARM64.HasASIMDHP}, {"i8mm", cpu.ARM64.HasI8MM}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			out = append(out, f.name)
		}
	}
	return strings.Join(out, "+")
}
