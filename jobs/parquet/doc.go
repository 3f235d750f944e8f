// Package parquet reads the flat columns of Parquet files that nobody vouches for: by rows, for
// package table, and by pages, for package images.
//
// Invariant: no length in a file is believed before it is checked against what is there. Memory
// stays below a fixed budget and work below a fixed multiple of the file's size, whatever the
// file claims; every failure is an error with a kind, never a panic.
//
// From a footer to a value:
//
//  1. Open reads the footer (file.go) and turns its schema into columns (schema.go). The
//     structures of the format are parquet-go's, decoded by it once every length in them has been
//     walked (thrift.go).
//  2. A walk goes through a column's pages from header to header; a page is checked, unpacked
//     (page.go, codec.go) and decoded one value at a step (values.go, delta.go). parquet-go's page
//     reader is not used: it decodes a page at once and allocates what the page claims, and a few
//     bytes of run-length encoding can stand for gigabytes.
//  3. Two readers stand on that. File.Read walks the rows of some columns, a page of each at a
//     time (rows.go). File.Pages reads no values: it tells where the pages of byte strings lie, a
//     Page then where each value lies, which value of a dictionary it is, or, from its body alone
//     and without the footer, all values (pages.go). So 64 images are read out of a page of
//     thousands, and nothing is kept but an index.
//
// Every leaf of the schema is a column, named by its path; leaves below a repeated group are
// listed and cannot be read. Encrypted columns, legacy LZ4 and the bit-packed levels of the
// format's first year are refused by name. It does not write, filter, or use indices and
// statistics.
package parquet
