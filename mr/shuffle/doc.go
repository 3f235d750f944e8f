// Package shuffle is the part of MapReduce between map and reduce: it sorts what a map task
// emits into one segment for each partition, spilling to local disk when its memory is full,
// and merges the segments of one partition for a reduce task. FORMAT.md describes the bytes.
//
// Invariant: the order of a merge is fully determined by its inputs: keys in byte order, and
// among equal keys first by source, then by the order in which they were emitted. And memory
// stays within the given bound, whatever the amount of data.
//
// It knows nothing but bytes: no store, no task, no codec of values. Package task feeds it.
package shuffle

import (
	"hash/fnv"
	"iter"
)

// Combine merges values of one key. How often and over which subsets it is called is not
// fixed, so it must be associative and commutative in effect. Key and values are valid until
// the next step.
type Combine func(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error

// Segment is one partition's sorted records in a file.
type Segment struct {
	Partition int
	Offset    int64
	Bytes     int64 // in the file
	RawBytes  int64 // of records, before compression
	Records   int64
	CRC       uint32 // CRC32C of the bytes in the file
	Block     int64  // largest block, unpacked: what reading takes; 0: not known
}

// Index lists the segments of a file, without the empty ones.
type Index []Segment

// Partition is the default partitioner: the 64-bit FNV-1a hash of the key, modulo n. It is
// fixed for ever, because a resumed job must send keys where its first run did.
func Partition(key []byte, n int) int {
	h := fnv.New64a()
	h.Write(key)
	return int(h.Sum64() % uint64(n))
}
