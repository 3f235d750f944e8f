#!/usr/bin/env python3
"""Makes layers/testdata/exporters: graphs of CNNs as exporters write them, without their weights.

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 \
        onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 onnxconverter-common==1.16.0
    python3 -m venv /tmp/tf && /tmp/tf/bin/pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2
    /tmp/torch/bin/python tools/goldens/exporters.py torch layers/testdata/exporters
    /tmp/torch/bin/python tools/goldens/exporters.py functions layers/testdata/exporters
    /tmp/tf/bin/python tools/goldens/exporters.py keras layers/testdata/exporters
    /tmp/torch/bin/python tools/goldens/exporters.py zoo layers/testdata/exporters

The last one takes no framework: onnx's wheel carries graphs of the model zoo of 2017-2018 as Caffe2's exporter
wrote them, where nodes make the weights. They get seeded ones, as initializers that are inputs too, which the zoo's
files have; those with a classifier of 4096 columns, one of 128.

This takes some gigabytes of disk and a quarter of an hour; it is run by hand, when a graph is to be
added. Each graph is NAME.onnx.gz, and index.json says of each which exporter wrote it, what it reads,
and how many multiply-accumulates and parameters it has. The multiply-accumulates are counted in the
framework, by hooks on the modules (layers) that multiply, not in the graph; the parameters of PyTorch's
modules must be those of the graph, less what was folded.

Weights are not stored. A constant of more than 256 bytes stands in the graph as external data in the
file "stripped", with its mean, deviation, least and largest value as further entries; the tests fill it
with seeded normal numbers of that kind, cut to that range; "gain" in index.json makes kernels and matrices
smaller where a network would be chaotic otherwise. Networks are calibrated on noise before they
are exported, so that activations of such weights stay in range. Images are small where the architecture
allows it, and VGG's classifier is narrow, for the tests' speed.
"""
import gzip
import io
import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LIMIT = 256
SEED = 11
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def constants(graph):
    """All tensors of a graph: initializers and attributes."""
    yield from graph.initializer
    for n in graph.node:
        for a in n.attribute:
            if a.HasField("t"):
                yield a.t


def strip(model):
    """Takes the weights out, and what would tie the file to this machine."""
    for t in constants(model.graph):
        v = numpy_helper.to_array(t)
        if v.nbytes <= LIMIT or v.dtype.kind not in "fiu" or v.dtype.kind == "i" and v.dtype.itemsize == 8:
            continue
        v = v.astype(np.float64)
        for f in ("raw_data", "float_data", "int32_data", "double_data", "int64_data", "uint64_data"):
            t.ClearField(f)
        t.data_location = TensorProto.EXTERNAL
        del t.external_data[:]
        for k, x in (("location", "stripped"), ("mean", v.mean()), ("std", v.std()), ("min", v.min()), ("max", v.max())):
            t.external_data.add(key=k, value=x if k == "location" else "%.6g" % x)
    for nodes in [model.graph.node] + [f.node for f in model.functions]:
        for n in nodes:
            n.doc_string = ""
            kept = [(e.key, e.value) for e in n.metadata_props if e.key == "pkg.torch.onnx.name_scopes"]
            del n.metadata_props[:]
            for k, x in kept:
                n.metadata_props.add(key=k, value=x)
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for v in list(model.graph.input) + list(model.graph.output) + list(model.graph.value_info):
        v.doc_string = ""
        del v.metadata_props[:]
    for t in model.graph.initializer:
        t.doc_string = ""
        del t.metadata_props[:]


def parameters(model):
    """Counts trainable elements in a graph without functions: floating-point constants with at least one
    axis, but neither running statistics nor what quantization needs, and integers that stand for weights."""
    made = {t.name: t for t in model.graph.initializer}
    for n in model.graph.node:
        for a in n.attribute:
            if n.op_type == "Constant" and a.name == "value":
                made[n.output[0]] = a.t
    counted, no = set(), set()
    for n in model.graph.node:
        weights, skip = (), ()
        if n.op_type == "BatchNormalization":
            skip = (3, 4)
        elif n.op_type == "QuantizeLinear":
            skip = (1, 2)
        elif n.op_type == "DequantizeLinear":
            weights, skip = (0,), (1, 2)
        elif n.op_type == "QLinearConv":
            weights, skip = (3, 8), (1, 2, 4, 5, 6, 7)
        elif n.op_type in ("QLinearMatMul", "QGemm"):
            weights, skip = (3, 6) if n.op_type == "QGemm" else (3,), (1, 2, 4, 5, 6, 7) if n.op_type == "QLinearMatMul" else (1, 2, 4, 5, 7, 8)
        elif n.op_type.startswith("QLinear"):
            skip = range(1 if n.op_type != "QLinearConcat" else 0, 20)
        for i, name in enumerate(n.input):
            t = made.get(name)
            if t is None:
                continue
            if i in skip:
                no.add(name)
            elif i in weights or t.data_type in FLOATS and len(t.dims) > 0:
                counted.add(name)
    return int(sum(np.prod(made[n].dims) for n in counted - no))


class Corpus:
    def __init__(self, folder, part):
        self.folder, self.part, self.entries = folder, part, []
        os.makedirs(folder, exist_ok=True)

    def add(self, name, model, exporter, macs, **more):
        if isinstance(model, str):
            model = onnx.load(model)
        params = more.pop("params", None) or parameters(model)
        strip(model)
        data = model.SerializeToString(deterministic=True)
        buf = io.BytesIO()
        with gzip.GzipFile(fileobj=buf, mode="wb", compresslevel=9, mtime=0) as z:
            z.write(data)
        with open(os.path.join(self.folder, name + ".onnx.gz"), "wb") as f:
            f.write(buf.getvalue())
        opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.entries.append(dict(name=name, part=self.part, exporter=exporter, opset=opset, macs=int(macs), params=params, **more))
        print("%-40s opset %2d  %5d nodes  %6.1f KB  %9d params  %11d MACs" % (name, opset, len(model.graph.node), len(buf.getvalue()) / 1e3, params, macs), flush=True)

    def close(self, versions):
        path = os.path.join(self.folder, "index.json")
        old = json.load(open(path)) if os.path.exists(path) else {"versions": {}, "models": []}
        old["versions"].update(versions)
        old["models"] = sorted([e for e in old["models"] if e["part"] != self.part] + self.entries, key=lambda e: e["name"])
        with open(path, "w") as f:
            json.dump(old, f, indent=1)
            f.write("\n")


# --- PyTorch -----------------------------------------------------------------------------------------


def calibrate(net, size, channels=3):
    """Gives the normalisations statistics of noise. No two vectors stay equal: exporters would share them."""
    import torch
    from torch import nn

    with torch.no_grad():
        for p in net.parameters():
            if p.dim() < 2 or p.unique().numel() < 2:
                p.add_(0.02 * torch.randn(p.shape))
    net.train()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.reset_running_stats()
            m.momentum = None
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    with torch.no_grad():
        for _ in range(2):
            net(torch.randn(8, channels, size, size))
    return net.eval()



def macs(net, size, channels=3):
    """Counts multiply-accumulates in the modules that multiply."""
    import torch
    from torch import nn

    total = [0]

    def hook(m, args, out):
        if isinstance(m, nn.Conv2d):
            total[0] += out.numel() * m.weight[0].numel()
        else:
            total[0] += out.numel() * m.in_features

    hooks = [m.register_forward_hook(hook) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        net(torch.randn(1, channels, size, size))
    for h in hooks:
        h.remove()
    return total[0]


def functions_part(folder):
    """What PyTorch writes of modules as local functions, and of weights in a file of their own."""
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(SEED)
    tmp = tempfile.mkdtemp()
    corpus = Corpus(folder, "functions")
    net = calibrate(torchvision.models.mobilenet_v3_small(), 64)
    path = os.path.join(tmp, "functions.onnx")
    torch.onnx.export(net, (torch.randn(1, 3, 64, 64),), path, dynamo=False, opset_version=15, input_names=["input"], output_names=["output"],
                      dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                      export_modules_as_functions={nn.Hardswish, torchvision.ops.misc.SqueezeExcitation})
    model = onnx.load(path)
    if len(model.functions) != 2:
        raise SystemExit("%d functions" % len(model.functions))
    corpus.add("mobilenet3-script-functions", model, "torch-script", macs(net, 64), gain=0.6)
    corpus.close({"torch": torch.__version__.split("+")[0], "torchvision": torchvision.__version__.split("+")[0]})

    # A small network whole, its weights in the file that PyTorch has put them into, with what PyTorch makes of a picture.
    out = os.path.join(folder, "external")
    os.makedirs(out, exist_ok=True)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    net = calibrate(net, 32)
    x = torch.arange(2 * 3 * 32 * 32).reshape(2, 32, 32, 3).mul(37).remainder(251).permute(0, 3, 1, 2).float()
    torch.onnx.export(net, (x,), os.path.join(out, "net.onnx"), dynamo=True, opset_version=18, external_data=True, verbose=False,
                      dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        want = net(x / 255)
    with open(os.path.join(out, "net.json"), "w") as f:
        json.dump({"torch": torch.__version__.split("+")[0], "output": [[round(float(v), 7) for v in row] for row in want]}, f)
        f.write("\n")


def torch_part(folder):
    import timm
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(SEED)
    tmp = tempfile.mkdtemp()
    corpus = Corpus(folder, "torch")

    def export(net, size, name, dynamo=False, dynamic=True, opset=13, channels=3, **kw):
        path = os.path.join(tmp, name + ".onnx")
        x = torch.randn(1, channels, size, size)
        if dynamo:
            if dynamic:
                kw["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
                x = torch.randn(2, channels, size, size)
            torch.onnx.export(net, (x,), path, dynamo=True, opset_version=opset, external_data=False, verbose=False, **kw)
        else:
            if dynamic:
                kw["dynamic_axes"] = {"input": {0: "batch"}, "output": {0: "batch"}}
            torch.onnx.export(net, (x,), path, dynamo=False, opset_version=opset, input_names=["input"], output_names=["output"], **kw)
        return path

    def narrow(net):
        """VGG without the hundred million parameters of its first matrix, for images of any size."""
        net.avgpool = nn.AdaptiveAvgPool2d(1)
        sizes = [512, 128, 128, 100]
        k = 0
        for i, m in enumerate(net.classifier):
            if isinstance(m, nn.Linear):
                net.classifier[i] = nn.Linear(sizes[k], sizes[k + 1])
                k += 1
        return net

    tv = torchvision.models
    made = {}

    def one(name, net, size, gain=0, **kw):
        net = calibrate(net, size, kw.get("channels", 3))
        count = macs(net, size, kw.get("channels", 3))
        path = export(net, size, name, **kw)
        made[name] = (path, count)
        more = {}
        if gain:
            more["gain"] = gain
        model = onnx.load(path)
        kept = {t.name for t in model.graph.initializer}
        params, conv = sum(p.numel() for p in net.parameters()), None
        for part, m in net.named_modules():
            if isinstance(m, nn.Conv2d):
                conv = m
            if isinstance(m, nn.BatchNorm2d) and part + ".weight" not in kept:
                # Folded into the convolution before it: of its factors and offsets, the offsets are left, or are in the bias.
                params -= m.num_features * (1 if conv.bias is None else 2)
        if params != parameters(model):
            raise SystemExit("%s: the module has %d parameters, the graph %d" % (name, params, parameters(model)))
        corpus.add(name, model, "torch-dynamo" if kw.get("dynamo") else "torch-script", count, **more)

    one("resnet18-script", tv.resnet18(), 64)
    one("resnet50-script-fixed", tv.resnet50(), 64, dynamic=False)
    one("densenet121-script", tv.densenet121(), 64)
    one("inception3-script", tv.inception_v3(init_weights=False, aux_logits=False), 91)
    one("googlenet-script", tv.googlenet(init_weights=False, aux_logits=False), 64, opset=11)
    one("mobilenet2-script", tv.mobilenet_v2(), 64, opset=12)
    one("mobilenet3-script", tv.mobilenet_v3_small(), 64, gain=0.6, opset=17)
    one("mobilenet3-script-opset11", tv.mobilenet_v3_small(), 64, gain=0.6, opset=11)
    one("efficientnet-b0-script", tv.efficientnet_b0(), 64, gain=0.6)
    one("squeezenet-script-fixed", tv.squeezenet1_0(), 64, dynamic=False, opset=9)
    one("shufflenet2-script", tv.shufflenet_v2_x1_0(), 64)
    one("shufflenet2-script-fixed", tv.shufflenet_v2_x1_0(), 64, dynamic=False, opset=10)
    one("convnext-script", tv.convnext_tiny(), 64, opset=17)
    one("regnet-y400-script", tv.regnet_y_400mf(), 64, gain=0.6)
    one("mnasnet-script", tv.mnasnet1_0(), 64)
    one("vgg11-script", narrow(tv.vgg11()), 64, opset=9)
    one("vgg11bn-script-unfolded", narrow(tv.vgg11_bn()), 64, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)

    one("resnet18-dynamo", tv.resnet18(), 64, dynamo=True, opset=18)
    one("resnet18-dynamo-fixed", tv.resnet18(), 64, dynamo=True, opset=18, dynamic=False)
    one("densenet121-dynamo", tv.densenet121(), 64, dynamo=True, opset=18)
    one("googlenet-dynamo", tv.googlenet(init_weights=False, aux_logits=False), 64, dynamo=True, opset=18)
    one("mobilenet3-dynamo", tv.mobilenet_v3_large(), 64, gain=0.6, dynamo=True, opset=18)
    one("efficientnet-b0-dynamo", tv.efficientnet_b0(), 64, gain=0.6, dynamo=True, opset=20)
    one("shufflenet2-dynamo", tv.shufflenet_v2_x1_0(), 64, dynamo=True, opset=18)
    one("regnet-x400-dynamo", tv.regnet_x_400mf(), 64, dynamo=True, opset=18)

    for name, kind, kw in (
        ("timm-efficientnet-lite0-script", "efficientnet_lite0", dict()),
        ("timm-resnetv2-50-script", "resnetv2_50", dict(opset=17)),
        ("timm-ghostnet-script", "ghostnet_100", dict()),
        ("timm-dpn68-script", "dpn68", dict()),
        ("timm-convnext-atto-script-opset13", "convnext_atto", dict()),
        ("timm-convnext-atto-dynamo", "convnext_atto", dict(dynamo=True, opset=18)),
        ("timm-mobilenetv4-dynamo", "mobilenetv4_conv_small", dict(dynamo=True, opset=18)),
        ("timm-regnety-dynamo", "regnety_004", dict(dynamo=True, opset=18)),
    ):
        one(name, timm.create_model(kind, pretrained=False), 64, **kw)

    class Digits(nn.Module):
        """A small network for grey images, with a grouped convolution."""

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(8, 16, 3, padding=1, groups=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(16, 10)

        def forward(self, x):
            return self.head(self.body(x))

    one("grey-script", Digits(), 28, channels=1)
    rewritten(corpus, made, tmp)
    corpus.close({"torch": torch.__version__.split("+")[0], "torchvision": torchvision.__version__.split("+")[0], "timm": timm.__version__, "onnx": onnx.__version__})


def rewritten(corpus, made, tmp):
    """What other tools make of an exported graph."""
    import onnxruntime
    from onnxconverter_common import float16
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Noise(CalibrationDataReader):
        def __init__(self, size):
            rng = np.random.default_rng(SEED)
            self.left = [{"input": rng.standard_normal((1, 3, size, size)).astype(np.float32)} for _ in range(4)]

        def get_next(self):
            return self.left.pop() if self.left else None

    # int8, as onnxruntime.quantization writes it
    for name, source, size, form, per_channel, activation in (
        ("resnet18-qdq", "resnet18-script", 64, QuantFormat.QDQ, True, QuantType.QInt8),
        ("mobilenet2-qdq-uint8", "mobilenet2-script", 64, QuantFormat.QDQ, False, QuantType.QUInt8),
        ("googlenet-qdq", "googlenet-script", 64, QuantFormat.QDQ, False, QuantType.QUInt8),
        ("resnet18-qlinear", "resnet18-script", 64, QuantFormat.QOperator, False, QuantType.QUInt8),
        ("googlenet-qlinear", "googlenet-script", 64, QuantFormat.QOperator, False, QuantType.QUInt8),
    ):
        path, count = made[source]
        pre, out = os.path.join(tmp, name + "-pre.onnx"), os.path.join(tmp, name + ".onnx")
        quant_pre_process(path, pre, skip_symbolic_shape=True)
        quantize_static(pre, out, Noise(size), quant_format=form, per_channel=per_channel, activation_type=activation, weight_type=QuantType.QInt8)
        corpus.add(name, out, "onnxruntime.quantization " + onnxruntime.__version__, count, quantized=True)

    # float16
    for name, keep in (("resnet18-float16", False), ("resnet18-float16-io32", True)):
        path, count = made["resnet18-script"]
        corpus.add(name, float16.convert_float_to_float16(onnx.load(path), keep_io_types=keep), "onnxconverter-common", count, float16=True)

    # local functions: each convolution with its activation is a call
    path, count = made["resnet18-script"]
    model = onnx.load(path)
    params = parameters(model)
    corpus.add("resnet18-functions", functions(model), "rewritten", count, params=params)

    # the model zoo of 2017-2020: weights among the inputs, batch 1, Dropout with its mask, Reshape with numbers
    for name, source, opset in (("zoo-squeezenet", "squeezenet-script-fixed", 7), ("zoo-vgg11", "vgg11-script", 8), ("zoo-resnet50", "resnet50-script-fixed", 9)):
        path, count = made[source]
        corpus.add(name, zoo(onnx.load(path), opset), "rewritten", count)


def wheel_part(folder):
    """The model zoo's own graphs."""
    corpus = Corpus(folder, "zoo")
    light = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light")
    for source in ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet512"):
        model = onnx.load(os.path.join(light, "light_%s.onnx" % source))
        count = restore(model)
        onnx.checker.check_model(model)
        corpus.add("caffe2-" + source.replace("bvlc_", "").replace("_", ""), model, model.producer_name, count)
    corpus.close({"onnx": onnx.__version__})


def restore(model):
    """Gives a graph weights in place of the nodes that make them, and counts its multiply-accumulates."""
    g, rng = model.graph, np.random.default_rng(SEED)
    shapes = {t.name: numpy_helper.to_array(t) for t in g.initializer}
    readers = {}
    for n in g.node:
        for i, name in enumerate(n.input):
            readers.setdefault(name, []).append((n, i))
    made, kept = {}, []
    for n in g.node:
        if n.op_type == "ConstantOfShape":
            made[n.output[0]] = [128 if d == 4096 else int(d) for d in shapes[n.input[0]]]
        else:
            kept.append(n)
    gone = {n.input[0] for n in g.node if n.op_type == "ConstantOfShape"}
    stored = [t for t in g.initializer if t.name not in gone]
    made.update({t.name: list(t.dims) for t in stored if t.data_type == TensorProto.FLOAT and len(readers.get(t.name, ())) > 0})
    tensors = []
    for name, dims in made.items():
        n, i = readers[name][0]
        while n.op_type == "Unsqueeze":
            n, i = readers[n.output[0]][0]
        mean, std = 0.0, 0.1
        if n.op_type in ("Conv", "Gemm") and i == 1:
            fan = np.prod(dims[1:]) if n.op_type == "Conv" or any(a.name == "transB" and a.i for a in n.attribute) else dims[0]
            std = float(np.sqrt(2 / fan))
        elif n.op_type == "BatchNormalization" and i in (1, 4) or n.op_type == "Mul":
            mean, std = 1.0, 0.05
        tensors.append(numpy_helper.from_array((mean + std * rng.standard_normal(dims)).astype(np.float32), name))
    inputs = [v for v in g.input if v.name not in gone and v.name not in made]
    for field, values in ((g.node, kept), (g.initializer, tensors + [t for t in stored if t.name not in made]), (g.input, inputs)):
        values = list(values)
        del field[:]
        field.extend(values)
    listed = {v.name for v in g.input}
    g.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in g.initializer if t.name not in listed)

    dims = {t.name: list(t.dims) for t in g.initializer}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    for v in list(inferred.value_info) + list(inferred.output):
        dims[v.name] = [d.dim_value for d in v.type.tensor_type.shape.dim]
    count = 0
    for n in kept:
        if n.op_type == "Conv":
            count += np.prod(dims[n.output[0]]) * np.prod(dims[n.input[1]][1:])
        elif n.op_type == "Gemm":
            count += np.prod(dims[n.input[1]])
    return count


def functions(model):
    readers = {}
    for n in model.graph.node:
        for i in n.input:
            readers.setdefault(i, []).append(n)
    outs = {o.name for o in model.graph.output}
    nodes, gone = [], set()
    for n in model.graph.node:
        if id(n) in gone or n.output[0] in gone:
            continue
        after = readers.get(n.output[0], [])
        if n.op_type == "Conv" and len(after) == 1 and after[0].op_type == "Relu" and len(n.input) == 3 and n.output[0] not in outs:
            attrs = {a.name: helper.get_attribute_value(a) for a in n.attribute}
            nodes.append(helper.make_node("ConvRelu", list(n.input), list(after[0].output), name=n.name, domain="local", **attrs))
            gone.add(after[0].output[0])
            continue
        nodes.append(n)
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")
    for a, kind in (("kernel_shape", onnx.AttributeProto.INTS), ("strides", onnx.AttributeProto.INTS), ("pads", onnx.AttributeProto.INTS), ("dilations", onnx.AttributeProto.INTS), ("group", onnx.AttributeProto.INT)):
        conv.attribute.append(onnx.AttributeProto(name=a, ref_attr_name=a, type=kind))
    body = [conv, helper.make_node("Relu", ["y"], ["z"], name="relu")]
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    fn = helper.make_function("local", "ConvRelu", ["x", "w", "b"], ["z"], body, opsets, ["kernel_shape", "strides", "pads", "dilations", "group"])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.functions.append(fn)
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.checker.check_model(model)
    return model


def zoo(model, opset):
    g = model.graph
    for d in (g.input[0], g.output[0]):
        d.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model).graph
    width = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in list(inferred.value_info) + list(inferred.output) if len(v.type.tensor_type.shape.dim) > 1}
    nodes = []
    dropped = 0
    for n in g.node:
        if n.op_type == "Flatten":
            # With the number of elements, as converters from other formats wrote it.
            shape = numpy_helper.from_array(np.array([1, width[n.output[0]]], np.int64), n.output[0] + "_shape")
            g.initializer.append(shape)
            nodes.append(helper.make_node("Reshape", [n.input[0], shape.name], list(n.output), name=n.name))
            continue
        for a in list(n.attribute):
            if n.op_type in ("MaxPool", "AveragePool") and a.name in ("ceil_mode", "dilations") and (a.i == 0 and set(a.ints) <= {1}):
                n.attribute.remove(a)  # settings of later operator sets, at their defaults
        nodes.append(n)
        if n.op_type == "Relu" and dropped < 2 and len(g.node) - len(nodes) < 12:
            dropped += 1
            out = n.output[0]
            n.output[0] = out + "_kept"
            nodes.append(helper.make_node("Dropout", [n.output[0]], [out, out + "_mask"], name=n.name + "_dropout", ratio=0.5))
    del g.node[:]
    g.node.extend(nodes)
    del g.value_info[:]
    for t in g.initializer:
        g.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = 3
    onnx.checker.check_model(model)
    return model


# --- Keras -------------------------------------------------------------------------------------------


def keras_part(folder):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(SEED)
    corpus = Corpus(folder, "keras")
    app = keras.applications

    def calibrate(net, size):
        for l in net.layers:
            if isinstance(l, keras.layers.BatchNormalization):
                l.momentum = 0.0
        rng = np.random.default_rng(SEED)
        net(rng.uniform(-1, 1, (8, size, size, 3)).astype(np.float32), training=True)

    def macs(net):
        total = 0
        for l in net.layers:
            kernels = {v.path.split("/")[-1]: v.shape for v in l.weights}
            out = l.output.shape[1:] if not isinstance(l.output, list) else None
            if isinstance(l, keras.layers.SeparableConv2D):
                d, p = kernels["depthwise_kernel"], kernels["pointwise_kernel"]
                total += out[0] * out[1] * (d[0] * d[1] * d[2] * d[3] + p[2] * p[3])
            elif isinstance(l, keras.layers.DepthwiseConv2D):
                k = kernels["kernel"] if "kernel" in kernels else kernels["depthwise_kernel"]
                total += int(np.prod(out)) * k[0] * k[1]
            elif isinstance(l, keras.layers.Conv2D):
                k = kernels["kernel"]
                total += int(np.prod(out)) * k[0] * k[1] * k[2]
            elif isinstance(l, keras.layers.Dense):
                total += int(np.prod(out)) * kernels["kernel"][0]
        return total

    for name, build, size, opset, kw, more in (
        ("keras-mobilenet", app.MobileNet, 64, 13, {}, {}),
        ("keras-mobilenet2", app.MobileNetV2, 64, 15, {}, {}),
        ("keras-resnet50v2", app.ResNet50V2, 64, 11, {}, {}),
        ("keras-densenet121", app.DenseNet121, 64, 13, {}, {}),
        ("keras-xception", app.Xception, 71, 13, {}, {}),
        ("keras-inception3", app.InceptionV3, 91, 17, {}, {}),
        ("keras-efficientnet-v2b0", app.EfficientNetV2B0, 64, 13, {"include_preprocessing": False}, {"gain": 0.6}),
        ("keras-nasnet", app.NASNetMobile, 64, 13, {}, {}),
        ("keras-mobilenet-nchw", app.MobileNet, 64, 13, {}, {"inputs_as_nchw": True}),
        ("keras-mobilenet-open", app.MobileNet, None, 13, {}, {}),
    ):
        if size:
            net = build(weights=None, input_shape=(size, size, 3), classes=100, **kw)
        else:
            net = build(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
        calibrate(net, size or 64)
        count = macs(net) if size else 0
        fn = tf.function(lambda x: net(x, training=False))
        spec = [tf.TensorSpec((None, size, size, 3), tf.float32, name="input")]
        nchw = ["input"] if more.get("inputs_as_nchw") else None
        model, _ = tf2onnx.convert.from_function(fn, spec, opset=opset, inputs_as_nchw=nchw)
        corpus.add(name, model, "tf2onnx", count, **{k: v for k, v in more.items() if k == "gain"})
    corpus.close({"keras": keras.__version__, "tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__})


if __name__ == "__main__":
    parts = {"torch": torch_part, "functions": functions_part, "keras": keras_part, "zoo": wheel_part}
    if len(sys.argv) != 3 or sys.argv[1] not in parts:
        sys.exit(__doc__)
    parts[sys.argv[1]](sys.argv[2])
