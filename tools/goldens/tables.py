#!/usr/bin/env python3
"""Makes jobs/table/testdata/foreign: one table as pyarrow and as fastavro write it, and what is in it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pyarrow==26.0.1 fastavro==1.13.1
    /tmp/venv/bin/python tools/goldens/tables.py jobs/table/testdata/foreign

expected.json has one list for each row: key, label, then the features in the order of the columns, numbers
as numbers, categories as text, null where there is no value.
"""
import datetime
import decimal
import json
import pathlib
import random
import struct
import sys
import uuid

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def rows(n):
    rnd = random.Random(7)
    out = []
    for i in range(n):
        maybe = lambda v: None if rnd.random() < .2 else v
        out.append({
            "id": uuid.UUID(int=rnd.getrandbits(128), version=4),
            "label": rnd.random() < .5,
            "price": maybe(decimal.Decimal(rnd.randrange(-10**6, 10**6)) / 100),
            "count": maybe(rnd.randrange(-50, 50)),
            "weight": maybe(rnd.gauss(0, 1e3)),
            "ratio": maybe(single(rnd.random())),
            "fresh": maybe(rnd.random() < .3),
            "day": datetime.date(1960, 1, 1) + datetime.timedelta(days=rnd.randrange(30000)),
            "when": EPOCH + datetime.timedelta(microseconds=rnd.randrange(-10**15, 2 * 10**15)),
            "brand": maybe(rnd.choice(["acme", "zeta", "über", "a,b"])),
        })
    return out


def single(x):
    """The nearest float of 32 bits."""
    return struct.unpack("f", struct.pack("f", x))[0]


def number(v):
    if v is None or isinstance(v, float):
        return v
    if isinstance(v, datetime.datetime):
        return (v - EPOCH) / datetime.timedelta(seconds=1)
    if isinstance(v, datetime.date):
        return float((v - datetime.date(1970, 1, 1)).days)
    return float(v)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    data = rows(60)
    names = list(data[0])
    expected = [[str(r["id"]), str(r["label"]).lower()] + [r[k] if k == "brand" else number(r[k]) for k in names[2:]] for r in data]
    (out / "expected.json").write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in expected) + "\n]\n")

    schema = pa.schema([
        ("id", pa.uuid()), ("label", pa.bool_()), ("price", pa.decimal128(12, 2)), ("count", pa.int16()), ("weight", pa.float64()),
        ("ratio", pa.float32()), ("fresh", pa.bool_()), ("day", pa.date32()), ("when", pa.timestamp("us", tz="UTC")), ("brand", pa.dictionary(pa.int8(), pa.string())),
    ])
    columns = []
    for f in schema:
        values = [r[f.name] for r in data]
        if f.name == "id":
            columns.append(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([v.bytes for v in values], pa.binary(16))))
        elif f.name == "brand":
            columns.append(pa.array(values).dictionary_encode().cast(f.type))
        else:
            columns.append(pa.array(values, f.type))
    table = pa.Table.from_arrays(columns, schema=schema)
    common = dict(row_group_size=25, data_page_size=100, write_page_index=True, write_page_checksum=True)
    pq.write_table(table, out / "pyarrow.parquet", compression="zstd", data_page_version="2.0", **common)
    pq.write_table(table, out / "pyarrow-delta.parquet", compression="brotli", data_page_version="1.0", use_dictionary=False, version="2.6",
                   column_encoding={"count": "DELTA_BINARY_PACKED", "when": "DELTA_BINARY_PACKED", "brand": "DELTA_BYTE_ARRAY",
                                    "weight": "BYTE_STREAM_SPLIT", "ratio": "BYTE_STREAM_SPLIT"}, **common)
    pq.write_table(table, out / "pyarrow-spark.parquet", compression="lz4", use_deprecated_int96_timestamps=True, store_decimal_as_integer=True, version="1.0",
                   row_group_size=40)

    null = lambda t: ["null", t]
    avro = {"type": "record", "name": "Row", "namespace": "shop", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}}, {"name": "label", "type": "boolean"},
        {"name": "price", "type": null({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2})},
        {"name": "count", "type": null("int")}, {"name": "weight", "type": null("double")}, {"name": "ratio", "type": null("float")},
        {"name": "fresh", "type": null("boolean")}, {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "brand", "type": null("string")},
    ]}
    with open(out / "fastavro.avro", "wb") as f:
        fastavro.writer(f, fastavro.parse_schema(avro), data, codec="deflate", sync_interval=700, sync_marker=b"0123456789abcdef")


main()
