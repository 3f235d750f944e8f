// Package onnx reads, analyses, cuts and writes ONNX models. It speaks the protobuf wire format itself:
// there is no generated code, weights are never copied (a Tensor's Raw is a slice of the input), and
// fields it does not know are carried through unchanged.
//
// Invariant: whatever the input bytes are, Parse returns a Model or an error that is an *Error; it does
// not panic, allocates in proportion to the input, and bounds its recursion. A Model that came out of
// the surgery functions (Extract and its neighbours) computes for its outputs exactly what the whole
// model computes for them.
//
// Callers: package layers, which turns a CNN and a wish into a runnable program; and the writers of
// downstream models. Nothing is executed here: package ort runs models, package reference is the small
// and slow oracle for tests.
//
// How a cut is found (Analyze):
//
//  1. constants are marked: initializers (also those listed as graph inputs, as files before IR version
//     4 do), Constant nodes, and whatever depends on nothing else.
//  2. nodes that no output needs are dropped from view.
//  3. nodes are taken in topological order while the set of live tensors (computed, not constant, still
//     to be read) is kept. Where exactly one tensor is live, every path from the image to the outputs
//     passes through it: a single-tensor cut. The order does not matter, because every useful node is
//     either before or behind such a tensor, never beside it. Cost: O(nodes + edges).
//  4. shapes come from Infer, run for two batch sizes: what grows with the batch is the batch.
package onnx
