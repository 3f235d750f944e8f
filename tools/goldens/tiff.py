"""Odd TIFF files for tools/goldens/image.py: what encoders of scanners, GIS and print programs write and PIL does not."""
import io
import struct
import zlib

import numpy as np
from PIL import Image

SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 16: 8}


def tiff(tags, blocks, order="<", big=False, tiles=False, counts=True):
    """A TIFF file of one picture. tags: {tag: value or list or bytes}; numbers become SHORT, or LONG where they are large."""
    head, width = (16, 8) if big else (8, 4)
    data, offsets = b"", []
    for b in blocks:
        offsets.append(head + len(data))
        data += b + b"\0" * (len(b) % 2)
    places = (324, 325) if tiles else (273, 279)
    tags = {**tags, places[0]: offsets}
    if counts:
        tags[places[1]] = [len(b) for b in blocks]
    at = head + len(data)
    count, entry = (8, 20) if big else (2, 12)
    extra_at, extra, entries = at + count + entry * len(tags) + width, b"", b""
    for tag in sorted(tags):
        v = tags[tag]
        if isinstance(v, bytes):
            kind, n, raw = 7, len(v), v
        else:
            v = v if isinstance(v, (list, tuple)) else [v]
            kind = 3 if max(v) < 65536 and tag not in places else 4
            n, raw = len(v), struct.pack(order + {3: "H", 4: "I"}[kind] * len(v), *v)
        if len(raw) > width:
            value, extra = struct.pack(order + ("Q" if big else "I"), extra_at + len(extra)), extra + raw + b"\0" * (len(raw) % 2)
        else:
            value = raw.ljust(width, b"\0")
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, n) + value
    mark = b"II" if order == "<" else b"MM"
    start = mark + (struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at))
    return start + data + struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + b"\0" * width + extra


def base(w, h, bits, photometric, compression=1, **more):
    bits = [bits] * more.pop("samples", 1)
    return {256: w, 257: h, 258: bits, 259: compression, 262: photometric, 277: len(bits), **{int(k[1:]): v for k, v in more.items()}}


def strips(a, rows):
    """The rows of an array, so many to a strip."""
    return [np.ascontiguousarray(a[y:y + rows]).tobytes() for y in range(0, a.shape[0], rows)]


def tiles(a, side):
    h, w = a.shape[:2]
    grow = [(0, -h % side), (0, -w % side)] + [(0, 0)] * (a.ndim - 2)
    a = np.pad(a, grow, mode="edge")
    return [a[y:y + side, x:x + side] for y in range(0, h, side) for x in range(0, w, side)]


def differences(a):
    """Horizontal predictor."""
    d = a.copy()
    d[:, 1:] -= a[:, :-1]
    return d


def few_bits(a, bits):
    """Rows of samples below 1 << bits, packed from the highest bit."""
    rows = []
    for row in a:
        s = "".join(format(int(v), f"0{bits}b") for v in row)
        s += "0" * (-len(s) % 8)
        rows.append(bytes(int(s[i:i + 8], 2) for i in range(0, len(s), 8)))
    return b"".join(rows)


def jpeg(a, mode="RGB", **kw):
    b = io.BytesIO()
    Image.fromarray(a).convert(mode).save(b, "JPEG", quality=80, **kw)
    return b.getvalue()


def split_tables(stream):
    """A JPEG stream as tables and what is left, as libtiff writes it."""
    tables, rest, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xda:
        n = 2 + int.from_bytes(stream[at + 2:at + 4], "big")
        if stream[at + 1] in (0xdb, 0xc4):
            tables += stream[at:at + n]
        elif stream[at + 1] & 0xf0 != 0xe0:
            rest += stream[at:at + n]
        at += n
    return tables + b"\xff\xd9", rest + stream[at:]


def cases(case, enc, s):
    """case(name, data, reason="", exact=False, same_as=None) is told of each file; s is a picture of 48x40."""
    a = np.asarray(s)
    h, w, _ = a.shape
    grey = np.asarray(s.convert("L"))
    wide = (a.astype(np.uint16) << 8) + (a.astype(np.uint32) * 37 % 256).astype(np.uint16)
    alpha = np.asarray(s.convert("L").rotate(90, expand=False))
    four = np.dstack([a, alpha])
    cmyk = np.asarray(s.convert("CMYK")).copy()
    cmyk[..., 3] = alpha // 3

    # JPEG, with and without shared tables.
    case("jpeg-rgb.tiff", enc(s, "TIFF", compression="jpeg"))
    case("jpeg-grey.tiff", enc(s.convert("L"), "TIFF", compression="jpeg"))
    case("jpeg-cmyk.tiff", enc(Image.fromarray(cmyk, "CMYK"), "TIFF", compression="jpeg"))
    for name, sub in ("420", 2), ("422", 1), ("444", 0):
        parts = [split_tables(jpeg(a[y:y + 16], subsampling=sub)) for y in range(0, h, 16)]
        ratio = {2: [2, 2], 1: [2, 1], 0: [1, 1]}[sub]
        case(f"jpeg-{name}.tiff", tiff(base(w, h, 8, 6, 7, samples=3, t278=16, t347=parts[0][0], t530=ratio), [p[1] for p in parts]))
    case("jpeg-whole-streams.tiff", tiff(base(w, h, 8, 6, 7, samples=3, t278=16, t530=[2, 2]), [jpeg(a[y:y + 16]) for y in range(0, h, 16)]))
    case("jpeg-tiles.tiff", tiff(base(w, h, 8, 6, 7, samples=3, t322=32, t323=32, t530=[2, 2]),
                                 [jpeg(np.ascontiguousarray(t)) for t in tiles(a, 32)], tiles=True))
    case("jpeg-planes.tiff", tiff(base(w, h, 8, 2, 7, samples=3, t284=2), [jpeg(np.ascontiguousarray(a[..., c]), "L") for c in range(3)]))
    case("jpeg-progressive.tiff", tiff(base(w, h, 8, 6, 7, samples=3, t530=[2, 2]), [jpeg(a, progressive=True)]))
    case("jpeg-other-size.tiff", tiff(base(w + 8, h, 8, 6, 7, samples=3, t530=[2, 2]), [jpeg(a)]), "corrupt")
    case("jpeg-cut.tiff", tiff(base(w, h, 8, 6, 7, samples=3, t530=[2, 2]), [jpeg(a)[:600]]), "truncated")
    case("jpeg-old.tiff", tiff(base(w, h, 8, 6, 6, samples=3, t513=8, t530=[2, 2]), [jpeg(a)]), "unsupported")

    # Inks.
    case("cmyk.tiff", enc(Image.fromarray(cmyk, "CMYK"), "TIFF"), exact=True)
    case("cmyk-lzw.tiff", enc(Image.fromarray(cmyk, "CMYK"), "TIFF", compression="tiff_lzw"), exact=True)
    five = np.dstack([cmyk, alpha])
    case("cmyk-alpha.tiff", tiff(base(w, h, 8, 5, samples=5, t338=0), [five.tobytes()]), exact=True)
    case("cmyk16.tiff", tiff(base(w, h, 16, 5, 8, samples=4), [zlib.compress((cmyk.astype(">u2") * 257).astype(">u2").tobytes())], order=">"), exact=True)
    case("inks.tiff", tiff(base(w, h, 8, 5, samples=4, t332=2), [cmyk.tobytes()]), "unsupported")

    # Planes, tiles, BigTIFF, byte order, bits, predictors.
    case("planes.tiff", tiff(base(w, h, 8, 2, samples=3, t284=2, t278=16), [b for c in range(3) for b in strips(a[..., c], 16)]), exact=True)
    case("planes-predictor.tiff", tiff(base(w, h, 8, 2, 8, samples=3, t284=2, t317=2),
                                       [zlib.compress(differences(a[..., c]).tobytes()) for c in range(3)]), exact=True)
    case("tiles.tiff", tiff(base(w, h, 8, 2, samples=3, t322=32, t323=16), [t[:16].tobytes() for t in tiles16(a)], tiles=True), exact=True)
    case("tiles-deflate.tiff", tiff(base(w, h, 8, 2, 8, samples=3, t322=16, t323=16, t317=2),
                                    [zlib.compress(differences(t).tobytes()) for t in tiles(a, 16)], tiles=True), exact=True)
    case("big.tiff", tiff(base(w, h, 8, 2, 8, samples=3, t278=7), [zlib.compress(b) for b in strips(a, 7)], big=True), exact=True)
    # PIL takes BigTIFF with the highest byte first for no TIFF at all.
    case("big-endian.tiff", tiff(base(w, h, 8, 2, samples=3, t278=7), strips(a, 7), order=">", big=True), exact=True, same_as=s)
    case("rgb16.tiff", tiff(base(w, h, 16, 2, samples=3), [wide.astype("<u2").tobytes()]), exact=True)
    case("rgb16-predictor.tiff", tiff(base(w, h, 16, 2, 8, samples=3, t317=2), [zlib.compress(differences(wide).astype(">u2").tobytes())], order=">"), exact=True)
    # PIL clips grey of 16 bits to 255 instead of scaling it: what it should look like is given.
    case("grey16.tiff", tiff(base(w, h, 16, 1), [wide[..., 1].astype("<u2").tobytes()]), exact=True, same_as=Image.fromarray(a[..., 1]))
    case("grey16-inverted.tiff", tiff(base(w, h, 16, 0), [(65535 - wide[..., 1]).astype("<u2").tobytes()]), exact=True, same_as=Image.fromarray(a[..., 1]))
    case("inverted.tiff", tiff(base(w, h, 8, 0), [grey.tobytes()]), exact=True)
    case("grey4.tiff", tiff(base(w - 1, h, 4, 1), [few_bits(grey[:, 1:] >> 4, 4)]), exact=True)
    case("grey2.tiff", tiff(base(w - 1, h, 2, 1, t278=9), [few_bits(grey[y:y + 9, 1:] >> 6, 2) for y in range(0, h, 9)]), exact=True)
    colours = np.random.default_rng(5).integers(0, 65536, 48).tolist()
    case("palette4.tiff", tiff(base(w - 1, h, 4, 3, t320=colours), [few_bits(grey[:, 1:] >> 4, 4)]), exact=True)
    case("palette1.tiff", tiff(base(w - 1, h, 1, 3, t320=[0, 65535, 30000, 0, 257, 512]), [few_bits(grey[:, 1:] >> 7, 1)]), exact=True)
    case("no-palette.tiff", tiff(base(w, h, 8, 3), [grey.tobytes()]), "corrupt")
    case("ycc444.tiff", tiff(base(w, h, 8, 6, 8, samples=3, t530=[1, 1]), [zlib.compress(np.asarray(s.convert("YCbCr")).tobytes())]))
    case("ycc420.tiff", tiff(base(w, h, 8, 6, samples=3), [bytes(w * h * 3 // 2)]), "unsupported")
    case("lzw-predictor.tiff", enc(s, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}), exact=True)
    case("zstd.tiff", enc(s, "TIFF", compression="zstd", tiffinfo={317: 2}), exact=True)
    case("no-lengths.tiff", tiff(base(w, h, 8, 2, samples=3, t278=10), strips(a, 10), counts=False), exact=True)
    case("no-samples.tiff", tiff({k: v for k, v in base(w, h, 8, 2, samples=3).items() if k != 277}, [a.tobytes()]), exact=True, same_as=s)
    case("unsorted.tiff", swap_entries(tiff(base(w, h, 8, 2, samples=3), [a.tobytes()])), exact=True)

    # Alpha.
    case("alpha.tiff", tiff(base(w, h, 8, 2, samples=4, t338=2), [four.tobytes()]), exact=True)
    case("alpha-unsaid.tiff", tiff(base(w, h, 8, 2, samples=4), [four.tobytes()]), exact=True)
    done = np.dstack([(a.astype(int) * alpha[..., None] // 255).astype(np.uint8), alpha])
    case("premultiplied.tiff", tiff(base(w, h, 8, 2, samples=4, t338=1), [done.tobytes()]), exact=True)
    case("grey-alpha.tiff", enc(Image.fromarray(np.dstack([grey, alpha]), "LA"), "TIFF", compression="packbits"), exact=True)

    # Fax, bits the other way round, and the orientation, which PIL applies.
    one = s.convert("1")
    case("fax3.tiff", enc(one, "TIFF", compression="group3"), exact=True)
    case("fax4.tiff", enc(one, "TIFF", compression="group4"), exact=True)
    white = enc(one, "TIFF", compression="group4", tiffinfo={262: 0})
    case("fax4-white.tiff", white, exact=True)
    case("fax3-2d.tiff", enc(one, "TIFF", compression="group3", tiffinfo={292: 1}), "unsupported")
    case("fax-rle.tiff", enc(one, "TIFF", compression="tiff_ccitt"), "unsupported")
    case("reversed.tiff", tiff(base(w, h, 1, 1, t266=2), [few_bits_reversed(np.asarray(one))]), exact=True)
    case("turned.tiff", enc(s, "TIFF", tiffinfo={274: 6}))

    # What is not read.
    case("lzma.tiff", enc(s, "TIFF", compression="lzma"), "unsupported")
    case("webp-in.tiff", tiff(base(w, h, 8, 2, 50001, samples=3), [enc(s, "WEBP")]), "unsupported")
    case("float.tiff", enc(Image.fromarray(grey.astype(np.float32)), "TIFF"), "unsupported")
    case("int32.tiff", enc(Image.fromarray(grey.astype(np.int32)), "TIFF"), "unsupported")
    case("signed.tiff", tiff(base(w, h, 8, 1, t339=2), [grey.tobytes()]), "unsupported")
    case("bits12.tiff", tiff(base(w, h, 12, 1), [bytes(w * h * 3 // 2)]), "unsupported")
    case("lab.tiff", tiff(base(w, h, 8, 8, samples=3), [a.tobytes()]), "unsupported")
    case("bands.tiff", tiff(base(w, h, 8, 1, samples=5, t338=[0] * 4), [five.tobytes()]), "unsupported")

    # Damage and traps.
    whole = tiff(base(w, h, 8, 2, samples=3), [a.tobytes()])
    case("cut.tiff", whole[:-30], "truncated")
    case("directory-away.tiff", whole[:4] + struct.pack("<I", 1 << 30) + whole[8:], "truncated")
    case("strip-away.tiff", tiff(base(w, h * 2, 8, 2, samples=3, t278=2 * h), [a.tobytes()]), "truncated")
    case("deflate-cut.tiff", tiff(base(w, h, 8, 2, 8, samples=3), [zlib.compress(a.tobytes())[:900]]), "truncated")
    case("huge-tiles.tiff", tiff(base(w, h, 8, 2, 8, samples=3, t322=60000, t323=60000), [b"x" * 9], tiles=True), "too large")
    case("huge.tiff", tiff(base(60000, 60000, 8, 2, 8, samples=3), [b"x" * 9]), "too large")


def tiles16(a):
    return [np.ascontiguousarray(t) for y in range(0, a.shape[0], 16) for t in tiles(a[y:y + 16], 32)]


def few_bits_reversed(a):
    return bytes(int(format(b, "08b")[::-1], 2) for b in few_bits(a, 1))


def swap_entries(b):
    """Two entries of the directory in the wrong order, as some cameras write them."""
    at = struct.unpack("<I", b[4:8])[0] + 2
    return b[:at] + b[at + 12:at + 24] + b[at:at + 12] + b[at + 24:]
