#!/usr/bin/env python3
"""Makes layers/weights/testdata: small files of torch.save in its formats, good ones and refused ones.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy
    /tmp/venv/bin/python tools/goldens/weights.py layers/weights/testdata

index.json gives the tensors that each file holds, as numbers, or a part of the message that refuses it. The files are
the fuzz targets' first inputs, too.
"""
import argparse
import collections
import io
import json
import os
import pathlib
import sys
import zipfile

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 2, bias=False)
        self.bn = torch.nn.BatchNorm2d(3)


class Runs:
    """What unpickling runs: here nothing that does harm, and nothing that should happen."""
    def __reduce__(self):
        return os.system, ("true",)


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    index = {}

    def keep(name, state=None, path="", error=""):
        tensors = {}
        for k, v in (state or {}).items():
            tensors[k] = dict(shape=list(v.shape), values=v.detach().float().reshape(-1).tolist())
        index[name] = dict(tensors=tensors, path=path, error=error)

    def save(name, obj, state=None, path="", error="", **kw):
        torch.save(obj, folder / name, **kw)
        keep(name, state, path, error)

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    mixed = collections.OrderedDict(f32=base, f16=base.half(), bf16=base.bfloat16(), f64=base.double() / 3)
    net = Net()
    state = net.state_dict()
    save("plain.pth", mixed, mixed)
    save("old.pth", mixed, mixed, _use_new_zipfile_serialization=False)
    save("protocol4.pth", mixed, mixed, pickle_protocol=4)
    save("old-protocol4.pth", mixed, mixed, pickle_protocol=4, _use_new_zipfile_serialization=False)
    views = dict(row=base[1], column=base[:, 2], transposed=base.t(), block=base[1:3, 2:5], every=base[::2, ::3], expanded=base[0:1].expand(3, 6),
                 scalar=torch.tensor(2.5), empty=torch.zeros(0, 3))
    save("views.pth", views, views)
    save("old-views.pth", views, views, _use_new_zipfile_serialization=False)
    save("module.pth", state, state)
    save("parameters.pth", dict(net.named_parameters()), dict(net.named_parameters()))
    optimizer = torch.optim.Adam(net.parameters())
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    optimizer.step()
    save("checkpoint.pth", dict(epoch=3, best=0.75, note=None, done=True, big=1 << 80, history=[1, 2.5, (3,)], optimizer=optimizer.state_dict(),
                                state_dict={"module." + k: v for k, v in net.state_dict().items()}, device=torch.device("cpu"), size=torch.Size([1, 2])),
         {"module." + k: v for k, v in net.state_dict().items()}, path="state_dict")
    torch.serialization.set_crc32_options(False)
    save("no-checksums.pth", mixed, mixed)
    torch.serialization.set_crc32_options(True)

    save("runs.pth", dict(w=base, x=Runs()), error="nothing of it was executed")
    save("old-runs.pth", dict(w=base, x=Runs()), error="nothing of it was executed", _use_new_zipfile_serialization=False)
    save("namespace.pth", dict(model=state, args=argparse.Namespace(lr=1)), error="argparse.Namespace")
    save("whole.pth", net, error="Net")
    save("complex.pth", dict(w=torch.zeros(2, dtype=torch.complex64)), error="ComplexFloatStorage")
    save("no-tensors.pth", dict(a=1), error="no dictionary of tensors")
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script.pth")
    keep("script.pth", error="TorchScript")
    packed = io.BytesIO()
    with zipfile.ZipFile(folder / "plain.pth") as src, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as dst:
        for n in src.namelist():
            dst.writestr(n, src.read(n))
    (folder / "deflated.pth").write_bytes(packed.getvalue())
    keep("deflated.pth", error="compressed")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as dst:
        dst.writestr("readme.txt", "no weights")
    (folder / "other.zip").write_bytes(packed.getvalue())
    keep("other.zip", error="no data.pkl")
    (folder / "index.json").write_text(json.dumps(dict(made_with=torch.__version__, files=index), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
