#!/usr/bin/env python3
"""What scikit-learn makes of the features of `make demo`: the same rows, folds, columns and objective.

    pip install scikit-learn fastavro cramjam
    python3 tools/peers/digits.py out/demo/digits-5000 out/demo/data-5000/table.csv

For the table alone and for [table, layer] it trains LogisticRegression on columns divided by their sample deviation
over the training rows, with C = 1/(rows * reg), which is the job's objective with elasticNet 0, and prints its
accuracy over all folds beside the job's. Folds are floor(folds * u), u from bytes 8 to 16 of
SHA-256("seed:id").
"""
import csv
import glob
import hashlib
import json
import os
import sys
import time

import fastavro
import numpy as np
from sklearn.linear_model import LogisticRegression

REG, FOLDS = 0.01, 5


def fold(seed, key):
    u = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[8:16], "big") / 2**64
    return int(FOLDS * u)


def accuracy(x, y, folds):
    right = 0
    for f in range(FOLDS):
        train = folds != f
        mean, dev = x[train].mean(0), x[train].std(0, ddof=1)
        dev[dev == 0] = np.inf
        scaled = (x - mean) / dev
        model = LogisticRegression(C=1 / (train.sum() * REG), tol=1e-6, max_iter=5000).fit(scaled[train], y[train])
        right += (model.predict(scaled[~train]) == y[~train]).sum()
    return right / len(y)


def main(output, table):
    results = json.load(open(os.path.join(output, "results.json")))
    with open(table, newline="") as f:
        rows = {r["id"]: r for r in csv.DictReader(f)}
    names = results["job"]["features"]

    def show(name, x, y, folds, ours):
        start = time.time()
        theirs = accuracy(x, y, folds)
        print(f"{name:14} vista-mr {ours:.4f}   scikit-learn {theirs:.4f}   {time.time() - start:.0f} s")

    done = False
    for layer in results["layers"]:
        ids, vectors = [], []
        for part in sorted(glob.glob(os.path.join(output, "features", layer["folder"], "part-*.avro"))):
            with open(part, "rb") as f:
                for r in fastavro.reader(f):
                    ids.append(r["id"])
                    vectors.append(np.asarray(r["features"], np.float32))
        structured = np.array([[float(rows[i][c]) for c in names] for i in ids])
        y = np.array([rows[i]["label"] for i in ids])
        folds = np.array([fold(results["job"]["seed"], i) for i in ids])
        if not done:
            show("(structured)", structured, y, folds, results["baselines"]["structured"]["metrics"]["accuracy"]["value"])
            done = True
        show(layer["name"], np.hstack([structured, np.stack(vectors).astype(np.float64)]), y, folds, layer["metrics"]["accuracy"]["value"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
