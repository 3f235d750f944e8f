"""Writes the Parquet and Avro files that package jobs/images is tested with, as other libraries write them.

    python -m pip install pyarrow==26.0.1 fastavro==1.12.1
    python tools/goldens/sources.py jobs/images/testdata

Image i of a file is the bytes "image-i-" and then i % 7 * 10 letters x; null where the file's name says so and i is 5.
"""
import os
import sys

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
N = 40


def image(i):
    return f"image-{i}-".encode() + b"x" * (i % 7 * 10)


def blobs(null=False):
    return [None if null and i == 5 else image(i) for i in range(N)]


def hf(null=False):
    return pa.array([{"bytes": b, "path": f"dir/k{i}.jpg"} for i, b in enumerate(blobs(null))])


def write(name, table, **o):
    pq.write_table(table, os.path.join(out, name), **o)


# Hugging Face: a struct, no key; pyarrow's defaults, so that all images stand in the dictionary's page.
write("hf-default.parquet", pa.table({"label": list(range(N)), "image": hf()}))
write("hf-null-zstd.parquet", pa.table({"image": hf(True)}), compression="zstd", use_dictionary=False)
write("hf-none-dictionary.parquet", pa.table({"image": hf(True)}), compression="none")
# A key that is a number, several row groups and pages, version 2, deltas.
write("int-key-v2-delta.parquet", pa.table({"id": pa.array([7 * i - 90 for i in range(N)], pa.int64()), "image": pa.array(blobs(True), pa.binary())}),
      compression="gzip", data_page_version="2.0", use_dictionary=False, row_group_size=16, data_page_size=100, write_batch_size=4,
      column_encoding={"id": "DELTA_BINARY_PACKED", "image": "DELTA_LENGTH_BYTE_ARRAY"})
write("string-key-delta.parquet", pa.table({"key": [f"k{i}" for i in range(N)], "picture": pa.array(blobs(), pa.binary())}),
      compression="snappy", use_dictionary=False, row_group_size=16, column_encoding={"key": "DELTA_BYTE_ARRAY", "picture": "DELTA_BYTE_ARRAY"})
write("plain-v2-none.parquet", pa.table({"id": [f"k{i}" for i in range(N)], "image": pa.array(blobs(True), pa.binary())}),
      compression="none", data_page_version="2.0", use_dictionary=False, data_page_size=100, write_batch_size=4)
write("lz4.parquet", pa.table({"id": [f"k{i}" for i in range(N)], "image": pa.array(blobs(), pa.binary())}), compression="lz4", use_dictionary=False)
# Spark's binaryFile source.
write("spark.parquet", pa.table({"path": [f"file:/data/k{i}.jpg" for i in range(N)], "length": [len(image(i)) for i in range(N)],
                                 "content": pa.array(blobs(), pa.binary())}))
write("brotli.parquet", pa.table({"id": ["a"], "image": pa.array([b"x" * 100], pa.binary())}), compression="brotli")
write("list.parquet", pa.table({"id": ["a"], "image": pa.array([[b"x"]], pa.list_(pa.binary()))}))

schema = {"type": "record", "name": "r", "namespace": "n", "fields": [
    {"name": "tags", "type": {"type": "map", "values": {"type": "array", "items": ["null", "double"]}}},
    {"name": "size", "type": {"type": "record", "name": "s", "fields": [{"name": "w", "type": "int"}, {"name": "next", "type": ["null", "s"]}]}},
    {"name": "kind", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
    {"name": "f", "type": {"type": "fixed", "name": "x", "size": 3}},
    {"name": "id", "type": ["string", "null"]},
    {"name": "image", "type": ["null", "bytes"]},
    {"name": "last", "type": "boolean"}]}
rows = [{"tags": {"a": [None, 1.5], "b": []}, "size": {"w": i, "next": {"w": 1, "next": None}}, "kind": "B", "f": b"abc",
         "id": f"k{i}", "image": b, "last": True} for i, b in enumerate(blobs(True))]
for codec in "null", "deflate", "snappy":
    try:
        with open(os.path.join(out, f"fastavro-{codec}.avro"), "wb") as f:
            fastavro.writer(f, schema, rows, codec=codec, sync_interval=300, sync_marker=b"0123456789abcdef")
    except ValueError as e:
        print(codec, e)
        os.remove(f.name)
