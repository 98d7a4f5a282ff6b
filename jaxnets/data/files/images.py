"""Image files become uint8 arrays, or a reason why not.

Nothing is believed: the kind of a file is told from its first bytes, its header is
compared with the file's length before anything of that size is allocated, and its
structure is walked where the format has one. A warning about pixels is an error.

Metadata is another matter: broken EXIF, colour profiles and comments say nothing about
pixels, and cameras and editors write them. JPEG and PNG files are decoded without the
parts that do not matter to pixels, and an unreadable orientation counts as none.
"""

import contextlib
import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from jaxnets.data.files.formats import STRUCTURE, check_tiff, kind_of
from jaxnets.data.files.problems import FileError
from jaxnets.data.pictures import (
    LARGEST_IMAGE,
    LARGEST_SIDE,
    ImageSpec,
    Placement,
    placed,
)

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
_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))


class DecodedImage(NamedTuple):
    """A decoded image, its original size, and where its pixels went."""

    pixels: UInt8[np.ndarray, "h w c"]
    original: tuple[int, int]  # height and width in the file
    placement: Placement


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


def decode_strictly(
    content: bytes, spec: ImageSpec, *, checked: bool = False
) -> DecodedImage:
    """Decodes as `decode` does, inside a `strict_warnings` that the caller entered.

    Args:
        content: Of the file.
        spec: Size, channels and background.
        checked: The content was decoded before: it is whole, which costs time to show.

    Raises:
        FileError: As `decode`.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise FileError("cannot be trusted: PIL's LOAD_TRUNCATED_IMAGES is switched on")
    try:
        kind = kind_of(content)
        plain_content = content if checked else STRUCTURE[kind](content)
        # Only the decoder of that one kind gets to see the bytes.
        with Image.open(io.BytesIO(plain_content), formats=[kind]) as image:
            check_header(image, kind, len(content), spec.limit)
            if kind == "TIFF":
                check_tiff(content, image)
            stored = image.height, image.width
            if kind == "JPEG":
                _shrink(image, spec)
            image.load()
            turn = _turn(image) if spec.oriented else None
            plain = _plain(image if turn is None else image.transpose(turn), spec)
            h, w = stored
            original = (w, h) if turn in _SIDEWAYS else (h, w)
            shown, placement = placed(plain, spec, original)
            pixels = np.array(shown, np.uint8)  # a copy: writable, its own memory
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


def check_header(image: Image.Image, kind: str, length: int, limit: int) -> None:
    """Refuses an image by its header, before anything of its size is allocated.

    Args:
        image: Opened, not decoded.
        kind: Its format, by Pillow's name.
        length: Bytes of the file.
        limit: The most pixels that are decoded.

    Raises:
        FileError: If it claims more pixels than a limit or the file allows, or holds
            several images.
    """
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


def _shrink(image: Image.Image, spec: ImageSpec) -> None:
    """Has a JPEG decoded at a half, a quarter or an eighth, where that is enough.

    Its blocks of 8 x 8 pixels hold smaller copies of themselves. A photograph of 12
    million pixels becomes one of 224 x 224 in a third of the time, apart by 0.8 of 255
    levels on average.
    """
    if spec.size is None:
        return
    (height, width), (h, w) = spec.size, (image.height, image.width)
    whole = min if spec.fit == "pad" else max  # of the two sides, which one decides
    upright, sideways = (height / h, width / w), (height / w, width / h)
    scale = max(whole(upright), whole(sideways))  # a tag may turn it
    image.draft(None, (math.ceil(w * scale), math.ceil(h * scale)))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image as its EXIF or XMP says; None if they cannot be read."""
    orientation = _orientation(image.info.get("exif", b""))
    if orientation is None:  # a TIFF's own tag, or XMP
        try:
            orientation = image.getexif().get(_ORIENTATION)
        except Exception:  # damaged metadata: whatever its reader meets first
            return None
    return _TURNS.get(orientation or 1)


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
