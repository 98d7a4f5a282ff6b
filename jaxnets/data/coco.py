"""Data sets in the format of COCO: objects with boxes and masks, or captions.

Lin et al., "Microsoft COCO: common objects in context", 2014,
https://arxiv.org/abs/1405.0312; the format at https://cocodataset.org/#format-data.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.images import Picture
from jaxnets.data.loading import (
    SPLITS,
    Part,
    Survey,
    assembled,
    image_feature,
    pictures,
    read_json,
    split_of,
)
from jaxnets.data.objects import Scene, Thing, annotated, checked_box
from jaxnets.data.outlines import outline
from jaxnets.data.reading import FileError, inside, is_text, read
from jaxnets.data.sentences import as_texts

_LARGEST_ID = 2**62
Task = Literal["instances", "captions"]


class _Image(NamedTuple):
    """An entry of `images`."""

    file: str
    size: tuple[int, int]
    annotations: list[tuple[str, Mapping[str, Any]]]  # place for messages, entry


def coco_folder(
    root: Path,
    *,
    task: Task = "instances",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Literal["stretch", "pad"] = "stretch",
    masks: bool = False,
    held_out: float = 0.1,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Images with annotations in COCO's JSON.

    The files are `instances_train2017.json`, `captions_val2017.json` and the like, in
    the folder or in `annotations/`; one file without a split in its name is all there
    is. Images lie in the folder, in `images/` or in one called like the split. An image
    with a bad annotation is left out whole: to learn from it would be to learn that
    nothing is there. EXIF tags do not turn images, since boxes count stored rows.

    Args:
        root: The folder.
        task: Which files, where there are both.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, or add black bars.
        masks: Also make a column `masks`, drawn when asked.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image`, `boxes` ([y0, x0, y1, x1] in pixels of the resized image),
        `label`, `present` (False is padding) and `ignore` (crowds), for n objects each,
        classes in the order of COCO's ids; or, of captions, `image` and `captions`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    found, quiet = survey or Survey(), survey is not None
    picture = Picture(size, channels, fit, oriented=False)
    read_files = {}
    for split, file in _files(root, task).items():
        try:
            read_files[split] = _contents(root, file, split, found)
        except FileError as error:
            found.add(file, str(error))
    listed = {split: images for split, (images, _) in read_files.items()}
    classes = _classes(read_files, found) if task == "instances" else {}
    ending: dict[str, Any] = {"held_out": held_out, "survey": found}
    ending |= {"skip_bad": skip_bad, "quiet": quiet}
    name = root.resolve().name
    if task == "captions":
        return _captioned(name, root, listed, picture, ending)
    scenes = {
        split: [
            Scene(f"{split} {key}", image.file, image.size, things)
            for key, image in images.items()
            if (things := _all(image, _reader(classes, image.size), found)) is not None
        ]
        for split, images in listed.items()
    }
    names = list(classes.values())
    return annotated(name, root, scenes, names, picture, masks=masks, **ending)


def is_coco(root: Path) -> bool:
    """Whether a folder holds a JSON file that looks like COCO's."""
    for name in _candidates(root):
        try:
            content = read(inside(root, name), limit=2**30)
        except FileError:
            continue
        if b'"images"' in content and b'"annotations"' in content:
            return True
    return False


def _candidates(root: Path) -> list[str]:
    places = [root, root / "annotations"]
    paths = [p for place in places if place.is_dir() for p in place.glob("*.json")]
    return sorted(p.relative_to(root).as_posix() for p in paths)


def _files(root: Path, task: Task) -> dict[str, str]:
    """Split to JSON file.

    Raises:
        DataError: If there is none, or two are for one split.
    """
    names = _candidates(root)
    stems = {name: Path(name).stem for name in names}
    chosen = [name for name in names if stems[name].startswith(f"{task}_")] or names
    found: dict[str, str] = {}
    for name in chosen:
        words = re.split(r"[_\-. ]", stems[name])
        split = next((s for word in words if (s := split_of(word))), "train")
        if split in found:
            raise DataError(f"{root}: both {found[split]} and {name} are for {split}")
        found[split] = name
    if not found:
        raise DataError(f"{root} holds no annotations: no .json, no annotations/")
    return found


def _contents(
    root: Path, file: str, split: str, survey: Survey
) -> tuple[dict[int, _Image], dict[int, str]]:
    """Images by id, and names of categories by id.

    Raises:
        FileError: If the file cannot be read or has another structure.
    """
    value = read_json(root, file)
    if not isinstance(value, dict):
        raise FileError("is not an object with `images` and `annotations`")
    entries = {key: value.get(key) for key in ("images", "annotations")}
    entries["categories"] = value.get("categories", [])
    for key, rows in entries.items():
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise FileError(f"has no list of objects `{key}`")
    images: dict[int, _Image] = {}
    folders = ("", "images", Path(file).stem.split("_")[-1], split)
    for i, row in enumerate(entries["images"] or []):
        where = f"{file}, image {row.get('id', f'number {i}')}"
        try:
            key = _whole(row, "id")
            if key in images:
                raise FileError("has an id that is there twice")
            size = _whole(row, "height", 1), _whole(row, "width", 1)
            name = _string(row, "file_name")
            images[key] = _Image(_placed(root, name, folders), size, [])
        except FileError as error:
            survey.add(where, str(error), "label")
    seen: set[int] = set()
    for i, row in enumerate(entries["annotations"] or []):
        where = f"{file}, annotation {row.get('id', f'number {i}')}"
        try:
            key = _whole(row, "id")
            if key in seen:
                raise FileError("has an id that is there twice")
            seen.add(key)
            image = _whole(row, "image_id")
            if image not in images:
                raise FileError(f"belongs to the image {image}, which is not listed")
            images[image].annotations.append((where, row))
        except FileError as error:
            survey.add(where, str(error), "label")
    categories: dict[int, str] = {}
    for i, row in enumerate(entries["categories"] or []):
        try:
            key, name = _whole(row, "id"), _string(row, "name")
            if key in categories or name in categories.values():
                raise FileError("has an id or name that is there twice")
            categories[key] = name
        except FileError as error:
            survey.add(f"{file}, category number {i}", str(error), "label")
    return images, dict(sorted(categories.items()))


def _classes(
    files: Mapping[str, tuple[Any, dict[int, str]]], survey: Survey
) -> dict[int, str]:
    """The categories, which all files must agree on."""
    kinds = {split: categories for split, (_, categories) in files.items()}
    first = next(iter(kinds.values()), {})
    for split, categories in kinds.items():
        if categories != first:
            survey.add(split, "has other categories than the first file", "label")
    if files and not first:
        survey.add(next(iter(files)), "lists no categories", "label")
    return first


def _all(
    image: _Image, read_one: Callable[[Mapping[str, Any]], Any], survey: Survey
) -> list[Any] | None:
    """What every annotation says; None if any of them is bad."""
    made, bad = [], False
    for where, row in image.annotations:
        try:
            made.append(read_one(row))
        except FileError as error:
            survey.add(where, str(error), "box")
            bad = True
    return None if bad else made


def _reader(
    classes: Mapping[int, str], size: tuple[int, int]
) -> Callable[[Mapping[str, Any]], Thing]:
    return lambda row: _thing(row, classes, size)


def _thing(
    row: Mapping[str, Any], classes: Mapping[int, str], size: tuple[int, int]
) -> Thing:
    category = _whole(row, "category_id")
    if category not in classes:
        raise FileError(f"has the category {category}; allowed are {list(classes)}")
    box = row.get("bbox")
    numbers = isinstance(box, list) and all(type(v) in (int, float) for v in box)
    if not numbers or not isinstance(box, list) or len(box) != 4:
        raise FileError(f"has no box of four numbers: {box!r}")
    x, y, width, height = (_float(v) for v in box)
    crowd = row.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise FileError(f"has iscrowd {crowd!r}, allowed are 0 and 1")
    segmentation = row.get("segmentation")
    return Thing(
        checked_box((y, x, y + height, x + width), size),
        classes[category],
        bool(crowd),
        outline(segmentation, size) if segmentation is not None else None,
    )


def _captioned(
    name: str,
    root: Path,
    listed: Mapping[str, Mapping[int, _Image]],
    picture: Picture,
    ending: Mapping[str, Any],
) -> Dataset:
    survey = ending["survey"]
    every: list[tuple[str, int, _Image, Sequence[str]]] = []
    for split, entries in listed.items():
        for key, image in entries.items():
            texts = _all(image, lambda row: _string(row, "caption"), survey)
            if texts:
                every.append((split, key, image, texts))
            elif texts is not None:
                survey.add(image.file, "has no caption", "text")
    images = pictures(root, [row[2].file for row in every], picture, survey)
    parts = {}
    for split in (s for s in SPLITS if s in listed or s == "train"):
        index = [j for j, i in enumerate(images.kept) if every[i][0] == split]
        rows = [every[images.kept[j]] for j in index]
        columns = {
            "image": images.pixels[np.array(index, np.int64)],
            "captions": as_texts([tuple(row[3]) for row in rows]),
        }
        ids = [f"{split} {row[1]}" for row in rows]
        parts[split] = Part(columns, ids, np.zeros(len(ids), np.int32))
    features = {
        "image": image_feature(images.pixels),
        "captions": Feature((), "object"),
    }
    return assembled(name, features, parts, **ending)


def _placed(root: Path, name: str, folders: Sequence[str]) -> str:
    for place in folders:
        path = f"{place}/{name}" if place else name
        if inside(root, path).exists():
            return path
    return name


def _float(value: float | int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise FileError("holds a whole number of hundreds of digits") from None


def _whole(row: Mapping[str, Any], key: str, low: int = 0) -> int:
    value = row.get(key)
    if type(value) is not int or not low <= value <= _LARGEST_ID:
        raise FileError(f"has {key} {value!r}, not a whole number from {low}")
    return value


def _string(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not is_text(value):
        raise FileError(f"has {key} {value!r}, not a text")
    return str(value)
