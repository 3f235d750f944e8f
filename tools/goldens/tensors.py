#!/usr/bin/env python3
"""Makes layers/weights/testdata/safetensors: odd files as the safetensors library writes them, and damaged ones.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install safetensors==0.8.0 numpy ml_dtypes==0.6.0
    /tmp/venv/bin/python tools/goldens/tensors.py layers/weights/testdata/safetensors

index.json gives type, shape and values of the tensors in each file, or a part of the message that refuses it, and
whether the library itself reads it. The files are the fuzz target's first inputs, too.
"""
import json
import pathlib
import struct
import sys

import ml_dtypes
import numpy as np
import safetensors
from safetensors import TensorSpec, deserialize, serialize

NAMES = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
         "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_, "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
WORDS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8",
         "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    index = {}

    def keep(name, data, tensors=None, error=""):
        (folder / name).write_bytes(data)
        try:
            deserialize(data)
            library = True
        except Exception:
            library = False
        if tensors is not None and not library and not error:
            raise SystemExit("%s: the library does not read it" % name)
        index[name] = dict(library=library, error=error, tensors={k: dict(type=t, shape=list(v.shape), values=v.astype(np.float64).reshape(-1).tolist()) for k, (t, v) in (tensors or {}).items()})

    def write(tensors, metadata=None):
        held = {k: np.ascontiguousarray(v) for k, (_, v) in tensors.items()}  # the library is told addresses
        return bytes(serialize({k: TensorSpec(dtype=WORDS[t], shape=list(v.shape), data_ptr=held[k].ctypes.data, data_len=v.nbytes) for k, (t, v) in tensors.items()}, metadata))

    def some(kind, *shape):
        return kind, np.asarray(rng.integers(0, 2, shape) if kind == "BOOL" else rng.integers(-9, 9, shape) if kind[0] in "IFB" else rng.integers(0, 200, shape)).astype(NAMES[kind])

    def save(name, tensors, metadata=None):
        keep(name, write(tensors, metadata), tensors)

    save("every-type.safetensors", {k.lower(): some(k, 2, 3) for k in NAMES})
    save("scalars.safetensors", {k.lower(): some(k) for k in ("F16", "BF16", "F32", "F64", "I64", "BOOL")})
    save("empty-tensors.safetensors", {"none": some("F32", 0), "rows": some("F32", 0, 3), "columns": some("I64", 4, 0), "one": some("F32", 1)})
    save("no-tensors.safetensors", {})
    save("only-metadata.safetensors", {}, {"format": "pt"})
    save("metadata.safetensors", {"w": some("F32", 2, 2)}, {"format": "pt", "note": "quotes \" and \\ and \n, ümlaut, \U0001f40d", "": "no key", "long": "x" * 2000})
    # Odd sizes before wide types: the library puts wide ones first, so that they lie aligned.
    save("odd-sizes.safetensors", {"a": some("U8", 3), "b": some("F64", 1), "c": some("I8", 5), "d": some("F16", 3), "e": some("F32", 1)})
    save("odd-names.safetensors", {"": some("F32", 1), ".": some("F32", 1), "a b": some("F32", 1), "ü/\"\\\t\0": some("F32", 1), "x" * 300: some("F32", 1), "data_offsets": some("F32", 1)})
    save("many-dimensions.safetensors", {"w": some("F32", *[1] * 12)})
    save("torchvision.safetensors", {"conv1.weight": some("F32", 4, 3, 3, 3), "bn1.weight": some("F32", 4), "bn1.bias": some("F32", 4), "bn1.running_mean": some("F32", 4),
                                     "bn1.running_var": some("F32", 4), "bn1.num_batches_tracked": some("I64"), "layer1.0.conv1.weight": some("F32", 4, 4, 3, 3), "fc.weight": some("F32", 5, 4), "fc.bias": some("F32", 5)})
    save("timm.safetensors", {"conv_stem.weight": some("F16", 4, 3, 3, 3), "blocks.0.0.conv_dw.weight": some("F16", 4, 1, 3, 3), "blocks.0.0.bn1.running_var": some("F32", 4),
                              "blocks.0.0.se.conv_reduce.bias": some("F16", 2), "classifier.weight": some("F16", 5, 4)}, {"format": "pt"})
    save("hugging-face.safetensors", {"resnet.embedder.embedder.convolution.weight": some("BF16", 4, 3, 3, 3), "resnet.encoder.stages.0.layers.0.layer.0.normalization.running_mean": some("F32", 4),
                                      "resnet.encoder.stages.0.layers.0.layer.0.normalization.num_batches_tracked": some("I64"), "classifier.1.weight": some("BF16", 5, 4)}, {"format": "pt"})

    # Headers that the library does not write and reads all the same, and what it refuses.
    def raw(name, header, body=b"", tensors=None, error="", size=None):
        header = header if isinstance(header, bytes) else json.dumps(header).encode()
        keep(name, struct.pack("<Q", len(header) if size is None else size) + header + body, tensors, error)

    f = lambda a, b, shape=(1,), kind="F32": dict(dtype=kind, shape=list(shape), data_offsets=[a, b])
    ones = np.ones(2, np.float32)
    raw("unaligned.safetensors", {"a": f(0, 1, kind="U8"), "b": f(1, 5)}, b"\1" + ones[:1].tobytes(), {"a": ("U8", np.ones(1, np.uint8)), "b": ("F32", ones[:1])})
    raw("padded-header.safetensors", json.dumps({"a": f(0, 4)}).encode() + b" " * 37, ones[:1].tobytes(), {"a": ("F32", ones[:1])})
    raw("unordered.safetensors", {"b": f(4, 8), "a": f(0, 4)}, ones.tobytes(), {"a": ("F32", ones[:1]), "b": ("F32", ones[:1])})
    raw("overlap.safetensors", {"a": f(0, 8, (2,)), "b": f(4, 8)}, ones.tobytes(), error="overlap")
    raw("twice.safetensors", b'{"a":' + json.dumps(f(0, 4)).encode() + b',"a":' + json.dumps(f(4, 8)).encode() + b"}", ones.tobytes(), error="twice")
    raw("beyond.safetensors", {"a": f(0, 16, (4,))}, ones.tobytes(), error="holds 8 bytes")
    raw("backwards.safetensors", {"a": f(8, 4)}, ones.tobytes(), error="lies at")
    raw("wrong-size.safetensors", {"a": f(0, 8, (3,))}, ones.tobytes(), error="asks for 12")
    raw("negative.safetensors", {"a": f(0, 8, (-2, -1))}, ones.tobytes(), error="shape")
    raw("huge-shape.safetensors", {"a": f(0, 8, (1 << 62, 1 << 62))}, ones.tobytes(), error="shape")
    raw("unknown-type.safetensors", {"a": f(0, 8, (2,), "Q4")}, ones.tobytes(), error="unknown type")
    raw("no-end.safetensors", b'{"a":{"dtype":"F32","shape":[1],', error="unexpected EOF")
    raw("no-object.safetensors", b"[1, 2]", error="begins with")
    raw("long-header.safetensors", b"{}", error="begins with", size=1 << 62)
    (folder / "index.json").write_text(json.dumps(dict(safetensors=safetensors.__version__, files=index), indent=1, sort_keys=True) + "\n")
    print("%d files, %d bytes" % (len(index), sum(p.stat().st_size for p in folder.glob("*.safetensors"))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
