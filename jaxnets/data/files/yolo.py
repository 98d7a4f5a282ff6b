"""Data sets in the format of YOLO: a text file of boxes or outlines for each image.

Redmon, Divvala, Girshick & Farhadi, "You only look once: unified, real-time object
detection", 2016, https://arxiv.org/abs/1506.02640; the format and the layouts at
https://docs.ultralytics.com/datasets/detect/ and .../segment/.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.images import SUFFIXES, ImageSpec
from jaxnets.data.files.loading import SPLITS, Survey, split_of
from jaxnets.data.files.objects import (
    AnnotatedImage,
    AnnotatedObject,
    annotated,
    checked_box,
    picture_size,
)
from jaxnets.data.files.outlines import outline
from jaxnets.data.files.places import ImageFinder, composed, say_unlisted
from jaxnets.data.files.reading import (
    FileError,
    inside,
    is_text,
    lines_of,
    noted,
    read_text,
    walk,
)
from jaxnets.data.files.yaml_keys import names_of, scalar_of, top_keys

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # of classes, one a line
_KEYS = {"train": "train", "val": "validation", "test": "test"}  # of data.yaml
_CVAT = re.compile(r"obj_(.+)_data", re.IGNORECASE)
_FIRST = 2**12  # bytes, enough for a line
_CACHES = (".cache", ".npy")  # Ultralytics writes them beside the data


class _Place(NamedTuple):
    """Where images and their text files lie, relative to the root."""

    split: str
    images: str
    labels: str
    only: frozenset[str] | None = None  # the images that a list names; None: all


class _Header(NamedTuple):
    """What is said of the whole set."""

    names: list[str]  # of the classes; empty if nothing is said
    keypoints: bool  # behind every box there are points, which are not read
    places: list[_Place]
    notes: list[str]  # how data.yaml was read
    missing: list[tuple[str, str]]  # a place in a list, and the image it names


def yolo_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Literal["stretch", "pad"] = "stretch",
    masks: bool = False,
    held_out: float = 0.1,
    skip_bad: bool = False,
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
        fit: How: change the aspect ratio, or add black bars.
        masks: Also make a column `masks`, drawn when asked; boxes have empty ones.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns as in `coco_folder`; nothing is ignored. Ids are the images' names.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    found, quiet = survey or Survey(), survey is not None
    header = _header(root)
    if not header.places:
        raise DataError(f"{root} has no folder `images` beside `labels`, nor data.yaml")
    for note in header.notes:
        noted(root.name, note)
    for where, image in header.missing:
        found.add(where, f"there is no image {image}", "layout")
    scenes: dict[str, list[AnnotatedImage]] = {
        place.split: [] for place in header.places
    }
    for place in header.places:
        scenes[place.split] += _scenes(root, place, header, found)
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
        ImageSpec(size, channels, fit),
        masks=masks,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )
    listed = [name for place in header.places for name in place.only or ()]
    say_unlisted(root, listed, "add them to the lists that data.yaml names")
    return made


def is_yolo(root: Path) -> bool:
    """Whether a folder holds text files of boxes where those of YOLO lie."""
    try:
        places = _header(root).places
    except FileError:
        return True  # the reader says what is wrong with data.yaml
    return any(
        _looks_like_boxes(root, text)
        for place in places
        for text in _texts(root, place).values()
    )


def _looks_like_boxes(root: Path, name: str) -> bool:
    """Whether the first line has five numbers or more."""
    try:
        with inside(root, name).open("rb") as file:
            words = file.read(_FIRST).split(b"\n")[0].decode("ascii", "replace").split()
    except (OSError, FileError):
        return False
    return len(words) > 4 and all(_NUMBER.fullmatch(word) for word in words)


# --- what is said of the whole set ----------------------------------------------------


def _header(root: Path) -> _Header:
    """Names and places, from `data.yaml` if there is one.

    Raises:
        FileError: If it cannot be read.
    """
    file, keys = _yaml(root)
    try:
        names = names_of(keys["names"]) if "names" in keys else _listed_names(root)
        if "names" in keys and not names:
            raise FileError("names no class")
        if len(set(names)) < len(names) or not all(map(is_text, names)):
            raise FileError(f"has a name of a class twice, or an empty one: {names}")
        count = scalar_of(keys["nc"]) if "nc" in keys else str(len(names))
        if count != str(len(names)):
            raise FileError(f"says nc: {count}, and names {len(names)} classes")
        notes: list[str] = []
        missing: list[tuple[str, str]] = []
        places = _said_places(root, keys, notes, missing)
    except FileError as error:
        raise FileError(f"{file} {error}") from None
    places = places or _usual_places(root)
    notes = [f"{file}, {note}" for note in notes]
    return _Header(names, "kpt_shape" in keys, places, notes, missing)


def _yaml(root: Path) -> tuple[str, dict[str, list[str]]]:
    """The .yaml file that names classes, and the lines of its keys."""
    paths = [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    found = {}
    for path in (p for p in paths if not p.name.startswith(".")):
        try:
            keys = top_keys(read_text(inside(root, path.name)))
        except FileError as error:
            raise FileError(f"{path.name} {error}") from None
        if "names" in keys:
            found[path.name] = keys
    if len(found) > 1 and "data.yaml" not in found:
        raise FileError(f"{root}: {', '.join(found)} name classes: keep data.yaml only")
    name = "data.yaml" if "data.yaml" in found else next(iter(found), "data.yaml")
    return name, found.get(name, {})


def _listed_names(root: Path) -> list[str]:
    for place in ("", "labels/", "train/", "train/labels/", "labels/train/"):
        for name in _LISTS:
            if (root / place / name).is_file():
                lines = read_text(inside(root, place + name)).split("\n")
                return [line.strip() for line in lines if line.strip()]
    return []


def _said_places(
    root: Path,
    keys: Mapping[str, Sequence[str]],
    notes: list[str],
    missing: list[tuple[str, str]],
) -> list[_Place]:
    """The folders and lists of data.yaml, if something of `train` is inside the root.

    Args:
        root: The folder of the data set.
        keys: Of data.yaml.
        notes: Takes what is passed over.
        missing: Takes places in lists, and the images they name that are not there.

    Raises:
        FileError: As `_listed_places`.
    """
    places: list[_Place] = []
    for key in (key for key in _KEYS if key in keys and "".join(keys[key]).strip()):
        for said in _paths_of(keys[key]):
            if said.lower().endswith(".txt"):
                places += _listed_places(root, key, said, notes, missing)
            elif (folder := _inner(root, said, os.path.isdir)) is None:
                notes.append(f"{key}: {said} is no folder here")
            elif folder in [place.images for place in places]:
                notes.append(f"{key}: {said} is the folder of another split, not used")
            else:
                places.append(_Place(_KEYS[key], folder, _labels_of(folder)))
    return places if any(place.split == "train" for place in places) else []


def _paths_of(lines: Sequence[str]) -> list[str]:
    """The path behind a key, or its list of paths."""
    several = lines[0].lstrip().startswith("[") or any(map(str.strip, lines[1:]))
    return names_of(lines) if several else [scalar_of(lines)]


def _listed_places(
    root: Path, key: str, said: str, notes: list[str], missing: list[tuple[str, str]]
) -> list[_Place]:
    """The folders of the images that a text file lists, one a line.

    Raises:
        FileError: If none of its images is there; or if it is missing itself, and no
            folder is called like a split, so that all images would be trained on.
    """
    file = _inner(root, said, os.path.isfile)
    if file is None:
        if {place.split for place in _usual_places(root)} <= {"train"}:
            raise FileError(
                f"{key}: there is no list {said}: add it, or name a folder of images"
            )
        notes.append(f"{key}: {said} is no file here")
        return []
    within = ImageFinder(root, [_parent(file), ""])
    folders: dict[str, set[str]] = {}
    for number, line in enumerate(lines_of(read_text(inside(root, file))), 1):
        if not (written := line.strip()):
            continue
        image = _inner(root, written, os.path.isfile) or within.found(written)
        if image is None:
            missing.append((f"{file}, line {number}", written))
        else:
            folders.setdefault(_parent(image), set()).add(image)
    if not folders:
        raise FileError(f"{key}: {said} lists no image that is in this folder")
    return [
        _Place(_KEYS[key], folder, _labels_of(folder), frozenset(names))
        for folder, names in folders.items()
    ]


def _parent(name: str) -> str:
    """The folder of a file, relative to the same root."""
    return name.rpartition("/")[0]


def _inner(root: Path, said: str, there: Callable[[Path], bool]) -> str | None:
    """The folder or file that data.yaml means, relative to the root.

    The file names folders of the machine that wrote it: `../train/images`,
    `/home/me/set/images/val`. The longest end of the path that exists here counts.
    """
    parts = [p for p in PurePosixPath(said).parts if p not in ("..", "/")]
    for start in range(len(parts)):
        inner = PurePosixPath(*parts[start:]).as_posix()
        if there(root / inner):
            return inner
    return None


def _labels_of(images: str) -> str:
    """`labels` in the place of the last `images`; else the same folder."""
    parts = images.split("/")
    for i in reversed(range(len(parts))):
        if parts[i] == "images":
            return "/".join([*parts[:i], "labels", *parts[i + 1 :]])
    return images


def _usual_places(root: Path) -> list[_Place]:
    """Of `images/SPLIT`, `SPLIT/images`, `SPLIT`, `images` and the root the first.

    `SPLIT` is a folder called like one, or CVAT's `obj_SPLIT_data`.
    """
    for pattern in ("images/{}", "{}/images", "{}"):
        parent = root / "images" if pattern == "images/{}" else root
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        folders = {n: pattern.format(n) for n in names if _split_of(n)}
        places = [
            _Place(_split_of(name) or "", folder, _labels_of(folder))
            for name, folder in folders.items()
            if (root / folder).is_dir()
        ]
        if any(_has_texts(root / place.labels, "**/*.txt") for place in places):
            return places
    for folder in ("images", ""):
        if _has_texts(root / _labels_of(folder)) and (root / folder).is_dir():
            return [_Place("train", folder, _labels_of(folder))]
    return []


def _split_of(folder: str) -> str | None:
    found = _CVAT.fullmatch(folder)
    return split_of(found[1] if found else folder)


def _has_texts(folder: Path, pattern: str = "*.txt") -> bool:
    return folder.is_dir() and next(folder.glob(pattern), None) is not None


# --- images and lines -----------------------------------------------------------------


def _scenes(
    root: Path, place: _Place, header: _Header, survey: Survey
) -> Iterator[AnnotatedImage]:
    """The images whose lines are all sound; text files without one are problems."""
    texts = _texts(root, place)
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
        if not beside or _looks_like_boxes(root, texts[stem]):
            survey.add(texts[stem], f"has no image {place.images}/{stem}", "layout")
    if without := images.keys() - texts.keys():
        noted(
            root.name,
            f"{len(without)} of {len(images)} images in {place.images or '.'} have no "
            f"file in {place.labels or '.'}: they show no object",
        )
    for stem, image in images.items():
        text = texts.get(stem)
        try:
            size = picture_size(root, image, oriented=True)
            things = _things(root, text, header, size) if text else []
        except FileError as error:
            survey.add(text or image, str(error), "box")
            continue
        yield AnnotatedImage(image, image, size, things)


def _texts(root: Path, place: _Place) -> dict[str, str]:
    """Text files of a place by stem in NFC, relative to the folder."""
    folder = root / place.labels
    names = walk(root, folder, []) if folder.is_dir() else []
    if place.images == place.labels == "":
        names = [n for n in names if "/" not in n]
    return {
        composed(name[:-4].removeprefix(f"{place.labels}/")): name
        for name in names
        if name.lower().endswith(".txt") and name.rsplit("/", 1)[-1] not in _LISTS
    }


def _stems(root: Path, folder: str, survey: Survey) -> dict[str, str]:
    """Images below a folder by stem in NFC; in one for images others are problems."""
    images = {}
    beside = folder == _labels_of(folder)  # text files and more lie there, too
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
    root: Path, name: str, header: _Header, size: tuple[int, int]
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
    words: Sequence[str], header: _Header, size: tuple[int, int]
) -> AnnotatedObject:
    for word in words:
        if not _NUMBER.fullmatch(word):
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
