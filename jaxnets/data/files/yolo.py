"""Data sets in the format of YOLO: a text file of boxes or outlines for each image.

Redmon, Divvala, Girshick & Farhadi, "You only look once: unified, real-time object
detection", 2016, https://arxiv.org/abs/1506.02640; the format and the layouts at
https://docs.ultralytics.com/datasets/detect/ and .../segment/.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import SPLITS, Survey, reading
from jaxnets.data.files.objects import (
    AnnotatedImage,
    AnnotatedObject,
    annotated,
    checked_box,
    measured_images,
)
from jaxnets.data.files.outlines import outline
from jaxnets.data.files.places import composed, say_unlisted
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside, read_text, walk
from jaxnets.data.files.yolo_places import (
    NUMBER,
    LabelPlace,
    YoloHeader,
    header_of,
    label_files,
    labels_of,
    looks_like_boxes,
)
from jaxnets.data.pictures import Fit, ImageSpec
from jaxnets.data.store.looking import Keep

_CACHES = (".cache", ".npy")  # Ultralytics writes them beside the data


def yolo_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "stretch",
    masks: bool = False,
    held_out: float = 0.1,
    skip_bad: bool = False,
    keep: Keep = "auto",
    survey: Survey | None = None,
) -> Dataset:
    """Images with `class x y width height` lines, as shares of the image.

    Images lie in `images/SPLIT` and text files in `labels/SPLIT`, or in `SPLIT/images`
    and `SPLIT/labels` (Roboflow), or without splits, or text files beside images, as in
    `obj_train_data` (CVAT); else where `data.yaml` says, by folders or by text files
    that list images. Lines of 7 or more numbers are outlines. An image without a
    text file shows no object. Names come from `data.yaml`, `classes.txt` or
    `obj.names`. EXIF tags turn the images, as in Ultralytics' programs. An image with a
    bad line is left out whole.

    Args:
        root: The folder.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, add black bars, or cut the middle out.
        masks: Also make a column `masks`, drawn when asked; boxes have empty ones.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns as in `coco_folder`; nothing is ignored. Ids are the images' names.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    picture = ImageSpec(size, channels, fit)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    found = how.survey
    header = header_of(root)
    if not header.places:
        raise DataError(f"{root} has no folder `images` beside `labels`, nor data.yaml")
    for note in header.notes:
        noted(root.name, note)
    for where, image in header.missing:
        found.add(where, f"there is no image {image}", "layout")
    scenes: dict[str, list[AnnotatedImage]] = {
        place.split: [] for place in header.places
    }
    pairs = [_pairs(root, place, found) for place in header.places]
    measured = measured_images(root, [image for rows in pairs for image in rows], how)
    sizes = measured.sizes  # the survey has the reason where one is missing
    for place, rows in zip(header.places, pairs, strict=True):
        known = {image: text for image, text in rows.items() if image in sizes}
        scenes[place.split] += _scenes(root, known, sizes, header, found)
    numbers = {
        thing.label for rows in scenes.values() for s in rows for thing in s.things
    }
    if not header.names:
        noted(
            root.name, "no data.yaml or classes.txt: classes are called by their number"
        )
    made = annotated(
        root.resolve().name,
        root,
        {split: scenes[split] for split in SPLITS if split in scenes},
        header.names or sorted(numbers, key=int),
        how,
        masks=masks,
        measured=measured,
    )
    listed = [name for place in header.places for name in place.only or ()]
    say_unlisted(root, listed, "add them to the lists that data.yaml names")
    return made


def _pairs(root: Path, place: LabelPlace, survey: Survey) -> dict[str, str | None]:
    """The text file of each image; None: it has none and shows no object.

    Text files without an image are problems.
    """
    texts = label_files(root, place)
    images = _stems(root, place.images, survey)
    if place.only is not None:  # the others are counted once, for all lists
        texts = {
            s: text
            for s, text in texts.items()
            if s not in images or images[s] in place.only
        }
        images = {s: name for s, name in images.items() if name in place.only}
    beside = place.images == place.labels
    for stem in sorted(texts.keys() - images.keys()):
        if not beside or looks_like_boxes(root, texts[stem]):
            survey.add(texts[stem], f"has no image {place.images}/{stem}", "layout")
    if without := images.keys() - texts.keys():
        noted(
            root.name,
            f"{len(without)} of {len(images)} images in {place.images or '.'} have no "
            f"file in {place.labels or '.'}: they show no object",
        )
    return {image: texts.get(stem) for stem, image in images.items()}


def _scenes(
    root: Path,
    pairs: Mapping[str, str | None],
    sizes: Mapping[str, tuple[int, int]],
    header: YoloHeader,
    survey: Survey,
) -> Iterator[AnnotatedImage]:
    """The images whose lines are all sound."""
    for image, text in pairs.items():
        size = sizes[image]
        try:
            things = _things(root, text, header, size) if text else []
        except FileError as error:
            survey.add(text or image, str(error), "box")
            continue
        yield AnnotatedImage(image, image, size, things)


def _stems(root: Path, folder: str, survey: Survey) -> dict[str, str]:
    """Images below a folder by stem in NFC; in one for images others are problems."""
    images = {}
    beside = folder == labels_of(folder)  # text files and more lie there, too
    for name in walk(root, root / folder, survey.problems):
        inner = name.removeprefix(f"{folder}/")
        stem, _, suffix = inner.rpartition(".")
        if not folder and "/" in inner:
            continue
        if f".{suffix.lower()}" in SUFFIXES:
            images[composed(stem)] = name
        elif not beside and f".{suffix}" not in _CACHES:
            survey.add(name, f"is not called {', '.join(SUFFIXES)}")
    return images


def _things(
    root: Path, name: str, header: YoloHeader, size: tuple[int, int]
) -> list[AnnotatedObject]:
    """The objects of a text file; an empty file has none."""
    path = inside(root, name)
    if path.is_file() and not path.stat().st_size:
        return []
    things = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not (words := line.split()):
            continue
        try:
            things.append(_thing(words, header, size))
        except FileError as error:
            raise FileError(f"line {number}: {error}") from None
    return things


def _thing(
    words: Sequence[str], header: YoloHeader, size: tuple[int, int]
) -> AnnotatedObject:
    for word in words:
        if not NUMBER.fullmatch(word):
            raise FileError(f"holds {word[:40]!r}, which is no number")
    label, *values = (float(word) for word in words)
    name = _class(label, header.names)
    if header.keypoints:
        values = values[:4]
    if len(values) < 4 or (len(values) > 4 and len(values) % 2):
        raise FileError(
            f"has {len(words)} columns; a box has 5 (class, x and y of the centre, "
            "width, height), an outline 7, 9 or more; predictions with a confidence "
            "are no annotations"
        )
    height, width = size
    try:
        if len(values) > 4:
            return _outlined(values, name, size)
        x, y, w, h = (
            v * side for v, side in zip(values, (width, height) * 2, strict=True)
        )
        return AnnotatedObject(
            checked_box((y - h / 2, x - w / 2, y + h / 2, x + w / 2), size), name
        )
    except FileError as error:
        shares = "" if max(values) <= 1 else "; values are shares of the image, 0 to 1"
        raise FileError(f"{error}{shares}") from None


def _outlined(
    values: Sequence[float], name: str, size: tuple[int, int]
) -> AnnotatedObject:
    """An object by its outline x0 y0 x1 y1 ..., with the box around it."""
    height, width = size
    corners = [v * (width, height)[i % 2] for i, v in enumerate(values)]
    shape = outline([corners], size)
    x, y = corners[::2], corners[1::2]
    return AnnotatedObject(
        checked_box((min(y), min(x), max(y), max(x)), size), name, outline=shape
    )


def _class(label: float, names: Sequence[str]) -> str:
    """The class of the first column.

    Raises:
        FileError: If it is no whole number from 0, or there is no name for it.
    """
    if not math.isfinite(label) or label < 0 or label % 1:
        raise FileError(f"has the class {label:g}, not a whole number from 0")
    if names and label >= len(names):
        raise FileError(f"has the class {label:.0f}; allowed are 0 to {len(names) - 1}")
    return names[int(label)] if names else str(int(label))
