"""The formats of image files: which one a file has, and whether all of it is there.

What each format can prove by itself, when the file has been damaged since it was
written: PNG carries a checksum of every part, and all are verified. JPEG, WebP, BMP,
GIF and TIFF carry none over their pixels, so a flipped bit there may give another valid
image. Only a digest kept outside can tell: `SHA256SUMS` beside the images, written by
`python -m jaxnets.data digest`, is verified by every loader.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from jaxnets.data.files.problems import FileError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".webp", ".bmp", ".gif", ".tif", ".tiff"),
)

_JPEG_MARK = re.compile(rb"\xff+[\xc0-\xfe]")
_JPEG_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")

# TIFF 6.0: sizes, sample format, compression, strips, tiles, palette, extra samples.
_TIFF_PIXEL_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284),
    *(317, 320, 322, 323, 324, 325, 338, 339),
}

_TIFF_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8}
_APPLE_AND_AV1 = {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}


def kind_of(content: bytes) -> str:
    """The format that the first bytes tell, by Pillow's name.

    Raises:
        FileError: If it is none that is read; with what it is, where that can be told.
    """
    start = content[:12]
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start.startswith(b"BM"):
        return "BMP"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if start[4:8] == b"ftyp" and start[8:12].rstrip(b"\0") in _APPLE_AND_AV1:
        raise FileError("is a HEIC or AVIF file: convert it to JPEG or PNG")
    if content[:512].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise FileError("is HTML, XML or SVG, not pixels: a failed download?")
    if content.startswith(b"version https://git-lfs"):
        raise FileError("is a pointer of Git LFS, not the file: run `git lfs pull`")
    raise FileError(
        "is not a PNG, JPEG, WebP, BMP, GIF or TIFF file by its first bytes"
    )


def _png(content: bytes) -> bytes:
    """Verifies the checksum of every part; Pillow skips that of the pixels.

    Returns:
        The file without its metadata, except for the orientation.
    """
    at, seen, kept = 8, b"", [content[:8]]
    while seen != b"IEND":
        if at + 12 > len(content):
            raise FileError("is cut off: the PNG has no end")
        length, seen = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            raise FileError(f"is cut off in the PNG's part {seen!r}")
        stored = struct.unpack(">I", content[end - 4 : end])[0]
        if zlib.crc32(content[at + 4 : end - 4]) != stored:
            raise FileError(f"has a wrong checksum in the PNG's part {seen!r}")
        # A small first letter marks a part that the pixels can do without.
        turned = content.startswith(_PNG_ORIENTATIONS, at + 8)
        if seen[:1].isupper() or seen in _PNG_KEPT or turned:
            kept.append(content[at:end])
        at = end
    _check_nothing_after(content, at)
    return b"".join(kept)


# Transparency, orientation, and what makes an animation of an image.
_PNG_KEPT = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
_PNG_ORIENTATIONS = (b"XML:com.adobe.xmp\0\0", b"Raw profile type exif\0")


def _jpeg(content: bytes) -> bytes:
    """Walks the segments up to the mark at the end.

    A decoder is content with less: it makes up what is missing.

    Returns:
        The file without its metadata, except for the orientation. So a photograph with
        a preview in it (MPO) is its first image.
    """
    at, copied = 2, 0
    kept: list[bytes] = []
    while True:
        begin = at
        mark = _JPEG_MARK.match(content, at)
        if not mark:
            raise FileError(f"is cut off or damaged: the JPEG has no segment at {at}")
        kind, at = mark[0][-1], mark.end()
        if kind == 0xD9:  # previews and metadata often follow
            return b"".join([*kept, content[copied:at]])
        if at + 2 > len(content):
            raise FileError("is cut off: the JPEG has no end")
        body = at + 2
        at += struct.unpack(">H", content[at : at + 2])[0]
        if not _matters(kind, content[body:at]):
            kept.append(content[copied:begin])
            copied = at
        if kind == 0xDA:
            following = _JPEG_AFTER_SCAN.search(content, at)
            if not following:
                raise FileError("is cut off: the JPEG has no end")
            at = following.start()


def _matters(kind: int, body: bytes) -> bool:
    """Whether a JPEG's segment says something about its pixels or orientation."""
    if kind == 0xE0:  # decides the colour space, if it is whole
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if kind == 0xE1:
        return body.startswith((b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"))
    if kind == 0xEE:  # says that colours are CMYK or inverted
        return body.startswith(b"Adobe")
    return not 0xE0 <= kind <= 0xEF and kind != 0xFE


def _webp(content: bytes) -> bytes:
    if len(content) < 16:
        raise FileError("is cut off")
    length = struct.unpack("<I", content[4:8])[0] + 8
    if length + length % 2 > len(content) + 1:
        raise FileError(f"is cut off: {len(content)} bytes of {length}")
    at = 12
    while at < length:
        if at + 8 > length:
            raise FileError("is cut off inside the header of a part")
        size = struct.unpack("<I", content[at + 4 : at + 8])[0]
        at += 8 + size + size % 2
    if at > length + 1:
        raise FileError("has a part that is longer than the file")
    _check_nothing_after(content, at)
    return content


def _bmp(content: bytes) -> bytes:
    if len(content) < 26:
        raise FileError("is cut off: no BMP header")
    length, _, _, offset = struct.unpack("<IHHI", content[2:14])
    if length not in (0, len(content)):  # some writers leave it 0
        raise FileError(f"has {len(content)} bytes, its header says {length}")
    if not 26 <= offset < len(content):
        raise FileError(f"says its pixels begin at byte {offset} of {len(content)}")
    if struct.unpack("<I", content[14:18])[0] >= 40 and len(content) >= 34:
        width, height = struct.unpack("<ii", content[18:26])
        bits, compression = struct.unpack("<HI", content[28:34])
        row = (abs(width) * bits + 31) // 32 * 4
        spare = len(content) - offset - row * abs(height)
        if compression in (0, 3) and not 0 <= spare <= 4:  # some writers pad
            raise FileError(
                f"has {len(content)} bytes, not those of {width} x {abs(height)} pixels"
            )
    return content


def _gif(content: bytes) -> bytes:
    """Walks the blocks up to the end mark."""
    at = 13 + _palette(content, 10)
    while True:
        mark = content[at : at + 1]
        if mark == b";":
            _check_nothing_after(content, at + 1)
            return content
        if mark == b"!":
            at += 2
        elif mark == b",":
            if content[at + 1 : at + 9] != bytes(4) + content[6:10]:
                raise FileError("has a picture that does not cover the GIF's area")
            at += 10 + _palette(content, at + 9) + 1
        else:
            raise FileError("is cut off or damaged: the GIF has no end")
        while True:
            if at >= len(content):
                raise FileError("is cut off: the GIF has no end")
            size = content[at]
            at += 1 + size
            if not size:
                break


def _tiff(content: bytes) -> bytes:
    """Checks that what describes the pixels lies inside the file, whole.

    Pillow passes over a value that does not, with a warning, and takes a default.
    """
    order = "<" if content.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for i in range(count):
            entry = struct.unpack_from(f"{order}HHII", content, start + 2 + 12 * i)
            tag, kind, values, offset = entry
            size = values * _TIFF_VALUE_BYTES.get(kind, 1)
            if tag in _TIFF_PIXEL_TAGS and size > 4 and offset + size > len(content):
                raise FileError(f"is cut off: its TIFF tag {tag} lies behind its end")
    except struct.error:
        raise FileError("is cut off: the TIFF's directory has no end") from None
    return content


def check_tiff(content: bytes, image: Any) -> None:
    """Compares the strips with the size, and verifies those that have a checksum."""
    tags = image.tag_v2
    kind, offsets, lengths = tags.get(259, 1), tags.get(273), tags.get(279)
    if not offsets or not lengths or kind not in (1, 8, 32946):
        return  # tiles, or a coding that says nothing about its length
    bits = sum(tags.get(258, (1,)))
    row = (image.width * bits + 7) // 8
    if tags.get(284, 1) != 1:
        return  # one plane a channel
    rows = min(tags.get(278, image.height), image.height)
    if len(offsets) != len(lengths) or len(offsets) * rows < image.height:
        raise FileError("has strips that do not make up the TIFF's height")
    for i, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        strip = content[offset : offset + length]
        wanted = row * min(rows, image.height - i * rows)
        if kind != 1:
            inflate = zlib.decompressobj()
            strip = inflate.decompress(strip, wanted + 1)
            if not inflate.eof:
                raise FileError(f"has a strip of the TIFF, {i}, that does not end")
        if len(strip) != wanted:
            raise FileError(f"has {len(strip)} bytes in strip {i}, not {wanted}")


def _palette(content: bytes, at: int) -> int:
    """How many bytes the palette takes that the flags at this place announce."""
    flags = content[at] if at < len(content) else 0
    return 3 * 2 ** (flags % 8 + 1) if flags & 128 else 0


def _check_nothing_after(content: bytes, end: int) -> None:
    if content[end:].strip(b"\0\r\n"):
        raise FileError(f"has {len(content) - end} bytes after its end")


# Each checks the structure of a file and returns what is to be decoded.
STRUCTURE: dict[str, Callable[[bytes], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "BMP": _bmp,
    "GIF": _gif,
    "TIFF": _tiff,
}
