package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// foreign are contents that are no table of ours, by how they begin, with what to do about them.
var foreign = []struct{ magic, what, fix string }{
	{"PARE", "an encrypted Parquet file", "write it without encryption"},
	{"PK\x03\x04", "a zip archive, or a spreadsheet", "save the sheet as CSV"},
	{"\xd0\xcf\x11\xe0", "a spreadsheet of an old program", "save the sheet as CSV"},
	{"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, or compress it with gzip"},
	{"\xfd7zXZ\x00", "compressed by xz", "unpack it, or compress it with gzip"},
	{"BZh", "compressed by bzip2", "unpack it, or compress it with gzip"},
	{"\x04\x22\x4d\x18", "compressed by lz4", "unpack it, or compress it with gzip"},
	{"ORC", "an ORC file", "convert it to Parquet"},
	{"ARROW1", "an Arrow file", "convert it to Parquet"},
	{"FEA1", "a Feather file", "convert it to Parquet"},
	{"SQLite format 3", "a database", "export the table as CSV"},
	{"\x89HDF", "an HDF5 file", "convert it to Parquet"},
	{"\xff\xd8\xff", "an image", "set table.uri to the table's files alone"},
	{"\x89PNG", "an image", "set table.uri to the table's files alone"},
	{"\xff\xfe", "text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"},
	{"\xfe\xff", "text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"},
}

// Sniff tells a file's format by how it begins. Its name counts only where the content says
// nothing: a file named .parquet that is no Parquet file is not read as CSV.
func Sniff(ctx context.Context, fs dfs.FS, p dfs.Path) (string, error) {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return "", err
	}
	defer f.Close() // reading only
	return sniff(f, dfs.Name(fs, p))
}

func sniff(f dfs.File, name string) (string, error) {
	head := make([]byte, min(f.Size(), 16))
	if n, err := f.ReadAt(head, 0); n < len(head) && !errors.Is(err, io.EOF) {
		return "", err
	}
	format, err := formatOf(head, name)
	if err != nil || format != CSV {
		return format, err
	}
	for _, wrong := range []struct{ ext, name string }{{".parquet", "a Parquet file"}, {".pq", "a Parquet file"}, {".avro", "an Avro file"}} {
		if strings.EqualFold(path.Ext(name), wrong.ext) {
			return "", &FormatError{Path: name, Problem: fmt.Sprintf("the file is not what its name says, %s", wrong.name),
				Fix: "write the file again, or name it .csv if it is one"}
		}
	}
	return format, nil
}

func formatOf(head []byte, name string) (string, error) {
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return Parquet, nil
	case bytes.HasPrefix(head, []byte("Obj\x01")):
		return Avro, nil
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return GzipCSV, nil
	}
	for _, m := range foreign {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return "", &FormatError{Path: name, Problem: fmt.Sprintf("the file is %s, which is no table that can be read: CSV, gzipped CSV, Parquet and Avro are", m.what), Fix: m.fix}
		}
	}
	return CSV, nil
}

// base is the format without its compression.
func base(format string) string { return strings.TrimSuffix(format, ".gz") }
