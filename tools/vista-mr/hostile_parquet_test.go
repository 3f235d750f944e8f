//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Parquet files that no library would write are put together here: Thrift's compact encoding, pages, a footer.

func zig(n int64) []byte { return binary.AppendVarint(nil, n) } // Thrift's integers are coded as Avro's are

func uvarint(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// field is one of a Thrift structure.
type field struct {
	id   int
	kind byte // 5 and 6: integers, 8: text, 9: list, 12: structure
	data []byte
}

func intField(id int, n int64) field { return field{id, 6, zig(n)} }

func i32Field(id int, n int64) field { return field{id, 5, zig(n)} }

func textField(id int, s string) field { return field{id, 8, append(uvarint(len(s)), s...)} }

func structField(id int, b []byte) field { return field{id, 12, b} }

// listField is a list of elements of a kind.
func listField(id int, kind byte, items ...[]byte) field {
	return field{id, 9, slices.Concat([]byte{0xf0 | kind}, uvarint(len(items)), slices.Concat(items...))}
}

func structure(fields ...field) []byte {
	var b []byte
	last := 0
	for _, f := range fields {
		b = append(append(b, byte(f.id-last)<<4|f.kind), f.data...)
		last = f.id
	}
	return append(b, 0)
}

// pageOf is a page of so many values: kind 0 is data, 2 a dictionary.
func pageOf(kind, values, encoding int, raw []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err) // there are no options to be wrong
	}
	packed := w.EncodeAll(raw, nil)
	fields := []field{i32Field(1, int64(kind)), i32Field(2, int64(len(raw))), i32Field(3, int64(len(packed)))}
	if kind == 0 {
		fields = append(fields, structField(5, structure(i32Field(1, int64(values)), i32Field(2, int64(encoding)), i32Field(3, 3), i32Field(4, 3))))
	} else {
		fields = append(fields, structField(7, structure(i32Field(1, int64(values)), i32Field(2, int64(encoding)))))
	}
	return append(structure(fields...), packed...)
}

// Types of columns, and encodings.
const (
	asInt, asDouble, asText         = 2, 5, 6
	plain, deltas, prefixed, picked = 0, 5, 7, 8
)

type oddColumn struct {
	name       string
	kind       int
	dictionary []byte // the page; nil: none
	data       []byte // the pages
}

// repeated is a column of a dictionary's values, in runs of the given lengths.
func repeated(name string, kind int, values [][]byte, runs ...int) oddColumn {
	index := []byte{6} // bits
	n := 0
	for i, times := range runs {
		index = append(append(index, uvarint(times<<1)...), byte(i))
		n += times
	}
	return oddColumn{name, kind, pageOf(2, len(values), plain, slices.Concat(values...)), pageOf(0, n, picked, index)}
}

func double(v float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)) }

func long(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func texted(s string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// counted is a column of 0, 1, 2 and so on.
func counted(name string, rows int) oddColumn {
	raw := slices.Concat(uvarint(1<<20), uvarint(1), uvarint(rows), zig(0))
	for left := rows - 1; left > 0; left -= 1 << 20 {
		raw = append(append(raw, zig(1)...), 0)
	}
	return oddColumn{name, asInt, nil, pageOf(0, rows, deltas, raw)}
}

// constants are n numbers, the first and then another one, as differences.
func constants(first, rest int64, n int) []byte {
	b := slices.Concat(uvarint(1024), uvarint(1), uvarint(n), zig(first))
	for at := 1; at < n; at += 1024 {
		if at > 1 || first == rest {
			b = append(append(b, zig(0)...), 0)
			continue
		}
		least := min(rest-first, 0)
		b = append(append(b, zig(least)...), 16)
		block := make([]byte, 2*1024)
		for i := range 1024 {
			binary.LittleEndian.PutUint16(block[2*i:], uint16(-least))
		}
		binary.LittleEndian.PutUint16(block, uint16(rest-first-least))
		b = append(b, block...)
	}
	return b
}

// longKeys is a column of distinct keys of 4,088 bytes, each of which says that it begins as the one before it.
func longKeys(rows int) oddColumn {
	c := oddColumn{name: "id", kind: asText}
	for at := 0; at < rows; at += 60_000 {
		n := min(60_000, rows-at)
		suffixes := fmt.Appendf(bytes.Repeat([]byte("k"), 4080), "%08d", at)
		for i := 1; i < n; i++ {
			suffixes = fmt.Appendf(suffixes, "%08d", at+i)
		}
		c.data = append(c.data, pageOf(0, n, prefixed, slices.Concat(constants(0, 4080, n), constants(4088, 8, n), suffixes))...)
	}
	return c
}

// oddParquet puts columns into one row group.
func oddParquet(rows, pad int, columns ...oddColumn) []byte {
	out := append([]byte("PAR1"), make([]byte, pad)...)
	schema := [][]byte{structure(textField(4, "root"), i32Field(5, int64(len(columns))))}
	var chunks [][]byte
	for _, c := range columns {
		start := int64(len(out))
		data := start + int64(len(c.dictionary))
		out = append(append(out, c.dictionary...), c.data...)
		meta := []field{i32Field(1, int64(c.kind)), listField(2, 5, zig(picked)), listField(3, 8, append(uvarint(len(c.name)), c.name...)), i32Field(4, 6),
			intField(5, int64(rows)), intField(6, 100), intField(7, int64(len(out))-start), intField(9, data)}
		leaf := []field{i32Field(1, int64(c.kind)), i32Field(3, 0), textField(4, c.name)}
		if c.dictionary != nil {
			meta = append(meta, intField(11, start))
		}
		if c.kind == asText {
			leaf = append(leaf, i32Field(6, 0))
		}
		chunks = append(chunks, structure(intField(2, start), structField(3, structure(meta...))))
		schema = append(schema, structure(leaf...))
	}
	group := structure(listField(1, 12, chunks...), intField(2, 100), intField(3, int64(rows)))
	return footed(out, structure(i32Field(1, 1), listField(2, 12, schema...), intField(3, int64(rows)), listField(4, 12, group)))
}

func footed(out, footer []byte) []byte {
	out = append(out, footer...)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(footer))), "PAR1"...)
}

func parquetTraps() []trap {
	const rows = 1 << 20
	labels := repeated("label", asInt, [][]byte{long(0), long(1)}, rows/2, rows/2)
	x := repeated("x", asDouble, [][]byte{double(1)}, rows)
	ids := counted("id", rows)
	odd := func(name string, code int, want string, data func() []byte, set ...string) trap {
		return trap{name: "parquet " + name, make: func(*testing.T) []byte { return data() }, file: "b.parquet", set: append([]string{"table.uri=b.parquet"}, set...), run: "validate", code: code, want: want}
	}
	images := odd("images of one long key", 3, "E-IMAGES", func() []byte { // 16 MiB of nothing allow for a million images
		return oddParquet(rows, 16<<20, repeated("id", asText, [][]byte{texted(strings.Repeat("k", 4096))}, rows), repeated("image", asText, [][]byte{texted("x")}, rows))
	})
	images.set, images.run = []string{"images.uri=b.parquet"}, "submit"
	left := odd("of keys that are left out", 0, "60 images, 60 matched", func() []byte { // 460 MiB of keys, which no phase may hold
		const n = 110_000
		ids := longKeys(n)
		var first []byte
		runs := slices.Repeat([]int{1}, 60)
		var numbers, classes [][]byte
		for i := range 60 {
			first = append(first, texted(fmt.Sprintf("r%02d", i))...)
			numbers, classes = append(numbers, double(float64(i%7))), append(classes, long(uint64(i*i%7%2)))
		}
		ids.data = append(pageOf(0, 60, plain, first), ids.data...)
		return oddParquet(n+60, 0, ids, repeated("x", asDouble, append(numbers, double(math.NaN())), append(runs, n)...), repeated("label", asInt, append(classes, long(0)), append(runs, n)...))
	}, "table.missing=drop")
	left.run = "submit"
	return []trap{
		images,
		odd("of a million rows", 5, "E-NO-ROWS", func() []byte { return oddParquet(rows, 0, ids, x, labels) }, "limits.maxBadFraction=1"),
		odd("of a million rows and 200 columns", 3, "E-TABLE-FORMAT", func() []byte {
			columns := []oddColumn{ids, labels}
			for i := range 200 {
				columns = append(columns, repeated(fmt.Sprintf("x%d", i), asDouble, [][]byte{double(1)}, rows))
			}
			return oddParquet(rows, 0, columns...)
		}),
		odd("of keys that begin alike", 3, "texts take more than", func() []byte { return oddParquet(rows, 0, longKeys(rows), x, labels) }),
		odd("of one long key", 3, "texts take more than", func() []byte {
			return oddParquet(rows, 0, repeated("id", asText, [][]byte{texted(strings.Repeat(" ", 4<<20))}, rows), x, labels)
		}),
		odd("of one long path", 3, "E-IMAGES", func() []byte {
			return oddParquet(rows, 0, ids, x, labels, repeated("path", asText, [][]byte{texted(strings.Repeat("p/", 250) + "p")}, rows))
		}, "images.column=path"),
		left,
		odd("of a long name over many columns", 3, "E-TABLE", func() []byte {
			schema := [][]byte{structure(textField(4, "root"), i32Field(5, 1)), structure(i32Field(3, 0), textField(4, strings.Repeat("g", 8<<20)), i32Field(5, 60_000))}
			for i := range 60_000 {
				schema = append(schema, structure(i32Field(1, 1), i32Field(3, 0), textField(4, fmt.Sprintf("c%d", i))))
			}
			return footed([]byte("PAR1"), structure(i32Field(1, 1), listField(2, 12, schema...), intField(3, 0), listField(4, 12)))
		}),
		odd("of 95,000 row groups", 3, "E-TABLE", func() []byte {
			schema := [][]byte{structure(textField(4, "root"), i32Field(5, 10))}
			for i := range 10 {
				schema = append(schema, structure(i32Field(1, 1), i32Field(3, 0), textField(4, fmt.Sprintf("c%d", i))))
			}
			chunk := structure(intField(2, 0))
			group := structure(listField(1, 12, slices.Repeat([][]byte{chunk}, 10)...), intField(2, 0), intField(3, 0))
			return footed([]byte("PAR1"), structure(i32Field(1, 1), listField(2, 12, schema...), intField(3, 0), listField(4, 12, slices.Repeat([][]byte{group}, 95_000)...)))
		}),
	}
}
