"""Data sets from local folders: labelled images, captioned images, and by their looks.

Whatever is wrong with a file is a problem with a name. By default the first look at the
data stops there, with a count; `skip_bad=True` leaves bad examples out and says how
many. `python -m jaxnets.data check` lists them all. Nothing outside the folder is read.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnets.data.coco import coco_folder, is_coco
from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.images import SUFFIXES, Fit, Picture
from jaxnets.data.labelled_lines import labelled_lines, looks_labelled
from jaxnets.data.loading import (
    SPLITS,
    Part,
    Survey,
    assembled,
    image_feature,
    pictures,
    read_json,
    read_rows,
    split_of,
)
from jaxnets.data.reading import (
    FileError,
    existing_folder,
    inside,
    is_text,
    printable,
    visible,
    walk,
)
from jaxnets.data.sentences import as_texts, sentence_pairs, text_files
from jaxnets.data.voc import voc_folder

_OTHER_IMAGES = (
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".psd",
        ".svg",
        ".ppm",
        ".pgm",
        ".tga",
    ),
    *(".ico", ".pdf", ".dng", ".cr2", ".nef", ".arw", ".exr", ".npy", ".dcm"),
)
_IMAGE_NAMES = ("image", "file_name", "filename", "file", "path", "image_name")
_CAPTION_NAMES = ("caption", "captions", "text", "sentence", "comment")


def image_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    held_out: float = 0.1,
    fewest: int = 1,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Labelled images from a tree `class/name.png`, or `train/class/name.png`.

    Classes are numbered in the order of their names. Of the splits, `train` is needed
    when there is any; `validation` (or `val`) and `test` are carved from it by a hash,
    stratified, where they are missing. A split holds folders, a class holds images: a
    folder `train` with images beside other classes is a class, which is said. Below a
    class, folders may be nested. Hidden files are passed over; see `reading.is_hidden`.

    Args:
        root: Of the tree.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How to bring them there; see `images.Picture`.
        held_out: Share of the training images for each split that is missing.
        fewest: Classes that there must be; one that tells classes apart needs 2.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image`, uint8 `[n, h, w, c]`, and `label`; ids are the files' names,
        with escapes where a name cannot be printed.

    Raises:
        DataError: At any problem that may not be skipped; with their number, and the
            names of the first five. Several shapes and too few classes never may.
    """
    found, quiet = survey if survey is not None else Survey(), survey is not None
    root = existing_folder(root)
    name = printable(root.name)
    listed = _tree(root, found)
    picture = Picture(size, channels, fit)
    parts: dict[str, Part] = {}
    every = [(split, *row) for split, rows in listed.items() for row in rows]
    # All splits at once, so that without a size they must agree with each other.
    images = pictures(root, [row[1] for row in every], picture, found)
    rows = [every[i] for i in images.kept]
    classes = _classes(rows, found)
    number = {label: i for i, label in enumerate(classes)}
    for split in listed:
        index = np.array(
            [i for i, r in enumerate(rows) if r[0] == split and r[2] in number],
            np.int64,
        )
        labels = np.array([number[rows[i][2]] for i in index], np.int32)
        ids = [printable(rows[i][1]) for i in index]
        whole = len(index) == len(images.pixels)
        pixels = images.pixels if whole else images.pixels[index]
        parts[split] = Part({"image": pixels, "label": labels}, ids, labels)
        found.classes.update(rows[i][2] for i in index)
    if 0 < len(classes) < fewest:
        found.add(name, _too_few(root, classes), "classes")
    if not quiet:
        _stop_at_unskippable(found, skip_bad=skip_bad)
    features = {
        "image": image_feature(images.pixels),
        "label": Feature((), "int32", 0, len(classes) - 1, tuple(classes)),
    }
    return assembled(
        name,
        features,
        parts,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )


def _classes(rows: Sequence[tuple[str, str, str]], survey: Survey) -> tuple[str, ...]:
    """The classes that training can learn, in order; what else there is, is a problem.

    Args:
        rows: Split, file and class of every image that can be used.
        survey: Takes problems and notes.
    """
    training = sorted({label for split, _, label in rows if split == "train"})
    others = Counter(label for split, _, label in rows if split != "train")
    for label in sorted(set(others) - set(training)):
        survey.add(
            label,
            f"this class is in another split but not in train ({others[label]} images)",
            "label",
        )
    alike = Counter(_caseless(label) for label in training)
    twins = [label for label in training if alike[_caseless(label)] > 1]
    if twins:
        survey.notes.append(f"these classes differ by case only: {', '.join(twins)}")
    return tuple(training)


def _too_few(root: Path, classes: Sequence[str]) -> str:
    """The message about a single class, with the folder that may have been meant."""
    what = f"has one class, {classes[0]}: telling classes apart needs two"
    deeper = [path.name for path in visible(root / classes[0]) if path.is_dir()]
    if len(deeper) < 2:
        return what
    return f"{what}. Its folders look like classes: give {root.name}/{classes[0]}"


def _stop_at_unskippable(survey: Survey, *, skip_bad: bool) -> None:
    """Raises at what no skipping mends; among other problems, `settle` lists it too."""
    stops = [p for p in survey.problems if p.kind in ("shape", "classes")]
    if stops and (skip_bad or len(stops) == len(survey.problems)):
        raise DataError("; ".join(map(str, stops)))


def _caseless(label: str) -> str:
    return unicodedata.normalize("NFKC", label).casefold()


def _tree(root: Path, survey: Survey) -> dict[str, list[tuple[str, str]]]:
    """(file, class) of each split; `train` is everything where there are no splits."""
    folders = _subfolders(root, root, survey)
    splits = _splits(folders, survey)
    listed = {}
    for split in sorted(splits, key=list(SPLITS).index) or ["train"]:
        place = splits.get(split, root)
        rows: list[tuple[str, str]] = []
        for folder in folders if place == root else _subfolders(root, place, survey):
            files = [
                file
                for file in walk(root, folder, survey.problems)
                if _is_image(file, survey)
            ]
            if not files:
                where = folder.relative_to(root).as_posix()
                survey.add(where, "is empty: it holds no image", "label")
            rows += [(file, printable(folder.name)) for file in files]
        if rows or split == "train":
            listed[split] = rows
        if not rows:
            survey.add(
                place.name, "holds no folder of images: CLASS/name.png", "layout"
            )
    listed.setdefault("train", [])
    return listed


def _splits(folders: Sequence[Path], survey: Survey) -> dict[str, Path]:
    """Split to folder; none if the folders are classes."""
    named = [f for f in folders if split_of(f.name) is not None]
    flat = [f for f in named if _holds_images(f)]
    names = ", ".join(f"`{f.name}`" for f in flat)
    if flat and len(flat) == len(named) < len(folders):
        survey.notes.append(f"{names} read as a class: images lie directly in it")
        return {}
    for folder in flat:
        survey.add(folder.name, "is a split, which holds CLASS/name.png", "layout")
    splits: dict[str, Path] = {}
    for folder in folders if named else ():
        split = split_of(folder.name)
        if split is None:
            survey.add(folder.name, "lies beside the splits", "layout")
        elif splits.setdefault(split, folder) != folder:
            survey.add(folder.name, "is a second folder of one split", "layout")
    return splits


def _holds_images(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in SUFFIXES for path in visible(folder))
    except FileError:
        return False  # reported by those who read it


def _subfolders(root: Path, folder: Path, survey: Survey) -> list[Path]:
    """The folders in a folder; images beside them are one problem."""
    found, loose = [], []
    try:
        paths = visible(folder)
    except FileError as error:
        survey.add(folder.relative_to(root).as_posix(), str(error))
        return []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if os.path.isdir(path) and path.is_symlink():
            survey.add(name, "is a link to a folder")
        elif os.path.isdir(path):
            found.append(path)
        elif path.suffix.lower() in SUFFIXES:
            loose.append(name)
    if loose:
        more = f", like {len(loose) - 1} more" if len(loose) > 1 else ""
        survey.add(
            loose[0],
            f"lies outside any class{more}: put it into a folder named after its class",
            "layout",
        )
    return found


def _is_image(name: str, survey: Survey) -> bool:
    if name.lower().endswith(SUFFIXES):
        return True
    known = name.lower().endswith(_OTHER_IMAGES)
    remedy = "convert it to JPEG or PNG" if known else "remove it"
    survey.add(name, f"is not called {', '.join(SUFFIXES)}: {remedy}")
    return False


class _Captioned(NamedTuple):
    """One row of a caption file."""

    where: str
    image: Any
    captions: Any
    split: Any


def captioned_folder(
    root: Path,
    file: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    held_out: float = 0.1,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Images and sentences about them, listed in a CSV or JSON file.

    A CSV has a header with `image` and `caption`, and perhaps `split`; an image may
    have several rows. A JSON file is a list of objects with these keys, or one object
    from image to its captions. Images lie beside the file or in `images/`.

    Args:
        root: The folder.
        file: The list, relative to it; None if there is only one `.csv` or `.json`.
        size: As in `image_folder`, like the arguments after it.
        channels: 3 for colour, 1 for grey.
        fit: How images are brought to the size.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image` and `captions`, a tuple of strings an image; ids are the images'
        names as the file has them.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    found, quiet = survey or Survey(), survey is not None
    name = _checked_root(root).name
    chosen = file or _only(root, (".csv", ".json"))
    captions: dict[str, list[str]] = {}
    split_by: dict[str, str] = {}
    try:
        for row in _caption_rows(root, chosen, found):
            _take_caption(row, captions, split_by, found)
    except FileError as error:
        found.add(chosen, str(error))
    names = list(captions)
    files = [_beside(root, image) for image in names]
    images = pictures(root, files, Picture(size, channels, fit), found)
    parts = {}
    splits = {split_by[image] for image in names} | {"train"}
    for split in (s for s in SPLITS if s in splits):
        index = [j for j, i in enumerate(images.kept) if split_by[names[i]] == split]
        ids = [names[images.kept[j]] for j in index]
        columns = {
            "image": images.pixels[np.array(index, np.int64)],
            "captions": as_texts([tuple(captions[image]) for image in ids]),
        }
        parts[split] = Part(columns, ids, np.zeros(len(ids), np.int32))
    features = {
        "image": image_feature(images.pixels),
        "captions": Feature((), "object"),
    }
    return assembled(
        name,
        features,
        parts,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )


def _caption_rows(root: Path, name: str, survey: Survey) -> list[_Captioned]:
    if name.lower().endswith(".json"):
        value = read_json(root, name)
        if isinstance(value, dict):
            return [
                _Captioned(f"{name}, {key!r}", key, captions, None)
                for key, captions in value.items()
            ]
        if not isinstance(value, list):
            raise FileError("is neither a list nor an object")
        return [
            _Captioned(
                f"{name}, row {i}",
                _first(row, _IMAGE_NAMES),
                _first(row, _CAPTION_NAMES),
                row.get("split") if isinstance(row, dict) else None,
            )
            for i, row in enumerate(value)
        ]
    rows = read_rows(root, name, ",", survey)
    where, header = next(rows, (name, []))
    columns = [word.strip().lower() for word in header]
    image, caption = (
        next((columns.index(n) for n in names if n in columns), None)
        for names in (_IMAGE_NAMES, _CAPTION_NAMES)
    )
    if image is None or caption is None:
        raise FileError(f"has the header {header}, without `image` and `caption`")
    split = columns.index("split") if "split" in columns else None
    listed = []
    for where, row in rows:
        if len(row) != len(columns):
            survey.add(where, f"has {len(row)} fields, not {len(columns)}", "text")
            continue
        said = None if split is None else row[split]
        listed.append(_Captioned(where, row[image], row[caption], said))
    return listed


def _first(row: Any, names: Sequence[str]) -> Any:
    if not isinstance(row, dict):
        return None
    return next((row[name] for name in names if name in row), None)


def _take_caption(
    row: _Captioned,
    captions: dict[str, list[str]],
    split_by: dict[str, str],
    survey: Survey,
) -> None:
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
    if split_by.setdefault(row.image, split) != split:
        return survey.add(row.where, f"puts {row.image} into a second split", "text")
    captions.setdefault(row.image, []).extend(texts)
    return None


def _beside(root: Path, name: str) -> str:
    """The name itself, or the one in `images/` if only that is there."""
    try:
        there = inside(root, name).exists()
    except FileError:
        return name  # reported when it is read
    return name if there or not (root / "images" / name).exists() else f"images/{name}"


def folder(path: Path, **options: Any) -> Dataset:
    """The data set that a path holds, by its looks; see `kind_of`.

    Args:
        path: A folder, or a file.
        **options: For the function of that kind.

    Raises:
        DataError: If it looks like nothing known, or anything is wrong with it.
    """
    return KINDS[kind_of(path)](path, **options)


def kind_of(path: Path) -> str:
    """What a path looks like: a key of `KINDS`.

    Raises:
        DataError: If it is missing or looks like none of them.
    """
    if path.is_file():
        kinds = {".tsv": "pairs", ".txt": "text"}
        if path.suffix.lower() in (".tsv", ".csv") and looks_labelled(path):
            return "labels"
        if path.suffix.lower() in kinds:
            return kinds[path.suffix.lower()]
        raise DataError(
            f"{path} is a file; give the folder, a .tsv or .txt file, or a .csv with a "
            "header such as `text,label`"
        )
    _checked_root(path)
    if (path / "Annotations").is_dir():
        return "voc"
    if is_coco(path):
        return "coco"
    suffixes = {p.suffix.lower() for p in path.iterdir() if p.is_file()}
    tables = [p for p in path.glob("[!.]*") if p.suffix.lower() in (".tsv", ".csv")]
    if tables and looks_labelled(min(tables)):
        return "labels"
    if suffixes & {".csv", ".json"}:
        return "captions"
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if folders:
        return "images"
    if ".tsv" in suffixes:
        return "pairs"
    if ".txt" in suffixes:
        return "text"
    raise DataError(
        f"{path} looks like no data set: expected class/name.png, a .csv or .json of "
        "captions, COCO's or VOC's annotations, .txt files or a .tsv of sentence pairs"
    )


def _checked_root(root: Path) -> Path:
    return existing_folder(root)


def _only(root: Path, suffixes: tuple[str, ...]) -> str:
    names = sorted(p.name for p in root.iterdir() if p.suffix.lower() in suffixes)
    if len(names) != 1:
        raise DataError(f"{root}: name the file to read, of {names or 'none'}")
    return names[0]


KINDS: dict[str, Callable[..., Dataset]] = {
    "images": image_folder,
    "captions": captioned_folder,
    "coco": coco_folder,
    "voc": voc_folder,
    "pairs": sentence_pairs,
    "labels": labelled_lines,
    "text": text_files,
}
