"""Captioned images in local folders: tables, JSON, or a text beside each image."""

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.files.caption_lists import (
    lists_in,
    lists_of,
    rows_beside_images,
    rows_of,
)
from jaxnets.data.files.caption_rows import CaptionRow
from jaxnets.data.files.coco import coco_captions
from jaxnets.data.files.coco_files import caption_files
from jaxnets.data.files.loading import (
    SPLITS,
    Part,
    Survey,
    assembled,
    pictures,
    reading,
    split_of,
)
from jaxnets.data.files.places import ImageFinder, say_unlisted
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import (
    existing_folder,
    is_open_folder,
    is_text,
)
from jaxnets.data.files.sentences import as_texts
from jaxnets.data.pictures import Fit, ImageSpec
from jaxnets.data.store.looking import Keep

# Where sets of captions have their images; the misspelling is the original's.
_IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_FORMS = "expected a table image,caption or JSON, or name.txt beside name.jpg"


def captioned_folder(
    root: Path,
    file: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    held_out: float = 0.1,
    skip_bad: bool = False,
    keep: Keep = "auto",
    survey: Survey | None = None,
) -> Dataset:
    """Images and sentences about them, listed in a file.

    The list is a table with a header that has `image` and `caption`, and perhaps
    `split` (CSV, TSV, Kaggle's `captions.txt`); a list of JSON objects with these keys,
    or JSON lines; one JSON object from image to its captions; a token file
    (`name#0 TAB caption`); Karpathy's JSON; or COCO's captions. An image may have
    several rows. Without a list, `name.txt` beside `name.jpg` holds captions, one a
    line. Images lie beside the list, in `images/`, or in the only folder there is.

    Args:
        root: The folder.
        file: The list, relative to it; None if there is only one.
        size: As in `image_folder`, like the arguments after it.
        channels: 3 for colour, 1 for grey.
        fit: How images are brought to the size.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image` and `captions`, a tuple of strings an image; ids are the images'
        names as the file has them, or their paths where several files are read.

    Raises:
        DataError: At any problem that may not be skipped, or if there are several
            lists and none is chosen.
    """
    picture = ImageSpec(size, channels, fit)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    if root.is_file():
        raise DataError(
            f"{root} is a file: give its folder, {root.parent}, and the list of "
            f"captions by --captions {shlex.quote(root.name)}"
        )
    name = existing_folder(root).name
    coco = caption_files(root)
    if file in coco.values() or (file is None and coco and not lists_in(root)):
        chosen = {s: f for s, f in coco.items() if file in (None, f)}
        return coco_captions(root, chosen, how)
    told = _told(root, lists_of(root, file), how.survey)
    images = pictures(root, list(told), how)
    kept = [list(told.values())[i] for i in images.kept]
    parts = {}
    splits = {image.split for image in told.values()} | {"train"}
    for split in (s for s in SPLITS if s in splits):
        index = [j for j, image in enumerate(kept) if image.split == split]
        columns = {
            "image": images.rows(index),
            "captions": as_texts([tuple(kept[j].captions) for j in index]),
        }
        ids = [kept[j].identity for j in index]
        parts[split] = Part(columns, ids, np.zeros(len(ids), np.int32))
    features = {
        "image": images.feature,
        "captions": Feature((), "object"),
    }
    made = assembled(name, features, parts, how)
    if skip_bad or not how.survey.problems:
        say_unlisted(root, told, "add their captions to use them")
    return made


class _Told(NamedTuple):
    """An image and what the lists say of it."""

    name: str  # as the list has it
    identity: str
    split: str
    captions: list[str]


def _told(
    root: Path, lists: Mapping[str, str | None], survey: Survey
) -> dict[str, _Told]:
    """The images of all lists, by file; without a list, of the text files."""
    told: dict[str, _Told] = {}
    if not lists:
        for row in rows_beside_images(root, survey):
            _take(row, str(row.image), str(row.image), told, survey)
    for file, split in lists.items():
        inner = _folders_of_split(root, split) if split else []
        places = ImageFinder(root, [*inner, *_image_folders(root, file)])
        try:
            for row in rows_of(root, file, survey):
                image = places.find(row.image) if is_text(row.image) else ""
                identity = image if len(lists) > 1 else str(row.image)
                said = row.split or split or _split_of_folder(image)
                _take(row._replace(split=said), image, identity, told, survey)
        except FileError as error:
            survey.add(file, str(error))
    if not told and not survey.problems:
        survey.add(root.name, f"holds no captions: {_FORMS}", "layout")
    return told


def _split_of_folder(image: str) -> str | None:
    """The split of an image's folder: of `train/1.jpg`, of `images/val/1.jpg`."""
    parts = image.removeprefix("images/").split("/")
    return split_of(parts[0]) if len(parts) > 1 else None


def _take(
    row: CaptionRow, image: str, identity: str, told: dict[str, _Told], survey: Survey
) -> None:
    """Adds a row to what is told of its image, or a problem."""
    texts = row.captions if isinstance(row.captions, list) else [row.captions]
    if not is_text(row.image):
        return survey.add(row.where, f"names no image: {row.image!r}", "text")
    for text in texts:
        if not is_text(text):
            return survey.add(row.where, f"has no text as a caption: {text!r}", "text")
    if not texts:
        return survey.add(row.where, "has no caption", "text")
    split = "train" if row.split is None else split_of(str(row.split))
    if split is None:
        return survey.add(row.where, f"has the unknown split {row.split!r}", "text")
    before = told.setdefault(image, _Told(row.image, identity, split, []))
    if before.split != split:
        return survey.add(row.where, f"puts {row.image} into a second split", "text")
    if before.name != row.image:
        what = f"means {image} by {row.image!r}, as {before.name!r} does"
        return survey.add(row.where, what, "text")
    before.captions.extend(texts)
    return None


def _folders_of_split(root: Path, split: str) -> list[str]:
    """Where a list that is a split may have its images: `val/`, `images/val/`."""
    found = [p for place in ("*", "images/*") for p in root.glob(place)]
    folders = [p for p in found if split_of(p.name) == split and is_open_folder(p)]
    return sorted(p.relative_to(root).as_posix() for p in folders)


def _image_folders(root: Path, file: str) -> list[str]:
    """Where images of a list may lie: beside it, in folders of that name, or alone."""
    beside = PurePosixPath(file).parent.as_posix().removeprefix(".")
    places = [beside, f"{beside}/images".lstrip("/"), "", *_IMAGE_FOLDERS]
    only = root
    while len(inner := [p for p in only.iterdir() if is_open_folder(p)]) == 1:
        (only,) = inner
        places.append(only.relative_to(root).as_posix())
    return places
