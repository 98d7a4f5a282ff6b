"""Letters and digits from type: 28x28 greys, other typefaces in the test split.

Drawn from the text fonts that matplotlib ships, each in a random pose and weight. The
training splits know DejaVu (sans, mono, serif) and STIX, a Times, upright and slanted,
light and bold: 16 fonts. The test split is set in Computer Modern alone: roman, bold,
italic, sans and typewriter, 5 fonts, from which no training image is drawn. The test
accuracy therefore says how well a network reads a typeface that it never saw.

Some characters of one alphabet look like others once each is scaled to the same box, as
it is here: `o`, `O` and `0`, say. Those are one class. Which ones was measured, see
`CLASSES`.
"""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont, features

from jaxnets.data.dataset import DataError, Dataset, Feature, Split, carved
from jaxnets.data.generated import fields
from jaxnets.data.generated.draws import uniforms
from jaxnets.data.pictures import channel_statistics
from jaxnets.data.store.cache import cached

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

MERGED = ("0Oo", "Il", "Cc", "Ss", "Vv", "Ww", "Xx", "Zz")
"""Characters that share a class, because nothing but their size or their font tells.

Measured on the training fonts as they are drawn here: for every pair, a support vector
machine learned three families (of sans, mono, serif, Times; 400 images a character and
family) and was asked about the fourth. Knowing gives an error of 0, guessing 0.5; pairs
above 0.25, half-way, share a class. These are `I l` 0.27, `0 O` 0.30, `W w` 0.36, and
the others of the groups from 0.39 (`V v`) to 0.46 (`C c`); `0 o`, with 0.20, comes in
through `O`. The closest pairs that stay apart are `1 l` with 0.19, `1 I` 0.15, `J j`
0.13, `0 Q` 0.10, `l t` and `O Q` 0.09, and `U u` 0.06.
"""

CLASSES = tuple(
    next((group for group in MERGED if character in group), character)
    for character in CHARACTERS
    if not any(character in group[1:] for group in MERGED)
)
"""The 53 classes; each is named by all the characters in it."""

TRAIN_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
)
TEST_FONTS = ("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")

SIDE = 28
_BODY = 20.0  # pixels that the longer side of a character fills before it is varied
_VERSION = 1  # of everything that decides a pixel; a change makes a new cache entry


def glyphs(*, train: int = 60_000, test: int = 10_000) -> Dataset:
    """54,011 images to train on, 5,989 to validate on, 10,000 to test on; no download.

    Generated on first use and cached. The columns are `image`, white on black, and
    `label`; the classes are balanced to within one image in each block of `CLASSES`.
    A smaller set holds the first images of the larger one.

    The pixels depend on the fonts, and in places on the versions of Pillow and FreeType
    that draw them: all three are part of the cache's key, and `Dataset.digest` is what
    a run records.

    Args:
        train: Images from the training fonts; a tenth of each class is held out as the
            validation split.
        test: Images from the test fonts.

    Raises:
        DataError: If fewer images are asked for than leave one of each class in every
            split, or matplotlib's fonts are not as expected.
    """
    least = 10 * len(CLASSES)
    if train < least or test < len(CLASSES):
        raise DataError(
            f"glyphs needs at least {least} training and {len(CLASSES)} test images, "
            f"not {train} and {test}"
        )

    def make() -> dict[str, np.ndarray]:
        train_images, train_labels = draw(TRAIN_FONTS, train, "train")
        test_images, test_labels = draw(TEST_FONTS, test, "test")
        return {
            "train_image": train_images,
            "train_label": train_labels,
            "test_image": test_images,
            "test_label": test_labels,
        }

    key = {
        "version": _VERSION,
        "train": train,
        "test": test,
        "pillow": PIL.__version__,
        "freetype": features.version("freetype2") or "unknown",
        "fonts": _fonts_digest(),
        "classes": " ".join(CLASSES),
    }
    arrays = cached("glyphs", key, make)
    everything = Split(
        {
            "image": arrays["train_image"],
            "label": arrays["train_label"].astype(np.int32),
        },
        [f"train {i}" for i in range(train)],
    )
    keep, hold = carved(arrays["train_label"], 0.1, salt="glyphs")
    mean, std = channel_statistics(arrays["train_image"][keep])
    return Dataset(
        name="glyphs",
        features={
            "image": Feature((SIDE, SIDE, 1), "uint8", 0, 255),
            "label": Feature((), "int32", 0, len(CLASSES) - 1, CLASSES),
        },
        train=everything.take(keep),
        validation=everything.take(hold),
        test=Split(
            {
                "image": arrays["test_image"],
                "label": arrays["test_label"].astype(np.int32),
            },
            [f"test {i}" for i in range(test)],
        ),
        mean=mean,
        std=std,
    )


def draw(
    fonts: tuple[str, ...],
    count: int,
    name: str,
    classes: tuple[str, ...] = CLASSES,
) -> tuple[UInt8[np.ndarray, "n 28 28 1"], UInt8[np.ndarray, " n"]]:
    """Images of random characters in random fonts, poses and weights; their classes.

    A longer side of 20 pixels is scaled by 0.8 to 1.1, its aspect by a factor of up to
    1.12, turned by up to 12 degrees, sheared by up to 0.2, moved by up to 1.5 pixels;
    the outline moves by up to 0.7 pixels out or in, never so far that a stroke breaks.

    Args:
        fonts: Stems of matplotlib's font files.
        count: How many images.
        name: Another name, other draws.
        classes: The characters of each class, as a string.
    """
    drawn = np.stack([field for font in fonts for field in font_fields(font)])
    labels = _balanced(count, len(classes), f"glyphs {_VERSION} {name} classes")
    u = uniforms(f"glyphs {_VERSION} {name}", (count, 12))
    characters = np.array(
        [
            CHARACTERS.index(classes[k][int(v * len(classes[k]))])
            for k, v in zip(labels, u[:, 0], strict=True)
        ]
    )
    which = (u[:, 1] * len(fonts)).astype(int) * len(CHARACTERS) + characters
    chunks = [
        _pose(drawn, which[i : i + 500], u[i : i + 500, 2:])
        for i in range(0, count, 500)
    ]
    return np.concatenate(chunks)[..., None], labels.astype(np.uint8)


def font_fields(font: str) -> Float[np.ndarray, "characters side side"]:
    """The signed distance fields of all characters, in units of their longer side.

    Args:
        font: The stem of one of matplotlib's font files.

    Raises:
        DataError: If the font is not there, lacks a character, or draws two of them
            with the same picture, as a font without letters does.
    """
    path = font_folder() / f"{font}.ttf"
    if not path.is_file():
        raise DataError(f"glyphs needs the font {path}, which matplotlib 3.9 ships")
    pictures = [_picture(path, character) for character in CHARACTERS]
    if len({picture.tobytes() for picture in pictures}) < len(CHARACTERS):
        raise DataError(f"{path} draws different characters alike")
    unit = fields.SPAN / fields.SIDE
    return np.stack([fields.signed_distance(picture) * unit for picture in pictures])


def font_folder() -> Path:
    """Where matplotlib keeps its fonts; found without importing it.

    Raises:
        DataError: If matplotlib is not installed.
    """
    found = importlib.util.find_spec("matplotlib")
    places = found.submodule_search_locations if found else None
    if not places:
        raise DataError("glyphs are drawn from matplotlib's fonts: install matplotlib")
    return Path(places[0]) / "mpl-data" / "fonts" / "ttf"


def _fonts_digest() -> str:
    sha = hashlib.sha256()
    for font in TRAIN_FONTS + TEST_FONTS:
        path = font_folder() / f"{font}.ttf"
        if not path.is_file():
            raise DataError(f"glyphs needs the font {path}, which matplotlib 3.9 ships")
        sha.update(path.read_bytes())
    return sha.hexdigest()


def _picture(path: Path, character: str) -> np.ndarray:
    """Where the ink is, the longer side filling 1 / SPAN of the picture, centred."""
    body = fields.SIDE / fields.SPAN
    size = body
    for _ in range(2):  # twice, because hinting does not scale
        ink = _ink(path, character, size)
        size *= body / max(ink.shape)
    ink = _ink(path, character, size)
    picture = np.zeros((fields.SIDE, fields.SIDE), bool)
    y, x = ((fields.SIDE - length) // 2 for length in ink.shape)
    picture[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return picture


def _ink(path: Path, character: str, size: float) -> np.ndarray:
    """Where a character has ink, without an empty margin."""
    # Pillow's own measures of a text reach to where the next letter would begin.
    layout = ImageFont.Layout.BASIC  # the same with and without Raqm installed
    font = ImageFont.truetype(str(path), size, layout_engine=layout)
    canvas = Image.new("L", (4 * fields.SIDE, 4 * fields.SIDE))
    at = (1.5 * fields.SIDE, 2.5 * fields.SIDE)
    ImageDraw.Draw(canvas).text(at, character, fill=255, font=font, anchor="ls")
    inside = np.asarray(canvas) >= 128
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise DataError(f"{path} has no ink for {character!r}")
    return inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _balanced(count: int, classes: int, name: str) -> Int[np.ndarray, " n"]:
    """Labels: a new order of all classes in every block of that many."""
    blocks = -(-count // classes)
    ranks = uniforms(name, (blocks, classes))
    return np.argsort(ranks, axis=1, kind="stable").reshape(-1)[:count]


def _pose(
    drawn: Float[np.ndarray, "forms side side"],
    which: Int[np.ndarray, " n"],
    u: Float[np.ndarray, "n 10"],
) -> UInt8[np.ndarray, "n 28 28"]:
    """Images of `drawn[which]`, each in the pose and weight that its row of u says."""

    def between(column: int, low: int | float, high: int | float) -> np.ndarray:
        return low + (high - low) * u[:, column]

    body = _BODY * between(0, 0.8, 1.1)
    aspect = 1.12 ** between(1, -1, 1)
    maps = fields.affine(
        body * aspect,
        body / aspect,
        np.deg2rad(between(2, -12, 12)),
        between(3, -0.2, 0.2),
    )
    moved = np.stack([between(4, -1.5, 1.5), between(5, -1.5, 1.5)], -1)
    line = np.arange(SIDE) - (SIDE - 1) / 2
    pixels = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    points = np.einsum("nij,npj->npi", maps, pixels - moved[:, None])
    distance = fields.sample(drawn, which, points) * body[:, None]
    half_stroke = drawn.max(axis=(1, 2))[which] * body
    shift = np.maximum(between(6, -0.7, 0.7), np.minimum(0, 0.6 - half_stroke))
    softness = between(7, 0.8, 1.6)
    ink = between(8, 0.6, 1.0)
    grey = np.clip(0.5 + (distance + shift[:, None]) / softness[:, None], 0, 1)
    image = np.round(255 * ink[:, None] * grey)
    return image.reshape(-1, SIDE, SIDE).astype(np.uint8)
