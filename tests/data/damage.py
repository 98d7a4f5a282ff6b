"""Six formats and six ways to damage a file; deterministic."""

import io
import struct

import numpy as np
from PIL import Image

FORMATS = ("png", "jpeg", "webp", "bmp", "gif", "tiff")
KINDS = ("flip", "truncate", "zero", "magic", "header", "empty")
_OPTIONS = {
    "png": [{}, {"optimize": True}],
    "jpeg": [{"quality": 90}, {"quality": 75, "progressive": True}],
    "webp": [{"lossless": True}, {"quality": 80}],
    "bmp": [{}],
    "gif": [{}],
    "tiff": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}],
}


def picture(seed, height=24, width=31, channels=3):
    """Smooth shapes and some noise, so that every format has something to code."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [
        128
        + 60 * np.sin(x / random.uniform(2, 8) + random.uniform(0, 6))
        + 50 * np.cos(y / random.uniform(2, 8) + random.uniform(0, 6))
        for _ in range(channels)
    ]
    noise = random.normal(0, 6, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def encoded(kind, seed):
    """A sound file of the format."""
    options = _OPTIONS[kind][seed % len(_OPTIONS[kind])]
    image = Image.fromarray(picture(seed))
    buffer = io.BytesIO()
    if kind == "gif":
        image = image.quantize(64)
    image.save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def damaged(content, kind, how, seed):
    """The file after the damage, which always changes at least one byte."""
    random = np.random.default_rng((seed, KINDS.index(how)))
    data = bytearray(content)
    if how == "flip":
        for _ in range(random.integers(1, 4)):
            at = random.integers(len(data))
            data[at] ^= 1 << int(random.integers(8))
    elif how == "truncate":
        del data[random.integers(1, len(data)) :]
    elif how == "zero":
        length = int(random.integers(1, max(2, len(data) // 4)))
        at = int(random.integers(0, len(data) - length))
        data[at : at + length] = bytes(length)
    elif how == "magic":
        data[: random.integers(2, 5)] = random.bytes(4)[: 1 + random.integers(1, 4)]
    elif how == "header":
        _lie(data, kind, random)
    elif how == "empty":
        data.clear()
    if bytes(data) == content:
        data[len(data) // 2] ^= 1
    return bytes(data)


def _lie(data, kind, random):
    """Another width or height than the pixels have; sometimes an absurd one."""
    size = int(random.choice([1, 23, 32, 64, 4000, 30000, 65000]))
    if kind == "png":
        at = int(random.choice([16, 20]))
        data[at : at + 4] = struct.pack(">I", size * int(random.choice([1, 60000])))
    elif kind == "jpeg":
        for mark in (b"\xff\xc0", b"\xff\xc2"):
            at = bytes(data).find(mark)
            if at >= 0:
                at += int(random.choice([5, 7]))
                data[at : at + 2] = struct.pack(">H", size)
                return
    elif kind == "webp":
        at = 24 if data[12:16] == b"VP8 " else 21
        data[at + 2 : at + 4] = struct.pack("<H", size % 16384)
    elif kind == "bmp":
        at = int(random.choice([18, 22]))
        data[at : at + 4] = struct.pack("<i", size * int(random.choice([1, -1])))
    elif kind == "gif":
        at = int(random.choice([6, 8]))
        data[at : at + 2] = struct.pack("<H", size)
    elif kind == "tiff":
        start = struct.unpack("<I", data[4:8])[0]
        for i in range(struct.unpack("<H", data[start : start + 2])[0]):
            at = start + 2 + 12 * i
            if struct.unpack("<H", data[at : at + 2])[0] == random.choice([256, 257]):
                data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, size)
