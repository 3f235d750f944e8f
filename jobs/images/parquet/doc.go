// Package parquet reads single columns of byte strings and keys out of Parquet files, page by page: where
// every value lies, and the values of one page. It is what package images needs to find 200,000 images
// without reading them, and to read 64 of them without reading a row group.
//
// Invariant: the file is untrusted. No length is believed before it is checked against what is there or
// against a limit, nothing is allocated for a number that a file states, and whatever is wrong comes back as
// an error. That is why it does not stand on parquet-go, whose reader takes lengths from the file: its writer
// makes the files that tests read.
//
// What it reads: flat columns and fields of structures (no lists), data pages of both versions, the encodings
// PLAIN, dictionary, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY, the codecs UNCOMPRESSED, SNAPPY, GZIP, ZSTD
// and LZ4_RAW. Encrypted files are refused.
package parquet
