"""Opens the outputs of finished jobs with other people's programs and compares what they read with what the jobs say.

    check.py --program bin/vista-mr --pixels PIXELS --table T.csv --images DIR [--jars DIR] OUTPUT...

It recomputes what it can from the files alone: the split, every metric, the objectives, the predictions from pictures. It also
runs the code of docs/outputs.md. Every line of its output is one thing that was compared; the first that differs ends it.
"""

import argparse
import glob
import hashlib
import importlib.util
import io
import contextlib
import json
import os
import re
import subprocess
import tempfile

import fastavro
import jsonschema
import numpy
import onnx
import onnxruntime
import pandas
import polars
import pyarrow.parquet
from PIL import Image
from sklearn import linear_model, metrics, svm

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def want(ok, what):
    if not ok:
        raise SystemExit(f"FAIL  {what}")


def close(got, expected, tolerance, what):
    got, expected = numpy.asarray(got, "float64"), numpy.asarray(expected, "float64")
    want(got.shape == expected.shape, f"{what}: shape {got.shape}, want {expected.shape}")
    off = float(numpy.max(numpy.abs(got - expected) / numpy.maximum(1, numpy.abs(expected)), initial=0))
    want(off <= tolerance, f"{what}: off by {off:.3g}, allowed is {tolerance:g}")
    return off


def say(what, detail):
    print(f"ok    {what}: {detail}", flush=True)


class Output:
    """A finished job's output folder, with the table and the images that it was made of."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.results = json.load(open(self.path("results.json")))
        self.job, self.verdict = self.results["job"], self.results["verdict"]
        self.classes = self.job["classes"]
        self.on = self.verdict["on"]
        table = pandas.read_csv(options.table, dtype={options.key: str, options.label: str}).drop_duplicates(options.key)
        self.table = table.set_index(options.key)
        self.models = {l["name"]: json.load(open(self.path("models", l["folder"] + ".json"))) for l in self.results["layers"]}
        self.models[""] = json.load(open(self.path("models", "%28structured%29.json")))
        self.features = {}  # layer -> (ids, labels, splits, vectors)
        for layer in self.results["layers"]:
            rows = self.read(layer["folder"])
            if rows is not None:
                self.features[layer["name"]] = rows

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def parts(self, folder, ending):
        return sorted(glob.glob(self.path("features", glob.escape(folder), "part-*." + ending)))

    def read(self, folder):
        rows = []
        for name in self.parts(folder, "avro"):
            with open(name, "rb") as f:
                rows += list(fastavro.reader(f))
        for name in self.parts(folder, "parquet"):
            rows += pyarrow.parquet.read_table(name).to_pylist()
        if not rows:
            return None
        vectors = numpy.array([r["features"] for r in rows], "float32")
        return [r["id"] for r in rows], [r["label"] for r in rows], [r["split"] for r in rows], vectors

    def structured(self, ids):
        return self.table.loc[ids, self.job["features"]].to_numpy("float32")

    def inputs(self, layer, ids):
        """The model's inputs for the rows: the table's columns, then the layer's vector."""
        x = self.structured(ids)
        if layer == "":
            return x
        at = {id: i for i, id in enumerate(self.features[layer][0])}
        return numpy.hstack([x, self.features[layer][3][[at[id] for id in ids]]])


def held_out(seed, test, key):
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64 < test


def check_schemas(o):
    for name, files in {"results": ["results.json"], "model": ["models/*.json"], "events": ["events.jsonl"]}.items():
        schema = json.loads(subprocess.run([o.options.program, "schema", name], capture_output=True, check=True, text=True).stdout)
        validator = jsonschema.Draft7Validator(schema)
        n = 0
        for pattern in files:
            for file in sorted(glob.glob(o.path(pattern))):
                text = open(file).read()
                for document in text.splitlines() if file.endswith(".jsonl") else [text]:
                    errors = [e.message for e in validator.iter_errors(json.loads(document))]
                    want(not errors, f"{file}: {errors[:3]}")
                    n += 1
        want(n > 0, f"{name}: there is nothing to validate")
        say("jsonschema", f"{n} documents of {name}")


def check_digests(o):
    n = 0
    for name, digest in o.results["digests"].items():
        if os.path.exists(o.path(name)):
            with open(o.path(name), "rb") as f:
                want(hashlib.file_digest(f, "sha256").hexdigest() == digest, f"{name}: not the digest of results.json")
            n += 1
    want("models/best-pipeline.onnx" in o.results["digests"], "results.json does not have the pipeline's digest")
    say("SHA-256", f"{n} files have the digests of results.json")


def check_features(o):
    """Every reader gives the same records, and they are the job's."""
    if not o.features:
        say("features", "the job kept none")
        return
    layers = {l["name"]: l for l in o.results["layers"]}
    for name, (ids, labels, splits, vectors) in o.features.items():
        folder = layers[name]["folder"]
        want(vectors.shape == (o.results["counters"]["matched"], layers[name]["dim"]), f"{name}: {vectors.shape} features")
        want(labels == o.table.loc[ids, o.options.label].tolist(), f"{name}: labels are not the table's")
        want(splits == ["test" if held_out(o.job["seed"], o.job.get("test", 0), id) else "train" for id in ids], f"{name}: the split is not SHA-256's")
        readers = []
        for file in o.parts(folder, "avro"):
            with open(file, "rb") as f:
                meta = fastavro.reader(f).metadata
            check_metadata(o, layers[name], meta)
        if o.parts(folder, "avro"):
            frame = polars.concat([polars.read_avro(f) for f in o.parts(folder, "avro")])
            readers += ["fastavro"] + same("polars", frame["id"], frame["label"], frame["split"], frame["features"], o.features[name])
            if o.options.jars:
                readers += check_java(o, folder, o.features[name])
        for file in o.parts(folder, "parquet"):
            meta = {k.decode(): v.decode() for k, v in pyarrow.parquet.read_schema(file).metadata.items()}
            check_metadata(o, layers[name], meta)
        if o.parts(folder, "parquet"):
            import duckdb

            pattern = o.path("features", folder, "part-*.parquet").replace("'", "''")
            columns = duckdb.sql(f"SELECT id, label, split, features FROM '{pattern}' ORDER BY filename, file_row_number").fetchall()
            frame = polars.read_parquet(pattern, glob=True)
            readers += ["pyarrow"] + same("duckdb", *zip(*columns), o.features[name])
            readers += same("polars", frame["id"], frame["label"], frame["split"], frame["features"], o.features[name])
            frame = pandas.concat([pandas.read_parquet(f) for f in o.parts(folder, "parquet")])
            readers += same("pandas", frame["id"], frame["label"], frame["split"], frame["features"], o.features[name])
        say(f"features of {name}", f"{len(ids)} x {vectors.shape[1]}, the same in {', '.join(readers)}; the split is that of the keys' SHA-256")


def check_metadata(o, layer, meta):
    want(meta["vista.layer"] == layer["name"] and meta["vista.dim"] == str(layer["dim"]), f"metadata {meta}")
    want(meta["vista.networkDigest"] == o.results["digests"]["network"], "another network's digest is in the metadata")
    want(json.loads(meta["vista.preprocess"]) == o.results["pipeline"]["preprocess"], "another preprocessing is in the metadata")


def same(reader, ids, labels, splits, vectors, expected):
    want((list(ids), list(labels), list(splits)) == tuple(expected[:3]), f"{reader} reads other records")
    got = numpy.array([numpy.asarray(v, "float32") for v in vectors])
    want(numpy.array_equal(got, expected[3]), f"{reader} reads other features")
    return [reader]


def check_java(o, folder, expected):
    """Runs the page's Java program, which prints what it reads and the sum of each record's features."""
    program = [code for language, needs, code in snippets() if language == "java"][0]
    with tempfile.TemporaryDirectory() as tmp:
        source = os.path.join(tmp, "Features.java")
        with open(source, "w") as f:
            f.write(program)
        files = o.parts(folder, "avro")
        out = subprocess.run(["java", "-cp", os.path.join(o.options.jars, "*"), source, *files], capture_output=True, text=True)
    want(out.returncode == 0, f"java: {out.stderr[-2000:]}")
    rows = [line.split("\t") for line in out.stdout.splitlines()]
    sums = []
    for vector in expected[3].astype("float64"):
        total = 0.0  # added up one by one, as the program does
        for x in vector.tolist():
            total += x
        sums.append(total)
    want([r[1:4] for r in rows] == [list(r) for r in zip(*expected[:3])], "Apache Avro (Java) reads other records")
    want([float(r[4]) for r in rows] == sums, "Apache Avro (Java) reads other features")
    return ["Apache Avro (Java)"]


def scores(model, x):
    """Values for each class in double precision from models/LAYER.json: probabilities, or -z and z."""
    z = x.astype("float64") @ numpy.array(model["model"]["weights"], "float64").T + numpy.array(model["model"]["intercepts"])
    if model["model"]["kind"] == "linear-svc":
        return numpy.hstack([-z, z])
    if z.shape[1] == 1:
        z = numpy.hstack([numpy.zeros_like(z), z])
    e = numpy.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def measured(o, values, labels):
    """Metrics as scikit-learn computes them."""
    y = numpy.array([o.classes.index(l) for l in labels])
    given = values.argmax(axis=1)
    out = {"accuracy": metrics.accuracy_score(y, given), "f1-macro": metrics.f1_score(y, given, average="macro", zero_division=0)}
    if o.job["kind"] != "linear-svc":
        whole = values / values.sum(axis=1, keepdims=True)  # float32 sums to 1 within its rounding
        out["log-loss"] = metrics.log_loss(y, whole, labels=range(len(o.classes)))
    if len(o.classes) == 2:
        out["f1"] = metrics.f1_score(y, given, zero_division=0)
        if len(set(y)) == 2:
            out["auc"] = metrics.roc_auc_score(y, values[:, 1])
    return out


def compare_metrics(o, what, mine, theirs, tolerance=1e-6):
    want(set(mine) == set(theirs), f"{what}: metrics {sorted(theirs)}, want {sorted(mine)}")
    for name, value in mine.items():
        close(value, theirs[name]["value"], tolerance, f"{what}: {name}")


def judged(o, layer):
    """The rows that the metrics are measured on, with their labels."""
    ids, labels, splits, _ = o.features[layer or next(iter(o.features))]
    keep = [i for i, s in enumerate(splits) if s == o.on]
    return [ids[i] for i in keep], [labels[i] for i in keep]


def check_models(o):
    """Metrics from models/*.json in double precision and from models/*.onnx in ONNX Runtime."""
    if not o.features or o.on == "folds":
        say("models", "metrics need kept features, and held-out rows or none")
        return
    table = pandas.read_csv(o.path("metrics.csv"))
    entries = {l["name"]: (l["folder"], l) for l in o.results["layers"]}
    entries[""] = ("%28structured%29", o.results["baselines"]["structured"])
    for layer, (folder, entry) in entries.items():
        name = layer or "(structured)"
        ids, labels = judged(o, layer)
        values = scores(o.models[layer], o.inputs(layer, ids))
        compare_metrics(o, f"scikit-learn on {name}", measured(o, values, labels), entry["metrics"])
        mine = table[(table.layer == name) & (table.fold == o.on) & numpy.isclose(table.reg, entry["chosen"]["reg"], rtol=0, atol=0)]
        want(dict(zip(mine.metric, mine.value)) == {k: v["value"] for k, v in entry["metrics"].items()}, f"metrics.csv and results.json differ for {name}")
        onnx.checker.check_model(o.path("models", folder + ".onnx"), full_check=True)
        session = onnxruntime.InferenceSession(o.path("models", folder + ".onnx"))
        want([x.name for x in session.get_outputs()] == o.results["pipeline"]["outputs"], f"{name}: outputs {session.get_outputs()}")
        got, given = session.run(None, {"features": o.inputs(layer, ids)})
        off = close(got, values, 1e-5, f"ONNX Runtime on {name}")
        want(given.tolist() == [o.classes[c] for c in values.argmax(axis=1)], f"ONNX Runtime on {name}: other labels")
        compare_metrics(o, f"scikit-learn on ONNX Runtime's values for {name}", measured(o, got.astype("float64"), labels), entry["metrics"])
        say(f"models of {name}", f"scikit-learn's metrics are the job's within 1e-6, ONNX Runtime's values within {off:.1g}, on {len(ids)} rows")
    majority = o.results["baselines"]["majority"]
    ids, labels, splits, _ = next(iter(o.features.values()))
    train = pandas.Series([l for l, s in zip(labels, splits) if s == "train"]).value_counts(normalize=True)
    values = numpy.tile([train.get(c, 0) for c in o.classes], (len(judged(o, "")[0]), 1))
    compare_metrics(o, "majority", measured(o, values, judged(o, "")[1]), majority["metrics"])
    say("majority", f"always {majority['class']}, metrics as scikit-learn's")


def check_objective(o):
    """The objective of a job's models, and what scikit-learn makes of the same rows."""
    for layer, model in o.models.items():
        name = layer or "(structured)"
        if not o.features:
            return
        ids, labels, splits, _ = o.features[layer or next(iter(o.features))]
        keep = [i for i, s in enumerate(splits) if s == "train"]
        x = o.inputs(layer, [ids[i] for i in keep]).astype("float64")
        y = numpy.array([o.classes.index(labels[i]) for i in keep])
        p, report = model["model"]["params"], model["model"]["report"]
        deviation = x.std(axis=0, ddof=1) if p["standardize"] else numpy.ones(x.shape[1])
        deviation[x.max(axis=0) == x.min(axis=0)] = 0
        some = deviation > 0

        def objective(w, b):
            """w: weights of the columns as they are penalised."""
            z = (x[:, some] / deviation[some]) @ w.T + b
            if p["kind"] == "linear-svc":
                loss = numpy.maximum(0, 1 - (2 * y - 1) * z[:, 0]).mean()
            else:
                z = numpy.hstack([numpy.zeros_like(z), z]) if z.shape[1] == 1 else z
                loss = (numpy.logaddexp.reduce(z, axis=1) - z[numpy.arange(len(y)), y]).mean()
            return loss + p["reg"] * (p["elasticNet"] * numpy.abs(w).sum() + (1 - p["elasticNet"]) / 2 * (w**2).sum())

        w = numpy.array(model["model"]["weights"], "float64")[:, some] * deviation[some]
        ours = objective(w, numpy.array(model["model"]["intercepts"]))
        close(ours, report["objective"], 1e-5, f"objective of {name}")
        if p["reg"] == 0:
            say(f"objective of {name}", f"{ours:.6f} as reported; without a penalty there may be no least")
            continue
        c = 1 / (p["reg"] * len(y))
        if p["kind"] == "linear-svc":
            if p["elasticNet"] != 0:
                say(f"objective of {name}", f"{ours:.6f} as reported; scikit-learn has no such classifier with an L1 penalty and hinge loss")
                continue
            # L-BFGS comes close to the least of a function with edges, not to it: measured against where it started.
            fit, tolerance = svm.SVC(kernel="linear", C=c, tol=1e-8), 1e-3 * report["history"][0]
        elif p["elasticNet"] == 0:
            fit, tolerance = linear_model.LogisticRegression(C=c, tol=1e-8, max_iter=10000), 1e-4 * ours
        else:
            fit, tolerance = linear_model.LogisticRegression(C=c, l1_ratio=p["elasticNet"], solver="saga", tol=1e-6, max_iter=5000, random_state=0), 1e-3 * ours
        fit.fit(x[:, some] / deviation[some], y)
        theirs = objective(fit.coef_, fit.intercept_)
        if report["converged"]:
            want(ours <= theirs + tolerance, f"objective of {name}: {ours}, scikit-learn reaches {theirs}")
        want(theirs <= ours + tolerance, f"objective of {name}: {ours}, scikit-learn does not come below {theirs}")
        say(f"objective of {name}", f"{ours:.6f} after {report['iterations']} iterations{'' if report['converged'] else ' (stopped)'}, scikit-learn {theirs:.6f}")


def pil(how, file):
    """The page's way from a file to pixels."""
    im = Image.open(file).convert("RGB")
    im = im.resize([how["resize"] * side // min(im.size) for side in im.size], Image.Resampling.BILINEAR)
    left, top = round((im.width - how["width"]) / 2), round((im.height - how["height"]) / 2)
    return numpy.asarray(im.crop((left, top, left + how["width"], top + how["height"])))


def check_pipeline(o):
    """From picture and row to the job's own prediction, for every row that was judged."""
    made, best = o.results["pipeline"], o.verdict["bestLayer"]
    want(made["layer"] == best, f"the pipeline uses {made['layer']}, the best layer is {best}")
    file, how = o.path(made["file"]), made["preprocess"]
    onnx.checker.check_model(file, full_check=True)
    if o.features:
        ids, labels = judged(o, best)
    else:
        ids = [k for k in o.table.index if held_out(o.job["seed"], o.job.get("test", 0), k) == (o.on == "test")]
        labels = o.table.loc[ids, o.options.label].tolist()
    paths = [f"{o.options.images}/{id}.jpg" for id in ids]
    raw = subprocess.run([o.options.pixels, o.path("results.json")], input="\n".join(paths).encode(), capture_output=True)
    want(raw.returncode == 0, raw.stderr.decode())
    pixels = numpy.frombuffer(raw.stdout, "uint8").reshape(len(ids), how["height"], how["width"], 3)
    session = onnxruntime.InferenceSession(file)
    want([x.name for x in session.get_inputs()] == ["image", "structured"] and [x.name for x in session.get_outputs()] == made["outputs"], "names of the pipeline's inputs and outputs")

    def run(images, structured):
        parts = [session.run(None, {"image": images[i : i + 8], "structured": structured[i : i + 8]}) for i in range(0, len(images), 8)]
        return numpy.vstack([p[0] for p in parts]), [l for p in parts for l in p[1].tolist()]

    structured = o.structured(ids)
    got, given = run(pixels, structured)
    want(given == [o.classes[c] for c in got.argmax(axis=1)], "the pipeline's labels are not those of its largest values")
    entry = [l for l in o.results["layers"] if l["name"] == best][0]
    compare_metrics(o, "pipeline", measured(o, got.astype("float64"), labels), entry["metrics"], 1e-6 if o.features else 1e-5)
    detail = f"{len(ids)} rows, metrics are the job's"
    if o.features:
        off = close(got, scores(o.models[best], o.inputs(best, ids)), 1e-5, "the pipeline's values")
        detail += f", values within {off:.1g} of the model on the job's own features"
    say("best-pipeline.onnx", detail)
    theirs = numpy.stack([pil(how, p) for p in paths])
    levels = numpy.abs(theirs.astype(int) - pixels.astype(int))
    turbo = o.results["versions"]["decoder"] == "turbo"
    want(levels.max() <= 1 if turbo else levels.mean() <= 2, f"PIL's pixels differ by {levels.mean():.3f} levels on average, by {levels.max()} at most")
    values, _ = run(theirs, structured)
    say("PIL instead of the job's decoder", f"pixels differ by {levels.mean():.3f} of 255 levels on average and {levels.max()} at most ({o.results['versions']['decoder']}), values by {numpy.abs(values - got).max():.2g}")


def snippets():
    """The page's code: language, what it needs, text."""
    text = open(os.path.join(ROOT, "docs", "outputs.md")).read()
    return [(m[1], m[2].split(), m[3]) for m in re.finditer(r"^```(python|java)(.*)\n((?:.*\n)*?)```$", text, re.M)]


def run_snippets(o, ran):
    """Runs the page's code in the output folder. What it leaves in ids, X, values and labels is compared."""
    formats = {f for f in ("avro", "parquet") if glob.glob(o.path("features", "*", "part-*." + f))}
    best = o.verdict["bestLayer"]
    for number, (language, needs, code) in enumerate(snippets()):
        if language != "python" or not set(needs) & {"avro", "parquet"} <= formats:
            continue
        if "spark" in needs and importlib.util.find_spec("pyspark") is None:
            continue
        before, printed = os.getcwd(), io.StringIO()
        space = {"__name__": "page"}
        os.chdir(o.folder)
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, f"docs/outputs.md, code {number + 1}", "exec"), space)
        finally:
            os.chdir(before)
        if "ids" in space:
            want(list(space["ids"]) == o.features[best][0], f"code {number + 1} of the page reads other records")
        if "X" in space:
            want(numpy.array_equal(numpy.asarray(list(space["X"]), "float32"), o.features[best][3]), f"code {number + 1} of the page reads other features")
        if "values" in space:
            ids = space.get("ids", [space["row"]["id"]] if "row" in space else None)
            if "ids" not in space and o.features:  # PIL's pixels are not quite the job's
                close(space["values"], scores(o.models[best], o.inputs(best, ids)), 0.25, f"code {number + 1} of the page")
            elif o.features:
                close(space["values"], scores(o.models[best], o.inputs(best, ids)), 1e-5, f"code {number + 1} of the page")
        ran.add(number)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--program", required=True, help="vista-mr, for its schemas")
    arguments.add_argument("--pixels", required=True, help="the program of tools/interop/pixels")
    arguments.add_argument("--table", required=True)
    arguments.add_argument("--images", required=True)
    arguments.add_argument("--key", default="id")
    arguments.add_argument("--label", default="label")
    arguments.add_argument("--jars", help="folder with Apache Avro's jars")
    arguments.add_argument("outputs", nargs="+")
    options = arguments.parse_args()
    for name in ("program", "pixels", "table", "images", "jars"):
        if getattr(options, name):
            setattr(options, name, os.path.abspath(getattr(options, name)))
    ran = set()
    for folder in options.outputs:
        o = Output(os.path.abspath(folder), options)
        print(f"-- {folder}: {o.verdict['sentence']}")
        for check in (check_schemas, check_digests, check_features, check_models, check_objective, check_pipeline):
            check(o)
        run_snippets(o, ran)
    code = snippets()
    if not options.jars:
        print("skip  Java: no jars were given")
    left = [i + 1 for i, (language, needs, _) in enumerate(code) if language == "python" and i not in ran and "spark" not in needs]
    say("docs/outputs.md", f"{len(ran)} pieces of its Python code were run")
    if left:
        print(f"skip  docs/outputs.md: code {left} needs features in a format that no output has")
    if importlib.util.find_spec("pyspark") is None:
        print("skip  Spark: pyspark is not installed")


if __name__ == "__main__":
    main()
