#!/usr/bin/env python3
"""Makes layers/image/testdata: small odd pictures and what PIL makes of them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow==13.0.0 numpy
    /tmp/venv/bin/python tools/goldens/image.py layers/image/testdata

Each case is a source file and a golden PNG: decoded by PIL, converted to RGB, shorter side resized to
`resize` with torchvision's rounding, centre-cropped as torchvision does. index.json lists them.
"""
import io
import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps, features
import PIL

import tiff

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS,
           "hamming": Image.HAMMING, "box": Image.BOX, "nearest": Image.NEAREST}


def scene(w, h, seed):
    """A picture with smooth shading, texture at all scales and hard coloured edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    out = np.zeros((h, w, 3))
    for c in range(3):
        a = rng.uniform(-1, 1, 2)
        out[..., c] = 128 + 60 * (a[0] * (x / w - .5) + a[1] * (y / h - .5))
    step = 64
    while step >= 2:
        gh, gw = h // step + 2, w // step + 2
        for c in range(3):
            g = rng.normal(0, 1, (gh, gw))
            tile = np.asarray(Image.fromarray(g.astype(np.float32)).resize((gw * step, gh * step), Image.BICUBIC))
            out[..., c] += tile[:h, :w] * step ** .5 * (2.2 if c == 1 else 1.6)
        step //= 2
    for _ in range(6):
        cx, cy, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(.06, .2) * min(w, h)
        m = ((x - cx) ** 2 + ((y - cy) * rng.uniform(.7, 1.4)) ** 2) < r * r
        out[m] = out[m] * .3 + rng.uniform(0, 255, 3) * .7
    return np.clip(out, 0, 255).astype(np.uint8)


def expected(img, spec):
    if spec.get("exif"):
        img = ImageOps.exif_transpose(img)
    img = img.convert("RGB")
    n = spec["resize"]
    w, h = img.size
    if n:
        size = (n, int(n * h / w)) if w <= h else (int(n * w / h), n)
        img = img.resize(size, FILTERS[spec.get("filter", "bilinear")])
    w, h = img.size
    cw, ch = spec["crop"]
    out = Image.new("RGB", (cw, ch))
    if w < cw or h < ch:
        pl, pt = max((cw - w) // 2, 0), max((ch - h) // 2, 0)
        padded = Image.new("RGB", (max(w, cw), max(h, ch)))
        padded.paste(img, (pl, pt))
        img, (w, h) = padded, padded.size
    left, top = int(round((w - cw) / 2.0)), int(round((h - ch) / 2.0))
    out.paste(img.crop((left, top, left + cw, top + ch)))
    return out


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = []

    def case(name, data, resize=64, crop=(56, 56), exact=False, **more):
        (folder / name).write_bytes(data)
        spec = dict(resize=resize, crop=list(crop), **more)
        golden = pathlib.Path(name).name.replace(".", "_") + ("_" + more["filter"] if "filter" in more else "") + \
            ("_exif" if more.get("exif") else "") + ("_pad" if crop[0] > 100 and resize == 0 else "") + ".golden.png"
        expected(Image.open(io.BytesIO(data)), spec).save(folder / golden, optimize=True)
        index.append(dict(source=name, golden=golden, exact=exact, **spec))

    def enc(img, fmt, **kw):
        b = io.BytesIO()
        img.save(b, fmt, **kw)
        return b.getvalue()

    def jpg(w, h, seed, **kw):
        kw = {"quality": 85, **kw}
        return enc(Image.fromarray(scene(w, h, seed)), "JPEG", **kw)

    # JPEG: sizes, sampling, modes.
    case("photo.jpg", jpg(500, 375, 1), resize=256, crop=(224, 224))
    case("landscape.jpg", jpg(211, 140, 2))
    case("portrait.jpg", jpg(139, 207, 3))
    case("odd.jpg", jpg(101, 77, 4))
    case("small.jpg", jpg(40, 30, 5))
    case("tiny.jpg", jpg(3, 5, 6))
    case("one.jpg", jpg(1, 1, 7))
    case("s444.jpg", jpg(120, 97, 8, subsampling=0))
    case("s422.jpg", jpg(121, 90, 9, subsampling=1))
    case("s420.jpg", jpg(123, 95, 10, subsampling=2))
    case("progressive.jpg", jpg(150, 111, 11, progressive=True))
    case("restart.jpg", jpg(150, 111, 12, restart_marker_blocks=3))
    case("optimized.jpg", jpg(133, 100, 13, optimize=True, quality=60))
    case("quality1.jpg", jpg(133, 100, 14, quality=1))
    case("quality100.jpg", jpg(133, 100, 15, quality=100))
    case("gray.jpg", enc(Image.fromarray(scene(110, 83, 16)).convert("L"), "JPEG", quality=85))
    case("cmyk.jpg", enc(Image.fromarray(scene(110, 83, 17)).convert("CMYK"), "JPEG", quality=90))
    case("large.jpg", jpg(640, 480, 18, quality=50))
    for f in ("bicubic", "lanczos", "hamming", "box", "nearest"):
        case("odd.jpg", (folder / "odd.jpg").read_bytes(), filter=f)
    case("small.jpg", (folder / "small.jpg").read_bytes(), resize=0, crop=(112, 20))
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        data = jpg(60, 41, 20, exif=exif.tobytes(), quality=70)
        case(f"orient{o}.jpg", data, resize=32, crop=(24, 28), exif=True)

    # Other formats.
    s = Image.fromarray(scene(90, 71, 30))
    case("rgb.png", enc(s, "PNG", optimize=True), exact=True)
    case("palette.png", enc(s.quantize(64), "PNG", optimize=True), exact=True)
    case("gray.png", enc(s.convert("L"), "PNG", optimize=True), exact=True)
    case("bilevel.png", enc(s.convert("1"), "PNG", optimize=True), exact=True)
    a = s.copy()
    a.putalpha(Image.fromarray(scene(90, 71, 31)[..., 0]))
    case("alpha.png", enc(a, "PNG", optimize=True), exact=True)
    case("grayalpha.png", enc(a.convert("LA"), "PNG", optimize=True), exact=True)
    case("interlaced.png", adam7(np.asarray(s.resize((37, 29)))), exact=True)
    case("rgb16.png", png16(scene(64, 49, 32)), exact=True)
    case("plain.gif", enc(s.quantize(32), "GIF"), exact=True)
    q = s.quantize(32)
    case("transparent.gif", enc(q, "GIF", transparency=5), exact=True)
    frames = [s.quantize(32), Image.fromarray(scene(90, 71, 33)).quantize(32)]
    case("animated.gif", enc(frames[0], "GIF", save_all=True, append_images=frames[1:]), exact=True)
    t = s.resize((60, 47))
    case("rgb.bmp", enc(t, "BMP"), exact=True)
    case("palette.bmp", enc(t.quantize(64), "BMP"), exact=True)
    case("raw.tiff", enc(t, "TIFF"), exact=True)
    case("lzw.tiff", enc(t, "TIFF", compression="tiff_lzw"), exact=True)
    case("deflate.tiff", enc(t, "TIFF", compression="tiff_adobe_deflate"), exact=True)
    case("packbits.tiff", enc(t.convert("L"), "TIFF", compression="packbits"), exact=True)
    case("bigendian.tiff", bigendian_tiff(np.asarray(t)), exact=True)
    case("lossy.webp", enc(s, "WEBP", quality=80))
    case("lossless.webp", enc(s, "WEBP", lossless=True), exact=True)
    case("alpha.webp", enc(a, "WEBP", quality=80))

    odd(folder / "odd", enc)
    versions = {"pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo")}
    (folder / "index.json").write_text(json.dumps({"made_with": versions, "cases": index}, indent=1) + "\n")


def odd(folder, enc):
    """Odd files: what PIL makes of each, or the reason for which vista-mr sets it aside."""
    import struct
    import zlib
    folder.mkdir(exist_ok=True)
    index = []

    def case(name, data, reason="", exact=False, same_as=None):
        (folder / name).write_bytes(data)
        entry = dict(source=name, golden="", error="", reason=reason)
        if exact:
            entry["exact"] = True
        try:
            img = expected(same_as or Image.open(io.BytesIO(data)), dict(resize=16, crop=[16, 16]))
            entry["golden"] = name.replace(".", "_") + ".golden.png"
            if not reason:
                img.save(folder / entry["golden"], optimize=True)
        except Exception as e:
            entry["error"] = type(e).__name__ + ": " + str(e).split("<")[0]
            assert reason, (name, e)
        index.append(entry)

    s = Image.fromarray(scene(48, 40, 50))
    j = enc(s, "JPEG", quality=70)
    case("trailing.jpg", j + b"trailing bytes \xff\xd8\xff")
    case("extra-before.jpg", j[:2] + b"\xff\xff\xff\xff" + j[2:] if j[2] == 0xff else j)
    case("comment.jpg", j[:2] + b"\xff\xfe\x00\x10" + b"\xff\xd9 comment \xff\xd8"[:14] + j[2:])
    case("wide-quant.jpg", wide_quant(j))
    case("cut.jpg", j[:len(j) * 2 // 3], "truncated")
    case("no-end.jpg", j[:-2], "truncated")
    case("header-only.jpg", j[:200], "truncated")
    case("zero-run.jpg", j[:len(j) // 2] + b"\0" * 400 + j[-2:], "corrupt")
    case("progressive-cut.jpg", enc(s, "JPEG", quality=70, progressive=True)[:700], "truncated")
    case("jpeg-as.png", j)
    case("multi.tiff", enc(s, "TIFF", save_all=True, append_images=[s.rotate(90)]))
    case("bilevel-g4.tiff", enc(s.convert("1"), "TIFF", compression="group4"))
    p = enc(s, "PNG")
    case("cut.png", p[:len(p) // 2], "truncated")
    broken = bytearray(p)
    broken[40] ^= 255
    case("crc.png", bytes(broken), "corrupt")
    case("one-by-one.png", enc(s.resize((1, 1)), "PNG"))
    case("tall.png", enc(s.resize((1, 60)), "PNG"))
    off = b"GIF89a" + struct.pack("<HHBBB", 20, 20, 0x80, 0, 0) + bytes([10, 20, 30, 200, 100, 50]) + b"," + \
        struct.pack("<HHHHB", 5, 6, 4, 4, 0) + bytes([2, len(gif_ones(16))]) + gif_ones(16) + b"\0;"
    case("offset.gif", off)
    case("header.gif", b"GIF89a" + struct.pack("<HHBBB", 20, 20, 0, 0, 0), "truncated")
    case("zero.bmp", b"BM" + b"\0" * 60, "unsupported")
    case("animated.webp", enc(s, "WEBP", save_all=True, append_images=[s.rotate(90)], duration=50), "unsupported")
    case("cut.webp", enc(s, "WEBP")[:300], "truncated")
    case("text.jpg", b"<html><body>404</body></html>", "unknown format")
    case("svg.png", b"<?xml version='1.0'?><svg/>", "unknown format")
    case("heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unknown format")
    case("empty.jpg", b"", "empty")

    # JPEG's other colours, and what nobody decodes.
    inks = enc(s.convert("CMYK"), "JPEG", quality=90)
    at = inks.index(b"\xff\xee")
    case("cmyk-unmarked.jpg", inks[:at] + inks[at + 16:])
    case("rgb.jpg", enc(s, "JPEG", quality=90, keep_rgb=True))
    case("ycck.jpg", inks[:at + 15] + b"\x02" + inks[at + 16:])
    frame = j.index(b"\xff\xc0")
    case("arithmetic.jpg", j[:frame + 1] + b"\xc9" + j[frame + 2:], "unsupported")
    case("bits12.jpg", j[:frame + 1] + b"\xc1" + j[frame + 2:frame + 4] + b"\x0c" + j[frame + 5:], "unsupported")

    # Few bits, palettes with alpha, more than one frame.
    p = s.quantize(4)
    case("palette2.png", enc(p, "PNG", bits=2), exact=True)
    case("palette-alpha.png", enc(s.quantize(16), "PNG", bits=4, transparency=bytes(range(0, 160, 10))), exact=True)
    case("animated.png", enc(s, "PNG", save_all=True, append_images=[s.rotate(90)]), exact=True)
    case("bilevel.bmp", enc(s.convert("1"), "BMP"), exact=True)
    case("palette4.bmp", palette4_bmp(s.quantize(16)), exact=True)
    rgb = enc(s, "BMP")
    case("top-down.bmp", rgb[:22] + struct.pack("<i", -40) + rgb[26:], exact=True)
    case("rle8.bmp", rgb[:28] + struct.pack("<HI", 8, 1) + rgb[34:], "unsupported")
    case("lossless-alpha.webp", enc(s.convert("RGBA").rotate(30), "WEBP", lossless=True, exact=True), exact=True)
    case("exif.webp", enc(s, "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"), exact=True)
    case("avif.jpg", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "unknown format")
    case("jpeg2000.jpg", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "unknown format")

    tiff.cases(case, enc, s)
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def wide_quant(j):
    """The same JPEG with 16-bit quantisation tables."""
    out, at = j[:2], 2
    while j[at + 1] != 0xda:
        n = int.from_bytes(j[at + 2:at + 4], "big")
        seg = j[at:at + 2 + n]
        if seg[1] == 0xdb:
            body, new = seg[4:], b""
            while body:
                new += bytes([body[0] | 0x10]) + b"".join(b"\0" + body[i:i + 1] for i in range(1, 65))
                body = body[65:]
            seg = b"\xff\xdb" + (len(new) + 2).to_bytes(2, "big") + new
        elif seg[1] == 0xc0:
            seg = b"\xff\xc1" + seg[2:]
        out += seg
        at += 2 + n
    return out + j[at:]


def palette4_bmp(p):
    """A BMP of 4 bits a pixel, which PIL reads but does not write."""
    import struct
    colours = np.asarray(p.getpalette()[:48] + [0] * (48 - len(p.getpalette()[:48]))).reshape(16, 3)
    a = np.asarray(p)
    rows = b"".join(bytes((int(x) << 4) | int(y) for x, y in zip(r[::2], r[1::2])).ljust((a.shape[1] // 2 + 3) // 4 * 4, b"\0") for r in a[::-1])
    table = b"".join(bytes([int(c[2]), int(c[1]), int(c[0]), 0]) for c in colours)
    head = struct.pack("<IiiHHIIiiII", 40, a.shape[1], a.shape[0], 1, 4, 0, len(rows), 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64 + len(rows), 0, 0, 54 + 64) + head + table + rows


def gif_ones(n):
    """LZW of n pixels of colour 1, never growing the code: clear before every pixel."""
    bits, count = 0, 0
    for code in [c for _ in range(n) for c in (4, 1)] + [5]:
        bits |= code << count
        count += 3
    return bits.to_bytes((count + 7) // 8, "little")


def chunk(kind, body):
    import struct
    import zlib
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(rgb):
    """16-bit RGB, which PIL reads (as its high bytes) but does not write."""
    import struct
    import zlib
    h, w, _ = rgb.shape
    low = (rgb.astype(np.uint32) * 37 % 256).astype(np.uint8)
    rows = np.stack([rgb, low], -1).reshape(h, -1)
    raw = b"".join(b"\0" + r.tobytes() for r in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def adam7(rgb):
    """Interlaced RGB."""
    import struct
    import zlib
    h, w, _ = rgb.shape
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in rgb[y0::dy, x0::dx]:
            raw += b"\0" + row.tobytes()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 1)) + \
        chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def bigendian_tiff(rgb):
    import struct
    h, w, _ = rgb.shape
    data = rgb.tobytes()
    entries = [(256, 4, 1, struct.pack(">I", w)), (257, 4, 1, struct.pack(">I", h)), (258, 3, 3, None),
               (259, 3, 1, struct.pack(">HH", 1, 0)), (262, 3, 1, struct.pack(">HH", 2, 0)),
               (273, 4, 1, None), (277, 3, 1, struct.pack(">HH", 3, 0)), (278, 4, 1, struct.pack(">I", h)),
               (279, 4, 1, struct.pack(">I", len(data)))]
    end = 8 + 2 + 12 * len(entries) + 4
    out = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(entries))
    for tag, kind, n, v in entries:
        if tag == 258:
            v = struct.pack(">I", end)
        if tag == 273:
            v = struct.pack(">I", end + 6)
        out += struct.pack(">HHI", tag, kind, n) + v
    return out + struct.pack(">I", 0) + struct.pack(">HHH", 8, 8, 8) + data


if __name__ == "__main__":
    main(sys.argv[1])
