"""Image files become uint8 arrays, or a reason why not.

Nothing is believed: the kind of a file is told from its first bytes, its header is
compared with the file's length before anything of that size is allocated, its structure
is walked where the format has one, and every warning of the decoder is an error.

What each format can prove by itself, when the file has been damaged since it was
written: PNG carries a checksum of every part, and all are verified. JPEG, WebP, BMP,
GIF and TIFF carry none over their pixels, so a flipped bit there may give another valid
image. Only a digest kept outside can tell: `SHA256SUMS` beside the images, written by
`python -m jaxnets.data digest`, is verified by every loader.
"""

import dataclasses
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps

from jaxnets.data.reading import FileError

Fit = Literal["crop", "stretch", "pad"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LARGEST_SIDE = 2**15
LARGEST_IMAGE = 2**26  # pixels: 67 million, below where Pillow begins to warn

_JPEG_MARK = re.compile(rb"\xff+[\xc0-\xfe]")
_JPEG_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# The most pixels that one byte of a file can stand for: PNG from the window of deflate
# (1032 bytes of a byte, 8 pixels each), GIF from LZW's longest string, JPEG from a
# progressive scan with one bit a block, BMP from run lengths of 255 in two bytes.
_PIXELS_A_BYTE = {"PNG": 8256, "GIF": 4096, "JPEG": 1024, "BMP": 128}


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an image file is to become.

    Attributes:
        size: Height and width; None keeps the image's own.
        channels: 3 for colour, 1 for grey (Rec. 601 luma).
        fit: How another size is reached: "crop" cuts the longer side's ends off,
            "stretch" changes the aspect ratio, "pad" adds black bars. All interpolate
            with the triangle filter, antialiased.
        oriented: Turn the image as its EXIF tag says. Annotations in pixels usually
            count stored rows, so detection leaves it alone.
        background: Grey level behind what is transparent, 0 to 255.
        limit: The most pixels that are decoded.
    """

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] = 3
    fit: Fit = "crop"
    oriented: bool = True
    background: int = 255
    limit: int = LARGEST_IMAGE


class Placement(NamedTuple):
    """Where an image's pixels went: y becomes y * scale_y + shift_y, x likewise."""

    scale_y: float
    scale_x: float
    shift_y: float
    shift_x: float


class Decoded(NamedTuple):
    """An image and what it was."""

    pixels: UInt8[np.ndarray, "h w c"]
    original: tuple[int, int]  # height and width in the file
    placement: Placement


def decode(content: bytes, picture: Picture | None = None) -> Decoded:
    """The image in a file's content.

    Palettes are looked up, 16-bit greys scaled to 8 bits (rounded; Pillow reads 16-bit
    colour as its upper 8 bits), CMYK and YCbCr converted, what is transparent is put on
    a background. Refused are 32-bit greys, which have no agreed range, Lab colours,
    animations and files of several pages.

    Args:
        content: Of the file.
        picture: What it is to become; `Picture()` by default.

    Raises:
        FileError: If it is not a whole, sound image within the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_strictly(content, picture or Picture())


def decode_strictly(content: bytes, picture: Picture) -> Decoded:
    """As `decode`, for threads: the caller has turned warnings into errors, once."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise FileError("cannot be trusted: PIL's LOAD_TRUNCATED_IMAGES is switched on")
    try:
        kind = _kind(content)
        _STRUCTURE.get(kind, lambda content: None)(content)
        # Only the decoder of that one kind gets to see the bytes.
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            _check_header(image, kind, len(content), picture.limit)
            if kind == "TIFF":
                _check_tiff(content, image)
            image.load()
            turned = ImageOps.exif_transpose(image) if picture.oriented else image
            plain = _plain(turned, picture)
            original = plain.height, plain.width
            placed, placement = _placed(plain, picture)
            pixels = np.array(placed, np.uint8)  # a copy: writable, its own memory
            return Decoded(pixels.reshape(*pixels.shape[:2], -1), original, placement)
    except FileError:
        raise
    except Exception as error:
        # Decoders of damaged files raise anything: OSError, SyntaxError, struct.error,
        # ValueError, TypeError, MemoryError, warnings.
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise FileError(
            f"cannot be decoded: {reason} ({type(error).__name__})"
        ) from None


def _kind(content: bytes) -> str:
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
    raise FileError(
        "is not a PNG, JPEG, WebP, BMP, GIF or TIFF file by its first bytes"
    )


def _check_header(image: Image.Image, kind: str, length: int, limit: int) -> None:
    width, height = image.size
    if not 0 < width <= LARGEST_SIDE or not 0 < height <= LARGEST_SIDE:
        raise FileError(
            f"claims {width} x {height} pixels; a side is 1 to {LARGEST_SIDE}"
        )
    if width * height > limit:
        raise FileError(f"claims {width} x {height} pixels; the limit is {limit}")
    if kind in _PIXELS_A_BYTE and width * height > _PIXELS_A_BYTE[kind] * length:
        raise FileError(
            f"claims {width} x {height} pixels, which {length} bytes cannot hold"
        )
    # A photograph with an embedded preview (MPO) is its first image.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise FileError(f"holds {getattr(image, 'n_frames', 1)} images: split it")


def _check_png(content: bytes) -> None:
    """Verifies the checksum of every part; Pillow skips that of the pixels."""
    at, seen = 8, b""
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
        at = end
    _check_nothing_after(content, at)


def _check_jpeg(content: bytes) -> None:
    """Walks the segments up to the mark at the end.

    A decoder is content with less: it makes up what is missing.
    """
    at = 2
    while True:
        mark = _JPEG_MARK.match(content, at)
        if not mark:
            raise FileError(f"is cut off or damaged: the JPEG has no segment at {at}")
        kind, at = mark[0][-1], mark.end()
        if kind == 0xD9:
            return  # previews and metadata often follow
        if at + 2 > len(content):
            raise FileError("is cut off: the JPEG has no end")
        at += struct.unpack(">H", content[at : at + 2])[0]
        if kind == 0xDA:
            following = _JPEG_AFTER_SCAN.search(content, at)
            if not following:
                raise FileError("is cut off: the JPEG has no end")
            at = following.start()


def _check_webp(content: bytes) -> None:
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


def _check_bmp(content: bytes) -> None:
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


def _check_gif(content: bytes) -> None:
    """Walks the blocks up to the end mark."""
    at = 13 + _palette(content, 10)
    while True:
        mark = content[at : at + 1]
        if mark == b";":
            return _check_nothing_after(content, at + 1)
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


def _check_tiff(content: bytes, image: Any) -> None:
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


_STRUCTURE: dict[str, Callable[[bytes], None]] = {
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "WEBP": _check_webp,
    "BMP": _check_bmp,
    "GIF": _check_gif,
}


def _plain(image: Image.Image, picture: Picture) -> Image.Image:
    """8 bits, grey or colour, nothing transparent."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise FileError(
            f"has 32-bit pixels (mode {image.mode}), whose range is unknown"
        )
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*[picture.background] * 3, 255))
        image = Image.alpha_composite(behind, image)
    if image.mode == "LAB":
        raise FileError("has Lab colours: convert it to RGB")
    wanted = "RGB" if picture.channels == 3 else "L"
    if image.mode != wanted:
        # By way of RGB, so that no conversion is skipped that only RGB has.
        image = image.convert("RGB").convert(wanted)
    return image


def _placed(image: Image.Image, picture: Picture) -> tuple[Image.Image, Placement]:
    """The image at the size asked for, and where its pixels went."""
    w, h = image.size
    if picture.size is None or picture.size == (h, w):
        return image, Placement(1, 1, 0, 0)
    height, width = picture.size
    bilinear = Image.Resampling.BILINEAR
    if picture.fit == "stretch":
        return image.resize((width, height), bilinear), Placement(
            height / h, width / w, 0, 0
        )
    if picture.fit == "crop":
        scale = max(height / h, width / w)
        y0, x0 = (h - height / scale) / 2, (w - width / scale) / 2
        box = (x0, y0, min(w, x0 + width / scale), min(h, y0 + height / scale))
        placement = Placement(scale, scale, -y0 * scale, -x0 * scale)
        return image.resize((width, height), bilinear, box=box), placement
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image.resize((inner_w, inner_h), bilinear), (left, top))
    return canvas, Placement(inner_h / h, inner_w / w, top, left)
