"""Image files become uint8 arrays, or a reason why not.

Nothing is believed: the kind of a file is told from its first bytes, its header is
compared with the file's length before anything of that size is allocated, and its
structure is walked where the format has one. A warning about pixels is an error.

Metadata is another matter: broken EXIF, colour profiles and comments say nothing about
pixels, and cameras and editors write them. JPEG and PNG files are decoded without the
parts that do not matter to pixels, and an unreadable orientation counts as none.

What each format can prove by itself, when the file has been damaged since it was
written: PNG carries a checksum of every part, and all are verified. JPEG, WebP, BMP,
GIF and TIFF carry none over their pixels, so a flipped bit there may give another valid
image. Only a digest kept outside can tell: `SHA256SUMS` beside the images, written by
`python -m jaxnets.data digest`, is verified by every loader.
"""

import contextlib
import dataclasses
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from jaxnets.data.dataset import DataError
from jaxnets.data.files.reading import FileError

Fit = Literal["crop", "stretch", "pad"]
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".webp", ".bmp", ".gif", ".tif", ".tiff"),
)
LARGEST_SIDE = 2**15
LARGEST_IMAGE = 2**26  # pixels: 67 million, below where Pillow begins to warn

_JPEG_MARK = re.compile(rb"\xff+[\xc0-\xfe]")
_JPEG_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# The most pixels that one byte of a file can stand for: PNG from the window of deflate
# (1032 bytes of a byte, 8 pixels each), GIF from LZW's longest string, JPEG from a
# progressive scan with one bit a block, BMP from run lengths of 255 in two bytes.
_PIXELS_A_BYTE = {"PNG": 8256, "GIF": 4096, "JPEG": 1024, "BMP": 128}

# EXIF 2.3, tag 0x0112: how the stored rows and columns become the upright image.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# TIFF 6.0: sizes, sample format, compression, strips, tiles, palette, extra samples.
_TIFF_PIXEL_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284),
    *(317, 320, 322, 323, 324, 325, 338, 339),
}
_TIFF_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8}


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """How `decode` brings an image file to a size, channels and a background.

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


class DecodedImage(NamedTuple):
    """A decoded image, its original size, and where its pixels went."""

    pixels: UInt8[np.ndarray, "h w c"]
    original: tuple[int, int]  # height and width in the file
    placement: Placement


def height_and_width(size: Sequence[int]) -> tuple[int, int] | None:
    """Height and width that the numbers after `--size` stand for; None without any.

    Args:
        size: Nothing, the side of a square, or height and width, in pixels.

    Raises:
        DataError: If there are more numbers, or one is not 1 to `LARGEST_SIDE`.
    """
    if len(size) > 2 or not all(1 <= side <= LARGEST_SIDE for side in size):
        raise DataError(
            f"--size takes one side or height and width, 1 to {LARGEST_SIDE} pixels, "
            f"not {' '.join(map(str, size))}"
        )
    return (size[0], size[-1]) if size else None


def decode(content: bytes, spec: ImageSpec | None = None) -> DecodedImage:
    """The image in a file's content.

    Palettes are looked up, 16-bit greys scaled to 8 bits (rounded; Pillow reads 16-bit
    colour as its upper 8 bits), CMYK and YCbCr converted, what is transparent is put on
    a background. Refused are 32-bit greys, which have no agreed range, Lab colours,
    animations and files of several pages.

    Args:
        content: Of the file.
        spec: Size, channels and background; `ImageSpec()` by default.

    Raises:
        FileError: If it is not a whole, sound image within the limits.
    """
    with strict_warnings():
        return decode_strictly(content, spec or ImageSpec())


@contextlib.contextmanager
def strict_warnings() -> Iterator[None]:
    """Makes Pillow's warnings about pixels errors, and silences all its others.

    Filters of warnings belong to the process: threads that decode share one context.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("error", "Invalid APNG")
        yield


def decode_strictly(content: bytes, spec: ImageSpec) -> DecodedImage:
    """Decodes as `decode` does, inside a `strict_warnings` that the caller entered."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise FileError("cannot be trusted: PIL's LOAD_TRUNCATED_IMAGES is switched on")
    try:
        kind = _kind(content)
        plain_content = _STRUCTURE[kind](content)
        # Only the decoder of that one kind gets to see the bytes.
        with Image.open(io.BytesIO(plain_content), formats=[kind]) as image:
            _check_header(image, kind, len(content), spec.limit)
            if kind == "TIFF":
                _check_tiff(content, image)
            image.load()
            turned = _upright(image) if spec.oriented else image
            plain = _plain(turned, spec)
            original = plain.height, plain.width
            placed, placement = _placed(plain, spec)
            pixels = np.array(placed, np.uint8)  # a copy: writable, its own memory
            return DecodedImage(
                pixels.reshape(*pixels.shape[:2], -1), original, placement
            )
    except FileError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = min(spec.limit, Image.MAX_IMAGE_PIXELS or spec.limit)
        raise too_large(error, limit) from None
    except Exception as error:
        # Decoders of damaged files raise anything: OSError, SyntaxError, struct.error,
        # ValueError, TypeError, MemoryError, warnings.
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise FileError(
            f"cannot be decoded: {reason} ({type(error).__name__})"
        ) from None


def too_large(what: object, limit: int = LARGEST_IMAGE) -> FileError:
    """The error about an image of too many pixels, with the remedy.

    Args:
        what: "12 x 34", or Pillow's message, of which the first number is of pixels.
        limit: The most pixels that are decoded.
    """
    number = re.search(r"\d+( x \d+)?", str(what))
    return FileError(
        f"claims {number[0] if number else 'too many'} pixels; the limit is {limit}: "
        "shrink it, for example `mogrify -resize 4000x4000\\> FILE`"
    )


_APPLE_AND_AV1 = {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}


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
    if start[4:8] == b"ftyp" and start[8:12].rstrip(b"\0") in _APPLE_AND_AV1:
        raise FileError("is a HEIC or AVIF file: convert it to JPEG or PNG")
    if content[:512].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise FileError("is HTML, XML or SVG, not pixels: a failed download?")
    if content.startswith(b"version https://git-lfs"):
        raise FileError("is a pointer of Git LFS, not the file: run `git lfs pull`")
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
        raise too_large(f"{width} x {height}", limit)
    if kind in _PIXELS_A_BYTE and width * height > _PIXELS_A_BYTE[kind] * length:
        raise FileError(
            f"claims {width} x {height} pixels, which {length} bytes cannot hold"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise FileError(f"holds {getattr(image, 'n_frames', 1)} images: split it")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF or XMP says; as stored if they cannot be read."""
    orientation = _orientation(image.info.get("exif", b""))
    if orientation is None:  # a TIFF's own tag, or XMP
        try:
            orientation = image.getexif().get(_ORIENTATION)
        except Exception:  # damaged metadata: whatever its reader meets first
            return image
    turn = _TURNS.get(orientation or 1)
    return image if turn is None else image.transpose(turn)


def _orientation(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, whatever else in it is damaged.

    Pillow stops reading at the first damaged tag.
    """
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", block, at)
            if tag == _ORIENTATION and kind == 3 and values in (1, 2):
                return value  # one of 16 bits; some writers repeat it
    except struct.error:  # the directory is cut off
        pass
    return None


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


# Each checks the structure of a file and returns what is to be decoded.
_STRUCTURE: dict[str, Callable[[bytes], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "BMP": _bmp,
    "GIF": _gif,
    "TIFF": _tiff,
}


def _plain(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """8 bits, grey or colour, nothing transparent."""
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode in ("I", "F"):
        raise FileError(
            f"has 32-bit pixels (mode {image.mode}), whose range is unknown"
        )
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*[spec.background] * 3, 255))
        image = Image.alpha_composite(behind, image)
    if image.mode == "LAB":
        raise FileError("has Lab colours: convert it to RGB")
    wanted = "RGB" if spec.channels == 3 else "L"
    if image.mode != wanted:
        # By way of RGB, so that no conversion is skipped that only RGB has.
        image = image.convert("RGB").convert(wanted)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image in 8 bits; its transparent grey becomes an alpha channel."""
    values = np.asarray(image)
    grey = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if (clear := image.info.get("transparency")) is None:
        return grey
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.merge("LA", [grey, alpha])


def resized(pixels: UInt8[np.ndarray, "n h w c"], spec: ImageSpec) -> np.ndarray:
    """Images in memory at the spec's size, `[n, height, width, c]`."""
    if spec.size is None:
        return pixels
    made = np.zeros((len(pixels), *spec.size, pixels.shape[3]), np.uint8)
    for row, image in zip(made, pixels, strict=True):
        plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        row[:] = np.asarray(_placed(plain, spec)[0]).reshape(row.shape)
    return made


def _placed(image: Image.Image, spec: ImageSpec) -> tuple[Image.Image, Placement]:
    """The image at the size asked for, and where its pixels went."""
    w, h = image.size
    if spec.size is None or spec.size == (h, w):
        return image, Placement(1, 1, 0, 0)
    height, width = spec.size
    bilinear = Image.Resampling.BILINEAR
    if spec.fit == "stretch":
        return image.resize((width, height), bilinear), Placement(
            height / h, width / w, 0, 0
        )
    if spec.fit == "crop":
        box = window((h, w), (height, width))
        scale = max(height / h, width / w)
        placement = Placement(scale, scale, -box[1] * scale, -box[0] * scale)
        return image.resize((width, height), bilinear, box=box), placement
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image.resize((inner_w, inner_h), bilinear), (left, top))
    return canvas, Placement(inner_h / h, inner_w / w, top, left)


def window(
    have: tuple[int, int], wanted: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The largest window in the middle of an image that has another image's shape.

    It is never outside of the image, not even by a rounding error: one side is the
    image's own, and the other is a single division, which rounds to at most the whole.

    Args:
        have: Height and width of the image.
        wanted: Height and width whose ratio the window has.

    Returns:
        Left, top, right and bottom, as Pillow's `resize` takes them.
    """
    (h, w), (height, width) = have, wanted
    if height * w >= width * h:  # all rows
        side = width * h / height
        return (w - side) / 2, 0.0, (w + side) / 2, float(h)
    side = height * w / width
    return 0.0, (h - side) / 2, float(w), (h + side) / 2
