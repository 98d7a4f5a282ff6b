"""Annotated objects: validated boxes, labels and outlines become padded columns."""

import dataclasses
import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError

from jaxnets.data.dataset import Dataset, Feature
from jaxnets.data.files.images import too_large
from jaxnets.data.files.loading import (
    SPLITS,
    GoodImages,
    Part,
    Reading,
    Survey,
    assembled,
    pictures,
)
from jaxnets.data.files.outlines import Outline, rasterized
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside
from jaxnets.data.pictures import Placement

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag; its quarter turns
SLACK = 1.0  # pixels; a box that sticks out by less is rounded, and is cut off


class AnnotatedObject(NamedTuple):
    """One annotated object, in pixels of the image as it is stored."""

    box: tuple[float, float, float, float]  # [y0, x0, y1, x1]
    label: str
    ignore: bool = False  # neither learned nor counted: a crowd, a difficult one
    outline: Outline | None = None


class AnnotatedImage(NamedTuple):
    """One image and what is in it."""

    identity: str  # unique among all splits
    file: str  # relative to the root
    size: tuple[int, int]  # height and width, as the annotations say
    things: Sequence[AnnotatedObject]
    source: str = "its annotation"  # what says so, for messages


class MeasuredImages(NamedTuple):
    """Images whose size is known before their annotations are read.

    A later start takes the sizes from the album and opens no image.
    """

    images: GoodImages
    position: Mapping[str, int]  # of each file among the images

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each file that can be decoded."""
        seen = self.images.album.seen
        known = set(self.images.album.decodable.tolist())
        size = {p: (h, w) for p, (h, w) in enumerate(seen["original"].tolist())}
        return {file: size[p] for file, p in self.position.items() if p in known}


def measured_images(root: Path, files: Iterable[str], how: Reading) -> MeasuredImages:
    """Returns images with their sizes, for annotations that do not state these.

    Args:
        root: Nothing outside it is read.
        files: Relative to it. A file that is named twice is read once.
        how: How images are read; its survey takes problems and shapes.
    """
    names = list(dict.fromkeys(files))
    position = {name: i for i, name in enumerate(names)}
    return MeasuredImages(pictures(root, names, how), position)


@dataclasses.dataclass(frozen=True)
class Masks:
    """A column of masks, drawn when asked: `[n, h, w]` of bool an image.

    A pixel belongs to an object if its centre does.

    Attributes:
        outlines: Of the objects of each image; None for one that has none.
        placements: What became of each image.
        shape: Objects, height and width of every row.
        digest: A SHA-256 of the outlines.
    """

    outlines: Sequence[Sequence[Outline | None]]
    placements: Sequence[Placement]
    shape: tuple[int, int, int]
    digest: str

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.outlines)

    def __getitem__(self, index: Any, /) -> Bool[np.ndarray, "..."]:
        """The masks of the images at these positions, `[*index.shape, n, h, w]`."""
        chosen = np.arange(len(self))[index]
        rows = np.zeros((*chosen.shape, *self.shape), bool)
        for place in np.ndindex(chosen.shape):
            image = int(chosen[place])
            for i, outline in enumerate(self.outlines[image]):
                if outline is not None:
                    rows[(*place, i)] = rasterized(
                        outline, self.placements[image], self.shape[1:]
                    )
        return rows

    def rows_at(self, index: np.ndarray, /) -> "Masks":
        """The masks of some of the images, in this order."""
        rows = hashlib.sha256(np.ascontiguousarray(index).data).hexdigest()
        return Masks(
            [self.outlines[i] for i in index.tolist()],
            [self.placements[i] for i in index.tolist()],
            self.shape,
            f"{self.digest} {rows}",
        )

    @property
    def outlined(self) -> Bool[np.ndarray, "images n"]:
        """Which objects have an outline; the others have an empty mask."""
        made = np.zeros((len(self), self.shape[0]), bool)
        for row, outlines in zip(made, self.outlines, strict=True):
            row[: len(outlines)] = [outline is not None for outline in outlines]
        return made


def checked_box(
    box: Sequence[float | int], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The box [y0, x0, y1, x1], cut to the image where rounding made it stick out.

    Raises:
        FileError: If a number is not finite, the box is empty or turned over, or a
            pixel or more of it is outside the image.
    """
    y0, x0, y1, x1 = (float(v) for v in box)
    height, width = map(float, size)
    what = f"box [y0, x0, y1, x1] = {[round(v, 2) for v in (y0, x0, y1, x1)]}"
    if not all(math.isfinite(v) for v in (y0, x0, y1, x1)):
        raise FileError(f"{what} is not finite")
    if y1 <= y0 or x1 <= x0:
        raise FileError(f"{what} is empty or turned over")
    outside = max(-y0, -x0, y1 - height, x1 - width)
    if outside >= SLACK:
        raise FileError(
            f"{what} is not inside the image of {size[0]} x {size[1]} pixels"
        )
    y0, x0, y1, x1 = max(0.0, y0), max(0.0, x0), min(y1, height), min(x1, width)
    if y1 <= y0 or x1 <= x0:
        raise FileError(f"{what} is empty inside the image")
    return y0, x0, y1, x1


def picture_size(root: Path, file: str, *, oriented: bool) -> tuple[int, int]:
    """Height and width of an image, from its header.

    Args:
        root: Nothing outside it is read.
        file: Relative to it.
        oriented: As the EXIF tag turns the image; False: as it is stored.

    Raises:
        FileError: If there is no readable image.
    """
    path = inside(root, file)
    if not path.is_file():
        raise FileError(f"there is no image {file}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the decoder will see them again
            with (
                path.open("rb") as opened,
                Image.open(opened, formats=FORMATS) as image,
            ):
                height, width = image.height, image.width
                turned = oriented and image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS
    except UnidentifiedImageError:
        raise FileError(
            f"the image {file} has no header of a {', '.join(FORMATS)} file"
        ) from None
    except Image.DecompressionBombError as error:
        raise FileError(f"the image {file} {too_large(error)}") from None
    except Exception as error:  # damaged files raise anything
        raise FileError(f"the image {file} cannot be read: {error}") from None
    return (width, height) if turned else (height, width)


def annotated(
    name: str,
    root: Path,
    scenes: Mapping[str, Sequence[AnnotatedImage]],
    classes: Sequence[str],
    how: Reading,
    *,
    masks: bool,
    measured: MeasuredImages | None = None,
) -> Dataset:
    """The data set of these images, their objects padded to the largest number.

    Args:
        name: Of the data set.
        root: Folder of the images.
        scenes: Of each split that the source has.
        classes: Names of the labels, in order.
        how: How they are read, and what was found so far.
        masks: Also make the column `masks`.
        measured: These images and perhaps more, if their sizes were needed before.
    """
    every = [(split, scene) for split, rows in scenes.items() for scene in rows]
    measured = measured or measured_images(
        root, [scene.file for _, scene in every], how
    )
    images, every = _of_said_size(root, measured, every, how.survey)
    places, size = images.placements, images.size
    most = max((len(scene.things) for _, scene in every), default=0) or 1
    parts, left = {}, 0
    for split in (s for s in SPLITS if s in scenes or s == "train"):
        rows = [i for i, (own, _) in enumerate(every) if own == split]
        chosen = [every[i][1] for i in rows]
        placements = [places[i] for i in rows]
        columns: dict[str, Any] = {"image": images.rows(rows)}
        columns |= _columns(chosen, placements, classes, most, size)
        left += int(columns["present"].sum())
        if masks:
            columns["masks"] = _masks(chosen, placements, most, size)
        ids = [scene.identity for scene in chosen]
        parts[split] = Part(columns, ids, np.zeros(len(ids), np.int32))
        for scene in chosen:
            how.survey.classes.update(thing.label for thing in scene.things)
    _say_cut_off(sum(len(scene.things) for _, scene in every), left, how.survey)
    height, width = size
    features = {
        "image": images.feature,
        "boxes": Feature((most, 4), "float32", 0, max(height, width)),
        "label": Feature((most,), "int32", 0, len(classes) - 1, tuple(classes)),
        "present": Feature((most,), "bool"),
        "ignore": Feature((most,), "bool"),
    }
    if masks:
        features["masks"] = Feature((most, height, width), "bool")
    return assembled(name, features, parts, how)


def _of_said_size(
    root: Path,
    measured: MeasuredImages,
    every: Sequence[tuple[str, AnnotatedImage]],
    survey: Survey,
) -> tuple[GoodImages, list[tuple[str, AnnotatedImage]]]:
    """Those images that are as large as their annotations say, and their scenes."""
    kept, scenes = [], []
    usable, sizes = set(measured.images.kept.tolist()), measured.sizes
    for split, scene in every:
        if (position := measured.position[scene.file]) not in usable:
            continue
        said, have = scene.size, sizes[scene.file]
        if have == said:
            kept.append(position)
            scenes.append((split, scene))
            continue
        what = (
            f"has {have[0]} x {have[1]} pixels, {scene.source} says "
            f"{said[0]} x {said[1]}"
        )
        if said == have[::-1] == picture_size(root, scene.file, oriented=True):
            what += (
                ": it was annotated as its EXIF tag turns it; store it turned, for "
                "example by `mogrify -auto-orient`"
            )
        elif said == have[::-1]:
            what += f": {scene.source} has height and width the other way round"
        survey.add(scene.file, what, "shape")
    images = dataclasses.replace(measured.images, kept=np.array(kept, np.int64))
    return images, scenes


def _say_cut_off(objects: int, left: int, survey: Survey) -> None:
    if left < objects:
        survey.notes.append(
            f"{objects - left:,} of {objects:,} objects lie outside of what --fit crop "
            "cuts from the middle, and are left out; --fit pad keeps them"
        )


def _columns(
    scenes: Sequence[AnnotatedImage],
    placements: Sequence[Placement],
    classes: Sequence[str],
    most: int,
    size: tuple[int, ...],
) -> dict[str, np.ndarray]:
    rows = len(scenes)
    boxes = np.zeros((rows, most, 4), np.float32)
    label = np.zeros((rows, most), np.int32)
    present, ignore = np.zeros((rows, most), bool), np.zeros((rows, most), bool)
    number = {name: i for i, name in enumerate(classes)}
    for i, (scene, place) in enumerate(zip(scenes, placements, strict=True)):
        scale = np.array([place.scale_y, place.scale_x] * 2)
        shift = np.array([place.shift_y, place.shift_x] * 2)
        for j, thing in enumerate(scene.things):
            moved = np.clip(np.array(thing.box) * scale + shift, 0, [*size, *size])
            if (moved[2:] <= moved[:2]).any():  # cropping left nothing of it
                continue
            boxes[i, j] = moved
            label[i, j] = number[thing.label]
            present[i, j], ignore[i, j] = True, thing.ignore
    return {"boxes": boxes, "label": label, "present": present, "ignore": ignore}


def _masks(
    scenes: Sequence[AnnotatedImage],
    placements: Sequence[Placement],
    most: int,
    size: tuple[int, ...],
) -> Masks:
    outlines = [[thing.outline for thing in scene.things] for scene in scenes]
    numbers = lambda runs: runs.tolist()  # of arrays, as of tuples
    text = json.dumps([outlines, placements, most, size], default=numbers)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Masks(outlines, placements, (most, size[0], size[1]), digest)
