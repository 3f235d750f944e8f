//go:build cgo && linux

package ort

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim_heap(void) { malloc_trim(0); }
static void set_threshold(void) { mallopt(M_MMAP_THRESHOLD, 131072); mallopt(M_TRIM_THRESHOLD, 131072); mallopt(M_ARENA_MAX, 2); }
#else
static void trim_heap(void) {}
static void set_threshold(void) {}
#endif
*/
import "C"

// setMalloc makes large blocks go back to the system when they are freed. Without it, what the
// runtime needs for a moment while it loads a model stays with the process.
func setMalloc() { C.set_threshold() }

// trim gives freed memory back to the system.
func trim() { C.trim_heap() }
