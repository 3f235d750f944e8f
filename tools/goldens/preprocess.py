#!/usr/bin/env python3
"""Makes layers/preprocess/testdata: what torchvision, timm and transformers make of pictures.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch torchvision timm 'transformers<5' pillow numpy
    /tmp/venv/bin/python tools/goldens/preprocess.py layers/image/testdata layers/preprocess/testdata

Every case is a file as models have it beside their weights (with sizes divided by 4, to keep the goldens small) or a
preset, a picture, the pixels behind resizing and cropping (a PNG), and some of the numbers that go into the network.
"""
import json
import pathlib
import sys

import numpy as np
import timm
import timm.data
import torch
import torchvision
import transformers
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]
NORM = dict(do_normalize=True, image_mean=MEAN, image_std=STD)

HUGGING_FACE = {
    "resnet-50": dict(crop_pct=0.875, do_resize=True, feature_extractor_type="ConvNextFeatureExtractor", resample=3, size=56, **NORM),
    "convnext": dict(crop_pct=0.95, do_resize=True, do_rescale=True, image_processor_type="ConvNextImageProcessor", resample=2,
                     rescale_factor=0.00392156862745098, size={"shortest_edge": 56}, **NORM),
    "vit": dict(do_resize=True, do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF, image_processor_type="ViTImageProcessor",
                resample=2, rescale_factor=0.00392156862745098, size={"height": 56, "width": 56}),
    "vit-old": dict(do_resize=True, do_normalize=True, image_mean=HALF, image_std=HALF, feature_extractor_type="ViTFeatureExtractor", resample=2, size=56),
    "vit-wide": dict(do_resize=True, image_processor_type="ViTImageProcessor", resample=3, size={"height": 40, "width": 60}, **NORM),
    "deit": dict(crop_size=56, do_center_crop=True, do_resize=True, feature_extractor_type="DeiTFeatureExtractor", resample=3, size=64, **NORM),
    "clip": dict(crop_size={"height": 56, "width": 56}, do_center_crop=True, do_convert_rgb=True, do_resize=True, do_rescale=True, do_normalize=True,
                 image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
                 image_processor_type="CLIPImageProcessor", resample=3, rescale_factor=0.00392156862745098, size={"shortest_edge": 56}),
    "mobilenet": dict(crop_size={"height": 56, "width": 56}, do_center_crop=True, do_resize=True, do_rescale=True, do_normalize=True,
                      image_mean=HALF, image_std=HALF, image_processor_type="MobileNetV2ImageProcessor", resample=2,
                      rescale_factor=0.00392156862745098, size={"shortest_edge": 64}),
    "mobilevit": dict(crop_size={"height": 56, "width": 56}, do_center_crop=True, do_flip_channel_order=True, do_resize=True, do_rescale=True,
                      image_processor_type="MobileViTImageProcessor", resample=2, rescale_factor=0.00392156862745098, size={"shortest_edge": 64}),
    "efficientnet": dict(crop_size={"height": 72, "width": 72}, do_center_crop=False, do_normalize=True, do_rescale=True, do_resize=True,
                         image_mean=MEAN, image_processor_type="EfficientNetImageProcessor", image_std=[0.47853944, 0.4732864, 0.47434163],
                         include_top=True, resample=0, rescale_factor=0.00392156862745098, rescale_offset=False, size={"height": 56, "width": 56}),
    "efficientnet-offset": dict(do_center_crop=False, do_normalize=True, do_rescale=True, do_resize=True, image_mean=HALF, image_std=HALF,
                                image_processor_type="EfficientNetImageProcessor", include_top=False, resample=2,
                                rescale_factor=0.00784313725490196, rescale_offset=True, size={"height": 56, "width": 56}),
    "crop-only": dict(crop_size=56, do_center_crop=True, do_resize=False, do_rescale=False, image_processor_type="BitImageProcessor", **NORM),
}

TIMM = {
    "timm-bicubic": dict(input_size=[3, 56, 56], interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.95, crop_mode="center"),
    "timm-squash": dict(input_size=[3, 40, 60], interpolation="bilinear", mean=HALF, std=HALF, crop_pct=0.9, crop_mode="squash"),
}

TIMM_CONFIG = {
    "timm-config": dict(architecture="tf_efficientnet_lite0", num_classes=1000, num_features=1280, pretrained_cfg=dict(
        tag="in1k", custom_load=False, input_size=[3, 56, 56], fixed_input_size=False, interpolation="bicubic", crop_pct=0.875, crop_mode="center",
        mean=HALF, std=HALF, num_classes=1000, pool_size=[2, 2], first_conv="conv_stem", classifier="classifier", test_input_size=[3, 72, 72])),
}

PRESETS = {
    "imagenet": dict(crop_size=56, resize_size=64),
    "imagenet-v2": dict(crop_size=56, resize_size=58),
}


def main(pictures, folder):
    pictures, folder = pathlib.Path(pictures), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cases = []

    def case(name, config, pixels, numbers, sources=("landscape.jpg", "portrait.jpg", "rgb.png")):
        if config is not None:
            (folder / (name + ".json")).write_text(json.dumps(config, indent=1) + "\n")
        for source in sources:
            img = Image.open(pictures / source).convert("RGB")
            p, x = np.asarray(pixels(img)), np.asarray(numbers(img), np.float64)
            golden = f"{name}_{source.replace('.', '_')}.golden.png"
            Image.fromarray(p).save(folder / golden, optimize=True)
            at = [int(i) for i in np.linspace(0, x.size - 1, 24)]
            cases.append(dict(config="" if config is None else name + ".json", preset=name if config is None else "", source=source, golden=golden,
                              size=[p.shape[0], p.shape[1]], at=at, values=[float(x.ravel()[i]) for i in at]))

    for name, config in HUGGING_FACE.items():
        kind = config.get("image_processor_type", config.get("feature_extractor_type")).replace("FeatureExtractor", "ImageProcessor")
        proc = getattr(transformers, kind)(**{k: v for k, v in config.items() if not k.endswith("_type")})
        raw = dict(do_rescale=False, do_normalize=False)
        if "EfficientNet" in kind:
            raw["include_top"] = False
        if "MobileViT" in kind:
            raw = dict(do_rescale=False, do_flip_channel_order=False)
        case(name, config, lambda im: proc(im, **raw)["pixel_values"][0].transpose(1, 2, 0).astype(np.uint8), lambda im: proc(im)["pixel_values"][0])
    for name, config in {**TIMM, **TIMM_CONFIG}.items():
        data = timm.data.resolve_data_config(pretrained_cfg=config.get("pretrained_cfg", config))
        t = timm.data.create_transform(**data)
        raw = timm.data.create_transform(**data, normalize=False)
        case(name, config, lambda im: raw(im).numpy().transpose(1, 2, 0), lambda im: t(im).numpy())
    for name, sizes in PRESETS.items():
        t = ImageClassification(**sizes)
        raw = ImageClassification(**sizes, mean=(0, 0, 0), std=(1, 1, 1))
        case(name, None, lambda im: (raw(im).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0), lambda im: t(im).numpy())
    lite = ImageClassification(crop_size=56, resize_size=64, interpolation=InterpolationMode.BICUBIC, mean=[127 / 255] * 3, std=[128 / 255] * 3)
    raw = ImageClassification(crop_size=56, resize_size=64, interpolation=InterpolationMode.BICUBIC, mean=(0, 0, 0), std=(1, 1, 1))
    case("efficientnet-lite", None, lambda im: (raw(im).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0), lambda im: lite(im).numpy())
    made = dict(torch=torch.__version__, torchvision=torchvision.__version__, timm=timm.__version__, transformers=transformers.__version__)
    (folder / "index.json").write_text(json.dumps(dict(made_with=made, cases=cases), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
