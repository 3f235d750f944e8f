#!/usr/bin/env python3
"""Makes layers/testdata/state/*-timm.txt and *-huggingface*.txt: names and shapes of the roster's parameters as timm and
transformers list them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch timm 'transformers<5'
    /tmp/venv/bin/python tools/goldens/names.py layers/testdata/state
"""
import pathlib
import sys

import timm
import transformers


def main(folder):
    def write(name, state):
        (pathlib.Path(folder) / (name + ".txt")).write_text("".join(f"{k} {','.join(map(str, v.shape))}\n" for k, v in state.items()))

    for name, theirs in (("vgg16", "vgg16"), ("resnet50", "resnet50"), ("efficientnet-lite0", "tf_efficientnet_lite0")):
        write(name + "-timm", timm.create_model(theirs, pretrained=False).state_dict())
    config = transformers.ResNetConfig(num_labels=1000)
    write("resnet50-huggingface", transformers.ResNetForImageClassification(config).state_dict())
    write("resnet50-huggingface-base", transformers.ResNetModel(config).state_dict())


if __name__ == "__main__":
    main(sys.argv[1])
