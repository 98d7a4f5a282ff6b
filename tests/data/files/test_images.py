"""Image files as cameras, editors and browsers leave them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxnets.data.files.images import decode
from jaxnets.data.files.problems import FileError
from jaxnets.data.pictures import ImageSpec, placed, window
from tests.data import damage

pytestmark = pytest.mark.host


def stored(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# --- windows --------------------------------------------------------------------------


def test_no_window_leaves_its_image_by_a_rounding_error():
    """Offsets of -1e-15 refused 6 % of the sizes; they are compared to the bit."""
    random = np.random.default_rng(0)
    some = random.integers(1, 4000, (20_000, 4)).tolist()
    edges = [(1, 1), (1, 2**15), (2**15, 1), (2**15, 2**15), (2**15 - 1, 2**15)]
    some += [(*a, *b) for a in edges for b in [*edges, (32, 32), (224, 225)]]
    for h, w, height, width in some:
        left, top, right, bottom = window((h, w), (height, width))
        assert 0 <= left < right <= w, (h, w, height, width)
        assert 0 <= top < bottom <= h, (h, w, height, width)
        assert (left, right) == (0, w) or (top, bottom) == (0, h)
        ratio = (bottom - top) * width / ((right - left) * height)
        assert abs(ratio - 1) < 1e-6, (h, w, height, width)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_every_size_reaches_every_size(fit):
    sizes = [(h, w) for h in (1, 2, 41, 47, 90) for w in (1, 3, 49, 55, 83)]
    sizes += [(1, 3000), (3000, 1)]
    for h, w in sizes:
        content = stored(Image.new("RGB", (w, h), (9, 99, 199)), "BMP")
        for size in ((1, 1), (32, 32), (7, 50)):
            made = decode(content, ImageSpec(size, fit=fit))
            assert made.pixels.shape == (*size, 3)
            assert (made.pixels == (9, 99, 199)).all(2).any()
            assert made.original == (h, w)
            place = np.array(made.placement)
            corners = np.array([[0, 0], [h, w]]) * place[:2] + place[2:]
            if fit == "crop":  # the whole image covers the result
                assert (corners[0] <= 1e-9).all()
                assert (corners[1] >= np.array(size) - 1e-9).all()
            else:
                assert (corners >= 0).all()
                assert (corners[1] <= np.array(size) * (1 + 1e-15)).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("size", [(16, 16), (9, 30), (60, 7)])
def test_a_large_jpeg_decoded_smaller_is_the_same_picture(fit, turn, size):
    coarse = Image.fromarray(damage.picture(2, 6, 7))
    whole = coarse.resize((301, 203), Image.Resampling.BICUBIC)  # odd: blocks overhang
    tag = Image.Exif()
    tag[0x0112] = turn
    content = stored(whole, "JPEG", exif=tag, quality=95)
    spec = ImageSpec(size, fit=fit)
    found = decode(content, spec)
    with Image.open(io.BytesIO(content)) as image:
        upright = image.transpose(Image.Transpose.ROTATE_270) if turn == 6 else image
        expected, placement = placed(upright.convert("RGB"), spec)
    assert found.original == ((301, 203) if turn == 6 else (203, 301))
    assert found.placement == placement
    apart = np.abs(found.pixels.astype(int) - np.asarray(expected))
    assert apart.mean() < 2
    assert apart.max() < 24


# --- metadata -------------------------------------------------------------------------


def with_segment(jpeg, mark, body):
    return (
        jpeg[:2]
        + bytes([0xFF, mark])
        + struct.pack(">H", len(body) + 2)
        + body
        + jpeg[2:]
    )


def exif(*entries, cut=0):
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    body = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)
    return b"Exif\0\0" + body[: len(body) - cut]


BROKEN_EXIF = {
    "value outside": exif((0x010F, 2, 400, 5000)),
    "cut directory": exif((0x010F, 2, 4, 0), (0x0110, 2, 4, 0), cut=14),
    "unknown type": exif((0x0112, 77, 1, 6)),
    "orientation as text": exif((0x0112, 2, 4, 0x41414141)),
    "orientation 99": exif((0x0112, 3, 1, 99)),
    "no header": b"Exif\0\0what is this",
    "nothing": b"Exif\0\0",
    "directory behind the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "circle": exif((0x8769, 4, 1, 8), (0x8825, 4, 1, 8)),
}


@pytest.mark.parametrize("how", BROKEN_EXIF)
def test_broken_exif_is_as_good_as_none(how):
    image = Image.fromarray(damage.picture(0))
    body = BROKEN_EXIF[how]
    plain = stored(image, "JPEG")
    want = decode(plain).pixels
    np.testing.assert_array_equal(decode(with_segment(plain, 0xE1, body)).pixels, want)
    for kind in ("PNG", "WEBP"):
        content = stored(image, kind, exif=body, lossless=True)
        np.testing.assert_array_equal(decode(content).pixels, np.asarray(image))


def test_the_orientation_is_applied_where_other_parts_of_the_exif_are_broken():
    image = Image.fromarray(damage.picture(0))
    plain = stored(image, "JPEG")
    want = np.rot90(decode(plain).pixels, -1)
    two, outside = (0x0112, 3, 2, 0x00010006), (0x010F, 2, 400, 5000)
    for body in (exif(two), exif(outside, (0x0112, 3, 1, 6))):
        made = decode(with_segment(plain, 0xE1, body))
        np.testing.assert_array_equal(made.pixels, want)
    assert made.original == (31, 24)


def test_all_eight_orientations_undo_what_they_name():
    upright = damage.picture(3, 5, 8)
    # Which edges the stored first row and first column are: EXIF 2.3, tag 0x0112.
    stored_as = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for turn, rows in stored_as.items():
        tag = Image.Exif()
        tag[0x0112] = turn
        content = stored(Image.fromarray(np.ascontiguousarray(rows)), "PNG", exif=tag)
        np.testing.assert_array_equal(
            decode(content).pixels, upright, err_msg=str(turn)
        )


def test_any_bytes_in_metadata_leave_the_pixels_alone():
    random = np.random.default_rng(0)
    jpeg = stored(Image.fromarray(damage.picture(0)), "JPEG", quality=90)
    want = decode(jpeg).pixels
    starts = [
        b"",
        b"ICC_PROFILE\0",
        b"MPF\0",
        b"MPF\0II*\0",
        b"Photoshop 3.0\0",
        b"JFIF\0",
    ]
    starts += [b"JFXX\0", b"Exif\0\0MM\0*", b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"]
    for i in range(360):
        mark = [*range(0xE0, 0xEE), 0xEF, 0xFE][i % 16]
        body = starts[i % len(starts)] + random.bytes(int(random.integers(0, 60)))
        made = decode(with_segment(jpeg, mark, body))
        np.testing.assert_array_equal(made.pixels, want, err_msg=f"{mark:x} {body!r}")
    png = stored(Image.fromarray(damage.picture(0)), "PNG")
    names = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"sRGB"]
    names += [b"bKGD", b"eXIf", b"tIME", b"abCd"]
    for i in range(240):
        body = names[i % 12] + random.bytes(int(random.integers(0, 60)))
        size, check = len(body) - 4, zlib.crc32(body)
        part = struct.pack(">I", size) + body + struct.pack(">I", check)
        made = decode(png[:33] + part + png[33:])  # behind the header
        np.testing.assert_array_equal(
            made.pixels, damage.picture(0), err_msg=repr(part)
        )


def test_a_long_compressed_text_in_a_png_is_no_bomb():
    info = __import__("PIL.PngImagePlugin", fromlist=["PngInfo"]).PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=True)
    content = stored(Image.fromarray(damage.picture(0)), "PNG", pnginfo=info)
    np.testing.assert_array_equal(decode(content).pixels, damage.picture(0))


def test_what_a_tiff_says_of_its_owner_may_be_broken_but_not_what_it_says_of_pixels():
    image = Image.fromarray(damage.picture(0))
    content = bytearray(stored(image, "TIFF", tiffinfo={305: "somebody's editor"}))
    start = struct.unpack_from("<I", content, 4)[0]
    (count,) = struct.unpack_from("<H", content, start)
    entries = {
        struct.unpack_from("<H", content, start + 2 + 12 * i)[0]: start + 2 + 12 * i
        for i in range(count)
    }
    broken = bytearray(content)
    struct.pack_into("<I", broken, entries[305] + 8, 10**6)
    np.testing.assert_array_equal(decode(bytes(broken)).pixels, np.asarray(image))
    struct.pack_into("<I", broken, entries[258] + 8, 10**6)
    with pytest.raises(FileError, match="TIFF tag 258 lies behind its end"):
        decode(bytes(broken))
    with pytest.raises(FileError, match="directory has no end"):
        decode(bytes(content[: start + 1]))


# --- kinds ----------------------------------------------------------------------------


def test_a_photograph_with_previews_is_its_first_image():
    rows = [Image.fromarray(damage.picture(i)) for i in range(2)]
    content = stored(rows[0], "MPO", save_all=True, append_images=rows[1:], quality=95)
    plain = stored(rows[0], "JPEG", quality=95)
    np.testing.assert_array_equal(decode(content).pixels, decode(plain).pixels)


def test_cmyk_keeps_its_colours_in_each_way_that_jpeg_has_of_writing_it():
    colour = np.full((16, 16, 3), (200, 60, 30), np.uint8)
    content = stored(Image.fromarray(colour).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert np.abs(decode(content).pixels.astype(int) - colour).max() < 12


def test_transparency_of_a_palette_and_of_16_bits_meets_the_background():
    rows = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 5, 1)
    image = Image.fromarray(rows).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    content = stored(image, "PNG", transparency=bytes([0, 255, 255, 255]))
    pixels = decode(content, ImageSpec(background=77)).pixels
    assert (pixels[0] == 77).all()
    assert (pixels[1] == (200, 0, 0)).all()
    assert (pixels[3] == (0, 0, 200)).all()
    deep = Image.fromarray(np.array([[0, 65535], [257, 514]], np.uint16))
    pixels = decode(
        stored(deep, "PNG", transparency=65535), ImageSpec(background=77)
    ).pixels
    assert pixels[..., 0].tolist() == [[0, 77], [1, 2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC or AVIF file: convert it"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "HEIC or AVIF file: convert it"),
        (b"\r\n<!DOCTYPE html><html>", "HTML, XML or SVG"),
        (b"<svg xmlns='x'/>", "HTML, XML or SVG"),
        (b"\xef\xbb\xbf<html>", "HTML, XML or SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"%PDF-1.4", "not a PNG, JPEG, WebP, BMP, GIF or TIFF"),
        (b"\xff", "not a PNG, JPEG, WebP, BMP, GIF or TIFF"),
    ],
)
def test_what_is_no_picture_is_named(content, message):
    with pytest.raises(FileError, match=message):
        decode(content)
