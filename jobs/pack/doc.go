// Package pack puts images, whatever they come in, into Avro shards of 64 to 128 MiB: few large files that are
// read in order, instead of many small ones.
//
// Invariant: a shard is visible whole or not at all, and is never written again. So a run that was killed goes on
// behind its last shard and leaves the same bytes as one that was not, and a later run with more images adds shards
// for those whose keys are new.
//
// A packed folder holds
//
//	part-00000.avro        records {id: string, image: bytes}, not compressed, in the order of the source; the images
//	                       of a record stand side by side in one block
//	_part-00000.keys       the shard's keys and where their images lie (package images reads and describes it)
//	_index-00001.lookup    where the images of a key lie, for all of the 1 shards; FORMAT.md has the bytes
//	_pack.json             says that the folder is one of ours
//
// The command pack calls it. The lists of keys let a job be planned without walking the shards; what is missing of them,
// because a run was killed, is made again from the shard.
package pack
