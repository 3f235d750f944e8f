#!/usr/bin/env python3
"""Makes lr/testdata/scikit-learn.json: small problems and scikit-learn's solutions of them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scikit-learn==1.9.1
    /tmp/venv/bin/python tools/goldens/logistic.py lr/testdata/scikit-learn.json

The objective is ours: mean log-loss + reg*(alpha*|v|_1 + (1-alpha)/2*|v|^2), where v are the weights of
columns divided by their sample deviation (standardize) or of raw columns. scikit-learn has no
deviations of its own and C = 1/(n*reg). It gets centred columns, which changes nothing but the
intercept, since that is free: saga would take for ever on raw ones. Without L1 the solver is
newton-cg, else saga; both at tolerances near the arithmetic's end, and checked here by the
violation of the optimality conditions. Values are what float32 holds. "unique" is false where more
than one minimum exists: then only the objective is to be compared.
"""
import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore", category=FutureWarning)


def loss_grad(X, y, W, b, classes):
    """Mean log-loss and its gradient; W has a row for each score."""
    Z = X @ W.T + b
    n = len(y)
    if len(W) == 1:
        z = Z[:, 0]
        loss = np.mean(np.logaddexp(0, z) - y * z)
        R = (1 / (1 + np.exp(-z)) - y)[:, None]
    else:
        m = Z.max(1, keepdims=True)
        lse = np.log(np.exp(Z - m).sum(1)) + m[:, 0]
        loss = np.mean(lse - Z[np.arange(n), y])
        R = np.exp(Z - lse[:, None])
        R[np.arange(n), y] -= 1
    return loss, R.T @ X / n, R.sum(0) / n


def solve(X, y, classes, reg, alpha):
    n = len(y)
    l1 = reg * alpha > 0
    kw = dict(C=1 / (n * reg) if reg else np.inf, fit_intercept=True, max_iter=2_000_000 if l1 else 100_000)
    if l1:
        m = LogisticRegression(solver="saga", l1_ratio=alpha, tol=1e-13, random_state=1, **kw)
    else:
        m = LogisticRegression(solver="newton-cg", l1_ratio=0.0, tol=1e-10, **kw)
    m.fit(X, y)
    W, b = m.coef_, m.intercept_
    if classes > 2:
        b = b - b.mean()
    loss, G, gb = loss_grad(X, y, W, b, classes)
    G = G + reg * (1 - alpha) * W
    kkt = np.where(W != 0, np.abs(G + reg * alpha * np.sign(W)), np.maximum(np.abs(G) - reg * alpha, 0))
    worst = max(kkt.max(), np.abs(gb).max())
    obj = loss + reg * (alpha * np.abs(W).sum() + (1 - alpha) / 2 * (W ** 2).sum())
    return W, b, obj, worst


def data(name, rng):
    """Columns of different scales and means, and labels that need some of them."""
    n, d, classes = 160, 8, 2
    if name.startswith("multi"):
        n, classes = 210, 4
    if name == "wide":
        n, d = 60, 90
    X = rng.normal(size=(n, d)) * np.exp(rng.uniform(-3, 3, d)) + rng.normal(size=d) * 2
    if name == "wide":
        X = np.maximum(X, 0)  # as activations are
    if name in ("collinear", "multi-collinear"):
        X[:, 3] = 2 * X[:, 2]
        X[:, 5] = X[:, 0] - X[:, 1]
    if name == "constant":
        X[:, 1], X[:, 4] = 3.25, 0
    if name == "offset":
        X = (X - X.mean(0)) / X.std(0) * np.logspace(-2, 1, d) + np.array([0, 37.8, -122.4, 2019, 1e3, -1e3, 1e4, 5e4])
    if name == "separable":
        X[:, 0] = np.where(np.arange(n) % 2 == 0, 1, -1) * (1 + np.abs(rng.normal(size=n)))
    X = X.astype(np.float32)
    S = X.astype(np.float64)
    S = (S - S.mean(0)) / np.where(S.std(0) > 0, S.std(0), 1)
    if classes == 2:
        z = S[:, :4] @ rng.normal(size=4) + rng.logistic(size=n) * .7
        cut = np.quantile(z, .95) if name == "imbalanced" else np.quantile(z, .45)
        y = (z > cut).astype(int)
        if name == "separable":
            y = (np.arange(n) % 2 == 0).astype(int)
    else:
        z = S @ rng.normal(size=(d, classes)) + rng.gumbel(size=(n, classes)) + np.array([0, .5, -.5, -1.5])
        y = z.argmax(1)
    return X, y, classes


def main(out):
    rng = np.random.default_rng(2019)
    problems = []
    for name in ["plain", "collinear", "constant", "imbalanced", "separable", "wide", "offset", "multi", "multi-collinear"]:
        X, y, classes = data(name, rng)
        raw = X.astype(np.float64)
        dev = raw.std(0, ddof=1)
        keep = dev > 0
        mean = raw.mean(0)
        problem = {"name": name, "rows": len(y), "columns": X.shape[1], "classes": classes,
                   "x": [float(v) for v in X.ravel()], "y": [int(v) for v in y], "solutions": []}
        for standardize in (True, False):
            for reg, alpha in ((.1, 0), (.01, 0), (.02, 1), (.05, .5), (.005, .5)):
                if name == "offset" and not standardize:
                    continue  # a deviation of 0.01 with a raw penalty says nothing of the offsets
                scale = dev[keep] if standardize else np.ones(keep.sum())
                W, b, obj, worst = solve((raw - mean)[:, keep] / scale, y, classes, reg, alpha)
                if worst > 2e-7:
                    raise SystemExit(f"{name} standardize={standardize} reg={reg} alpha={alpha}: optimality violated by {worst}")
                w = np.zeros((len(W), X.shape[1]))
                w[:, keep] = W / scale
                b = b - w @ mean
                if classes > 2:
                    b = b - b.mean()
                unique = alpha < 1 or (classes == 2 and name != "collinear" and name != "wide")
                problem["solutions"].append({"standardize": standardize, "reg": reg, "elasticNet": alpha, "unique": bool(unique),
                                             "objective": float(obj), "weights": w.tolist(), "intercepts": b.tolist()})
                print(f"{name:16} standardize={standardize!s:5} reg={reg:<6} alpha={alpha:<4} objective {obj:.9f} violation {worst:.1e} zeros {int((w == 0).sum())}")
        problems.append(problem)
    with open(out, "w") as f:
        json.dump({"generator": "tools/goldens/logistic.py", "scikit-learn": sklearn.__version__, "problems": problems}, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
