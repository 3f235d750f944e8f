// Package extract is the map kind that runs programs of one or several CNNs over images, or one over the stored
// volumes of a layer below, and writes the pooled vectors and volumes that they yield.
//
// Invariant: the records of all channels that one task writes are the same keys in the same
// order. Later phases read several channels side by side and rely on it.
//
// What a record is made of, by source:
//
//	files    the split is a part of an index of images (package images)
//	joined   an input holds key -> row and bytes of its images, from a reduce-side join
//	volume   an input holds key -> float32 volumes of a layer, one for each image, from an earlier phase
//
// Steps for one task:
//  1. Package images reads ahead: keys are looked up in the broadcast table, if there is one, and
//     only what has a row is read.
//  2. The task's own goroutine decodes, once, into the next row of each input buffer: programs that take the same of an
//     image share one. CPU work stays on it, so a process never runs more of it than it has slots.
//  3. A full batch is run through each program in turn. If the runtime's memory limit refuses it, the batch is halved for
//     the rest of the task and what is pending is run again in smaller pieces.
//
// Of a record with several images each image is pooled by itself; then the record's vectors are
// combined. Images of it that cannot be used do not count, and a record without any other is
// bad. An image that cannot be used is set aside if its row is known; if the join comes later,
// its failure travels on, so that every plan counts the same. The package knows no plan: the
// compiler says by Params what is read, written and counted.
package extract
