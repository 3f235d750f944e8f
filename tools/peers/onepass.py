#!/usr/bin/env python3
"""The main job as a short program on ONNX Runtime, numpy and Pillow: what a data scientist would write.

One pass over the images, all layers pooled in the graph (the file that tools/peers/program writes), two threads
that decode and infer, features in memory, then elastic-net logistic regression (OWL-QN, 10 iterations) on
[table, layer] for each layer and on the table alone, and held-out accuracy.

  go run ./tools/peers/program -model resnet50 -out resnet50.onnx
  pip install onnxruntime numpy pillow
  python3 tools/peers/onepass.py resnet50.onnx DATA     (a folder of `vista-mr synth foods`)
"""
import csv
import hashlib
import os
import sys
import threading
import time

import numpy as np
import onnxruntime as ort
from PIL import Image

BATCH, SLOTS, SEED, TEST = 8, 2, 2019, 0.2


def preprocess(path):
    image = Image.open(path).convert("RGB")
    w, h = image.size
    short, long = 256, int(256 * max(w, h) / min(w, h))
    image = image.resize((short, long) if w < h else (long, short), Image.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def features(session, paths):
    names = [o.name for o in session.get_outputs()]
    out = [[None] * len(paths) for _ in names]
    lock, at = threading.Lock(), [0]

    def work():
        while True:
            with lock:
                lo = at[0]
                at[0] += BATCH
            part = paths[lo:lo + BATCH]
            if not part:
                return
            batch = np.stack([preprocess(p) for p in part])
            for k, v in enumerate(session.run(None, {"image": batch})):
                for i in range(len(part)):
                    out[k][lo + i] = v[i]

    threads = [threading.Thread(target=work) for _ in range(SLOTS)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return dict(zip(names, (np.stack(v) for v in out)))


def owlqn(f, x, l1, iterations, memory=10):
    """Andrew and Gao's OWL-QN: f returns the smooth part and its gradient."""
    s, y = [], []
    value, grad = f(x)
    value += np.sum(l1 * np.abs(x))
    for _ in range(iterations):
        pg = np.where(x > 0, grad + l1, np.where(x < 0, grad - l1, np.where(grad + l1 < 0, grad + l1, np.where(grad - l1 > 0, grad - l1, 0))))
        d = -pg
        a = []
        for si, yi in zip(reversed(s), reversed(y)):
            a.append(si @ d / (si @ yi))
            d = d - a[-1] * yi
        if s:
            d = d * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
        for si, yi, ai in zip(s, y, reversed(a)):
            d = d + si * (ai - yi @ d / (si @ yi))
        d = np.where(d * pg < 0, d, 0)
        orthant = np.where(x != 0, np.sign(x), -np.sign(pg))
        t = 1.0 if s else 1 / max(np.linalg.norm(pg), 1e-12)
        for _ in range(30):
            new = x + t * d
            new = np.where((l1 > 0) & (new * orthant < 0), 0, new)
            v, g = f(new)
            v += np.sum(l1 * np.abs(new))
            if v <= value + 1e-4 * pg @ (new - x):
                break
            t /= 2
        if (new - x) @ (g - grad) > 1e-12:
            s, y = (s + [new - x])[-memory:], (y + [g - grad])[-memory:]
        x, value, grad = new, v, g
    return x


def train(x, label, reg=0.01, elastic=0.5, iterations=10):
    mean, dev = x.mean(0, dtype=np.float64), x.std(0, ddof=1, dtype=np.float64)
    dev[dev == 0] = np.inf
    n = len(label)

    def f(v):
        w = (v[:-1] / dev).astype(np.float32)
        z = x @ w + (v[-1] - mean @ w)
        p = 1 / (1 + np.exp(-z))
        r = (p - label).astype(np.float32)
        g = np.append((r @ x - mean * r.sum()) / dev / n + reg * (1 - elastic) * v[:-1], r.mean())
        loss = np.mean(np.logaddexp(0, z) - label * z) + reg * (1 - elastic) / 2 * v[:-1] @ v[:-1]
        return loss, g

    start = np.zeros(x.shape[1] + 1)
    start[-1] = np.log(label.mean() / (1 - label.mean()))
    v = owlqn(f, start, np.append(np.full(x.shape[1], reg * elastic), 0), iterations)
    w = v[:-1] / dev
    return w, v[-1] - mean @ w


def main(model, data):
    begin = time.time()
    with open(os.path.join(data, "table.csv")) as file:
        rows = list(csv.reader(file))
    header, rows = rows[0], rows[1:]
    columns = [i for i, c in enumerate(header) if c not in ("id", "label")]
    keys = [r[header.index("id")] for r in rows]
    label = np.array([int(r[header.index("label")]) for r in rows])
    table = np.array([[float(r[i]) for i in columns] for r in rows], np.float32)
    held = np.array([int.from_bytes(hashlib.sha256(f"{SEED}:{k}".encode()).digest()[:8], "big") / 2**64 < TEST for k in keys])

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    start = time.time()
    layers = features(session, [os.path.join(data, "images", k + ".jpg") for k in keys])
    print(f"cnn {time.time() - start:.1f} s, {len(keys) / (time.time() - start):.1f} images/s")
    del session

    for name, v in [("(structured)", None)] + list(layers.items()):
        x = table if v is None else np.hstack([table, v])
        w, b = train(x[~held], label[~held])
        accuracy = np.mean((x[held] @ w + b > 0) == label[held])
        print(f"{name:40} accuracy {accuracy:.3f}")
    print(f"whole {time.time() - begin:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
