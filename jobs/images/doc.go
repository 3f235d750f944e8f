// Package images finds and reads the images of a job, whatever they come in: folders of files, tar shards as
// WebDataset writes them, Avro containers, Parquet files, and files that a table's column names.
//
// Invariant: what a source holds is decided once, when the job is planned, and depends on the source alone.
// From then on an image is a place (a file, a range of one, or an element of a page or block), and every
// image is accounted for: it belongs to exactly one record, or it is set aside with its cause.
//
// In three steps:
//  1. Scan walks a source and makes an Index: for every image its record's key and its place. Of tar
//     archives only headers are read, of Parquet files the key column and the headers of pages, of
//     uncompressed Avro files the keys; the blocks of compressed ones have to be unpacked. An image costs 100 to
//     200 bytes of memory; a folder of files is held once.
//  2. Index.Write puts the index into the job's store, and gives splits that name parts of it. The images of
//     a record stay together, in the order in which they were found.
//  3. Read yields the images of a split in order. It reads ahead: neighbours in one request, several requests at
//     once, under a bound on the bytes held. A page or block that images of several tasks lie in is unpacked once
//     and shared.
//
// Tasks of packages extract and join read splits, package pack reads whole sources, and the commands validate
// and submit scan. The package decodes no image; names within archives are keys and never paths.
package images

// Limits.
const (
	// MaxImage is the largest image in bytes, and the most that the images of one record take together: all of
	// a record travels as one value where the join shuffles.
	MaxImage = 48 << 20
	// TooLarge is the cause of an image that has too many bytes or pixels, or takes too much memory.
	TooLarge = "too-large"
	// MaxPerRecord is how many images of a record count.
	MaxPerRecord = 64

	maxImages = 10_000_000
	maxKey    = 4 << 10

	// freeText, and textPerByte for each byte of the files, bound what the keys and URIs of the images in containers
	// take together: a dictionary or a compressed block stands for many times its bytes. In files as people
	// have them keys take less than the images.
	freeText    = 64 << 20
	textPerByte = 4
	// textPerRow takes its place for paths in a table, as the mean of a key with its path: a million rows
	// may have 256 bytes each, 100,000 rows 860. What a listing finds is bounded by what its file system holds.
	textPerRow = 192
	// maxTexts bounds the texts that name what stands in a table's cell.
	maxTexts = 10_000
)

// mostText bounds the keys and URIs of files of so many bytes.
func mostText(size int64) int64 { return freeText + textPerByte*size }
