"""Data sets in the format of COCO: objects with boxes and masks, or captions.

Lin et al., "Microsoft COCO: common objects in context", 2014,
https://arxiv.org/abs/1405.0312; the format at https://cocodataset.org/#format-data.
The layouts of Roboflow, CVAT, FiftyOne and Ultralytics are read, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.files.coco_files import (
    AnnotationKind,
    candidates,
    files_of,
    looks_like_coco,
)
from jaxnets.data.files.foreign import foreign
from jaxnets.data.files.json_values import Id, as_float, identity_of, size_of, string_at
from jaxnets.data.files.loading import (
    SPLITS,
    Part,
    Reading,
    Survey,
    assembled,
    pictures,
    read_json,
    reading,
    split_of,
)
from jaxnets.data.files.objects import (
    AnnotatedImage,
    AnnotatedObject,
    annotated,
    checked_box,
    measured_images,
)
from jaxnets.data.files.outlines import outline
from jaxnets.data.files.places import ImageFinder, say_unlisted
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.sentences import as_texts
from jaxnets.data.pictures import Fit, ImageSpec
from jaxnets.data.store.looking import Keep


class _Image(NamedTuple):
    """An entry of `images`."""

    file: str
    size: tuple[int, int] | None  # height and width; None if the file says none
    annotations: list[tuple[str, Mapping[str, Any]]]  # place for messages, entry


class _Contents(NamedTuple):
    """What one JSON file holds."""

    file: str
    images: dict[Id, _Image]
    classes: dict[Id, str]


def coco_folder(
    root: Path,
    *,
    task: AnnotationKind = "instances",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "stretch",
    masks: bool = False,
    held_out: float = 0.1,
    skip_bad: bool = False,
    keep: Keep = "auto",
    survey: Survey | None = None,
) -> Dataset:
    """Images with annotations in COCO's JSON.

    The files are `instances_train2017.json`, `captions_val2017.json` and the like, in
    the folder or in `annotations/`, or one in each of `train/`, `valid/` and `test/`;
    one file without a split in its name is all there is. Images lie beside the file, in
    the folder, in `images/`, or in one called like the split, there or in `images/`. An
    image with a bad annotation is left out whole: to learn from it would be to learn
    that nothing is there. EXIF tags do not turn images, since boxes count stored rows.
    Ids are whole numbers or texts; "7" and 7.0 are 7.

    Args:
        root: The folder.
        task: Which files, where there are both.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, add black bars, or cut the middle out.
        masks: Also make a column `masks`, drawn when asked.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
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
    picture = ImageSpec(size, channels, fit, oriented=False)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    found = how.survey
    files = files_of(root, task)
    if task == "captions":
        return coco_captions(root, files, how)
    listed = _read(root, files, found)
    classes = _classes(listed, found)
    _note_ids(classes, found)
    every = [i for contents in listed.values() for i in contents.images.values()]
    images = [image.file for image in every]
    unsaid = any(image.size is None for image in every)
    measured = measured_images(root, images, how) if unsaid else None
    sizes = measured.sizes if measured else {}
    scenes = {
        split: list(_scenes(split, contents, sizes, classes, found))
        for split, contents in listed.items()
    }
    names, name = list(classes.values()), root.resolve().name
    made = annotated(name, root, scenes, names, how, masks=masks, measured=measured)
    say_unlisted(root, images, "add them to `images` to use them")
    return made


def coco_captions(
    root: Path,
    files: Mapping[str, str],
    how: Reading,
) -> Dataset:
    """Images with the captions of these files.

    Args:
        root: The folder.
        files: Split to JSON file; see `caption_files`.
        how: How they are read, and what was found so far.
    """
    every: list[tuple[str, Id, _Image, Sequence[str]]] = []
    listed, survey = _read(root, files, how.survey), how.survey
    for split, contents in listed.items():
        for key, image in contents.images.items():
            texts = _all(image, lambda row: string_at(row, "caption"), survey)
            if texts:
                every.append((split, key, image, texts))
            elif texts is not None:
                survey.add(image.file, "has no caption", "text")
    images = pictures(root, [row[2].file for row in every], how)
    parts = {}
    for split in (s for s in SPLITS if s in listed or s == "train"):
        index = [j for j, i in enumerate(images.kept) if every[i][0] == split]
        rows = [every[images.kept[j]] for j in index]
        columns = {
            "image": images.rows(index),
            "captions": as_texts([tuple(row[3]) for row in rows]),
        }
        ids = [f"{split} {row[1]}" for row in rows]
        parts[split] = Part(columns, ids, np.zeros(len(ids), np.int32))
    features = {
        "image": images.feature,
        "captions": Feature((), "object"),
    }
    return assembled(root.resolve().name, features, parts, how)


def is_coco(root: Path) -> bool:
    """Whether a folder holds a JSON file of objects that looks like COCO's."""
    return any(looks_like_coco(root, name, b'"bbox"') for name in candidates(root))


def _read(root: Path, files: Mapping[str, str], survey: Survey) -> dict[str, _Contents]:
    """What the file of each split holds."""
    made = {}
    owners: dict[str, str] = {}
    for split, file in files.items():
        try:
            made[split] = _contents(root, file, split, owners, survey)
        except FileError as error:
            survey.add(file, str(error))
    return made


def _contents(
    root: Path, file: str, split: str, owners: dict[str, str], survey: Survey
) -> _Contents:
    """Images with their annotations, and classes.

    Raises:
        FileError: If the file cannot be read or has another structure.
    """
    value = read_json(root, file)
    if refused := foreign(value):
        raise FileError(refused)
    if not isinstance(value, dict):
        raise FileError("is not an object with `images` and `annotations`")
    entries = {key: value.get(key) for key in ("images", "annotations")}
    entries["categories"] = value.get("categories") or []
    for key, rows in entries.items():
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise FileError(f"has no list of objects `{key}`")
    images = _images(root, file, split, entries["images"] or [], owners, survey)
    seen: set[Id] = set()
    for i, row in enumerate(entries["annotations"] or []):
        where = f"{file}, annotation {row.get('id', f'number {i}')}"
        try:
            if row.get("id") is not None:
                key = identity_of(row, "id")
                if key in seen:
                    raise FileError("has an id that is there twice")
                seen.add(key)
            image = identity_of(row, "image_id")
            if image not in images:
                raise FileError(f"belongs to the image {image}, which is not listed")
            images[image].annotations.append((where, row))
        except FileError as error:
            survey.add(where, str(error), "label")
    categories = _without_root(root, file, entries)
    return _Contents(file, images, _categories(file, categories, survey))


def _images(
    root: Path,
    file: str,
    split: str,
    rows: Sequence[Mapping[str, Any]],
    owners: dict[str, str],
    survey: Survey,
) -> dict[Id, _Image]:
    """The images by id; `owners` says which entry has which file, of all splits."""
    images: dict[Id, _Image] = {}
    places = ImageFinder(root, _image_folders(root, file, split))
    for i, row in enumerate(rows):
        where = f"{file}, image {row.get('id', f'number {i}')}"
        try:
            key = identity_of(row, "id")
            if key in images:
                raise FileError("has an id that is there twice")
            path = places.find(string_at(row, "file_name"))
            if owners.setdefault(path, where) != where:
                raise FileError(f"is the file {path}, as is {owners[path]}")
            images[key] = _Image(path, size_of(row), [])
        except FileError as error:
            survey.add(where, str(error), "label")
    return images


def _image_folders(root: Path, file: str, split: str) -> list[str]:
    """Where the images of a file may lie; those of its split come first."""
    path = PurePosixPath(file)
    beside, word = path.parent.as_posix().removeprefix("."), path.stem.split("_")[-1]
    own = [
        folder.relative_to(root).as_posix()
        for place in (root / "images", root)
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.name == word or split_of(folder.name) == split
    ]
    inner = [f"{folder}/images" for folder in own]
    return [beside, *own, *inner, "images", "data", "JPEGImages", ""]


def _without_root(
    root: Path, file: str, entries: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The categories but for the root of the others, which Roboflow numbers 0.

    The root has no object, and is what the others call their `supercategory`.
    """
    rows = entries["categories"]
    used = {str(row.get("category_id")) for row in entries["annotations"]}
    parents = [row.get("supercategory") for row in rows[1:]]
    first = rows[0] if rows else {}
    is_root = first.get("id") == 0 and first.get("supercategory") in ("none", None)
    if not is_root or used & {"0", "0.0"} or first.get("name") not in parents:
        return rows
    noted(
        root.name,
        f"{file}: the category {first.get('name')!r} (id 0) is the root of the others "
        "and has no object: it is no class",
    )
    return rows[1:]


def _categories(
    file: str, rows: Sequence[Mapping[str, Any]], survey: Survey
) -> dict[Id, str]:
    """Names by id, in the order of the ids: numbers first."""
    categories: dict[Id, str] = {}
    for i, row in enumerate(rows):
        try:
            key, name = identity_of(row, "id"), string_at(row, "name")
            if key in categories or name in categories.values():
                raise FileError("has an id or name that is there twice")
            categories[key] = name
        except FileError as error:
            survey.add(f"{file}, category number {i}", str(error), "label")
    ordered = sorted(categories, key=lambda k: (isinstance(k, str), k))
    return {key: categories[key] for key in ordered}


def _classes(listed: Mapping[str, _Contents], survey: Survey) -> dict[Id, str]:
    """The categories, which all files must agree on."""
    first = next((contents.classes for contents in listed.values()), {})
    for contents in listed.values():
        if contents.classes != first:
            survey.add(
                contents.file,
                f"has other categories than the first file: {contents.classes}, not "
                f"{first}",
                "label",
            )
    if listed and not first:
        survey.add(next(iter(listed.values())).file, "lists no categories", "label")
    return first


def _note_ids(classes: Mapping[Id, str], survey: Survey) -> None:
    """Says how categories become labels where their ids are not 1, 2, 3 and so on."""
    ids, last = list(classes), len(classes) - 1
    if ids and ids != list(range(1, len(ids) + 1)):
        shown = ", ".join(map(str, ids[:5])) + (", ..." if last > 4 else "")
        survey.notes.append(
            f"category ids are {shown}, not 1 to {len(ids)}: labels are 0 to {last}, "
            "in the order of the ids"
        )


def _scenes(
    split: str,
    contents: _Contents,
    sizes: Mapping[str, tuple[int, int]],
    classes: Mapping[Id, str],
    survey: Survey,
) -> Iterator[AnnotatedImage]:
    """The images of a split whose annotations are all sound.

    Args:
        split: Its name.
        contents: Of its file.
        sizes: Of the images whose size the file does not say.
        classes: Names by category id.
        survey: Takes problems.
    """
    for key, image in contents.images.items():
        size = image.size or sizes.get(image.file)
        if size is None:  # it cannot be read: the survey has the reason
            continue
        things = _all(image, lambda row, s=size: _thing(row, classes, s), survey)
        if things is not None:
            yield AnnotatedImage(f"{split} {key}", image.file, size, things)


def _all(image: _Image, read_one: Any, survey: Survey) -> list[Any] | None:
    """What every annotation says; None if any of them is bad."""
    made, bad = [], False
    for where, row in image.annotations:
        try:
            made.append(read_one(row))
        except FileError as error:
            survey.add(where, str(error), "box")
            bad = True
    return None if bad else made


def _thing(
    row: Mapping[str, Any], classes: Mapping[Id, str], size: tuple[int, int]
) -> AnnotatedObject:
    category = identity_of(row, "category_id")
    if category not in classes:
        raise FileError(f"has the category {category}; allowed are {list(classes)}")
    box = row.get("bbox")
    numbers = isinstance(box, list) and all(type(v) in (int, float) for v in box)
    if not numbers or not isinstance(box, list) or len(box) != 4:
        raise FileError(f"has no box of four numbers: {box!r}")
    x, y, width, height = (as_float(v) for v in box)
    crowd = 0 if row.get("iscrowd") is None else row["iscrowd"]
    if crowd not in (0, 1):
        raise FileError(f"has iscrowd {crowd!r}, allowed are 0 and 1")
    return AnnotatedObject(
        checked_box((y, x, y + height, x + width), size),
        classes[category],
        bool(crowd),
        outline(row.get("segmentation"), size),
    )
