"""Labelled images in local folders: a folder a class, a folder a split."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import (
    SPLITS,
    Part,
    Survey,
    assembled,
    pictures,
    reading,
    split_of,
)
from jaxnets.data.files.places import composed
from jaxnets.data.files.problems import FileError, printable
from jaxnets.data.files.reading import (
    PROGRAM_FOLDERS,
    existing_folder,
    is_hidden,
    is_open_folder,
    visible,
    walk,
)
from jaxnets.data.names import Names
from jaxnets.data.pictures import Fit, ImageSpec
from jaxnets.data.store.looking import Keep

_PHONES_AND_TOOLS = ".heic .heif .avif .jxl .jp2 .psd .svg .ppm .pgm .tga"
_CAMERAS_AND_SCIENCE = ".ico .pdf .dng .cr2 .nef .arw .exr .npy .dcm"
OTHER_IMAGES = (*_PHONES_AND_TOOLS.split(), *_CAMERAS_AND_SCIENCE.split())


class _Class(NamedTuple):
    """The images of a class in a split of the source."""

    split: str
    label: str
    files: Names


def image_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    held_out: float = 0.1,
    fewest: int = 1,
    skip_bad: bool = False,
    keep: Keep = "auto",
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
        fit: How to bring them there; see `images.ImageSpec`.
        held_out: Share of the training images for each split that is missing.
        fewest: Classes that there must be; one that tells classes apart needs 2.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image`, uint8 `[n, h, w, c]`, and `label`; ids are the files' names,
        with escapes where a name cannot be printed.

    Raises:
        DataError: At any problem that may not be skipped; with their number, and the
            names of the first five. Several shapes and too few classes never may.
    """
    picture = ImageSpec(size, channels, fit)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    found = how.survey
    root = existing_folder(root)
    name = printable(root.name)
    listed = _in_one_form(_tree(root, found))
    if hidden := _hidden_images(root):
        found.notes.append(
            f"{len(hidden)} images are left out, because their names or folders begin "
            f"with a dot, like {printable(hidden[0])}: rename them to use them"
        )
    names = Names.joined([group.files for group in listed])
    of = np.repeat(np.arange(len(listed)), [len(group.files) for group in listed])
    # All splits at once, so that without a size they must agree with each other.
    images = pictures(root, names, how)
    of = of[images.kept]
    good = np.bincount(of, minlength=len(listed)).tolist()
    classes = _classes(listed, good, found)
    number = {label: i for i, label in enumerate(classes)}
    numbers = np.array([number.get(g.label, -1) for g in listed], np.int32)
    parts: dict[str, Part] = {}
    for split in dict.fromkeys(("train", *(group.split for group in listed))):
        mine = np.array([group.split == split for group in listed], bool)
        index = np.flatnonzero((mine & (numbers >= 0))[of])
        labels = numbers[of[index]]
        columns = {"image": images.rows(index), "label": labels}
        ids = names.take(images.kept[index]).mapped(printable)
        parts[split] = Part(columns, ids, labels)
    for group, count in zip(listed, good, strict=True):
        if group.label in number:
            found.classes[group.label] += count
    left_by_shape = size is None and len(found.shapes) > 1  # what is left says nothing
    if 0 < len(classes) < fewest and not left_by_shape:
        found.add(name, _too_few(root, classes), "classes")
    if not how.quiet:
        _stop_at_unskippable(found, skip_bad=skip_bad)
    features = {
        "image": images.feature,
        "label": Feature((), "int32", 0, len(classes) - 1, tuple(classes)),
    }
    return assembled(
        name,
        features,
        parts,
        how,
    )


def _hidden_images(root: Path) -> list[str]:
    """Images that nobody asked to hide: not the copies that programs leave behind."""
    hidden = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_copy(name))
        inner = os.path.relpath(place, root)
        names = [os.path.normpath(os.path.join(inner, name)) for name in sorted(files)]
        hidden += [
            name
            for name in names
            if name.lower().endswith(SUFFIXES)
            and not _is_copy(os.path.basename(name))
            and any(map(is_hidden, name.split("/")))
        ]
    return hidden


def _is_copy(name: str) -> bool:
    """Whether a program made this hidden file or folder, not a person."""
    return is_hidden(name) and (
        not name.startswith(".") or name.startswith("._") or name in PROGRAM_FOLDERS
    )


def _in_one_form(listed: Sequence[_Class]) -> list[_Class]:
    """The classes, each spelled as in train: systems differ in NFC and NFD."""
    training = {group.label for group in listed if group.split == "train"}
    spelled = {composed(label): label for label in sorted(training)}

    def spelling(label: str) -> str:
        return label if label in training else spelled.get(composed(label), label)

    return [group._replace(label=spelling(group.label)) for group in listed]


def _classes(
    listed: Sequence[_Class], good: Sequence[int], survey: Survey
) -> tuple[str, ...]:
    """The classes that training can learn, in order; what else there is, is a problem.

    Args:
        listed: The classes of every split.
        good: How many images of each can be used.
        survey: Takes problems and notes.
    """
    counted = Counter[str]()
    for group, count in zip(listed, good, strict=True):
        if group.split != "train" and count:
            counted[group.label] += count
    of_train = zip(listed, good, strict=True)
    training = sorted(
        {g.label for g, count in of_train if g.split == "train" and count}
    )
    for label in sorted(set(counted) - set(training)):
        survey.add(
            label,
            "this class is in another split but not in train "
            f"({counted[label]} images)",
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
    try:
        deeper = [path.name for path in visible(root / classes[0]) if path.is_dir()]
    except FileError:  # below a split, or its name is not the class's to the byte
        return what
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


def _tree(root: Path, survey: Survey) -> list[_Class]:
    """The classes of each split; all are `train` where there are no splits."""
    folders = _subfolders(root, root, survey)
    splits = _splits(folders, survey)
    listed: list[_Class] = []
    inner: set[tuple[str, str]] = set()  # class, folder below it
    for split in sorted(splits, key=list(SPLITS).index) or ["train"]:
        place, before = _unwrapped(splits.get(split, root), root), len(listed)
        for folder in folders if place == root else _subfolders(root, place, survey):
            files = [
                file
                for file in walk(root, folder, survey.problems)
                if _is_image(file, survey)
            ]
            own = folder.relative_to(root).as_posix()
            if not files:
                survey.add(own, "is empty: it holds no image", "label")
                continue
            label = printable(folder.name)
            places = {file.rpartition("/")[0] for file in files}
            inner |= {(label, deeper) for deeper in places if deeper != own}
            listed.append(_Class(split, label, Names.of(files)))
        if len(listed) == before:
            survey.add(
                place.name, "holds no folder of images: CLASS/name.png", "layout"
            )
    _note_nested(inner, survey)
    return listed


def _note_nested(inner: Collection[tuple[str, str]], survey: Survey) -> None:
    """Says that folders below a class are no classes, in case they were meant to be."""
    if inner:
        labels = sorted({label for label, _ in inner})
        shown = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
        survey.notes.append(
            f"nested folders: those below {shown} ({len(inner)}) are read as "
            f"{len(labels)} class{'es' if len(labels) > 1 else ''}"
        )


def _unwrapped(place: Path, root: Path) -> Path:
    """The folder of classes in a split that an archive packed twice: `train/train`."""
    inner = place / place.name
    try:
        alone = [path.name for path in visible(place)] == [place.name]
    except FileError:
        return place  # reported by those who read it
    if place == root or not alone or not is_open_folder(inner):
        return place
    return place if _holds_images(inner) else inner


def _splits(folders: Sequence[Path], survey: Survey) -> dict[str, Path]:
    """Split to folder; none if the folders are classes.

    Folders called `train` and `test` are splits. `training_set` and `test_set` are, if
    they hold folders: with images in them they are classes.
    """
    by_words = _splits_by_words(folders, survey)
    named = [f for f in folders if f in by_words or split_of(f.name) is not None]
    flat = [f for f in named if _holds_images(f)]
    names = ", ".join(f"`{f.name}`" for f in flat)
    if flat and len(flat) == len(named) < len(folders):
        survey.notes.append(f"{names} read as a class: images lie directly in it")
        return {}
    for folder in flat:
        survey.add(folder.name, "is a split, which holds CLASS/name.png", "layout")
    splits: dict[str, Path] = {}
    for folder in folders if named else ():
        split = split_of(folder.name) or by_words.get(folder)
        if split is None:
            survey.add(
                folder.name, "lies beside the splits: move it elsewhere", "layout"
            )
        elif splits.setdefault(split, folder) != folder:
            survey.add(folder.name, "is a second folder of one split", "layout")
    return splits


def _splits_by_words(folders: Sequence[Path], survey: Survey) -> dict[Path, str]:
    """The splits of folders whose names have a word for one: `seg_train`, `Test Set`.

    There must be two splits at least, that of folders called just `train` included.
    With images in them, `train_images` and `test_images` are splits without classes,
    `train_station` and `test_tube` are classes.
    """
    found = {f: split for f in folders if (split := _split_in(f.name)) is not None}
    wordy = [f for f in found if split_of(f.name) is None]
    if not wordy or len(set(found.values())) < 2:
        return {}
    names = ", ".join(f"`{f.name}`" for f in wordy)
    if all(map(_holds_images, wordy)) and len({_rest_of(f.name) for f in found}) > 1:
        survey.notes.append(f"{names} read as classes: images lie directly in them")
        return {}
    survey.notes.append(f"{names} read as {', '.join(found[f] for f in wordy)}")
    return {f: found[f] for f in wordy}


def _split_in(name: str) -> str | None:
    """The split that the words of a name mean, if they do not mean two."""
    splits = {split_of(word) for word in _words(name)} - {None}
    return splits.pop() if len(splits) == 1 else None


def _rest_of(name: str) -> tuple[str, ...]:
    """The words of a name that mean no split, in lower case."""
    return tuple(word.lower() for word in _words(name) if split_of(word) is None)


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name)


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
    known = name.lower().endswith(OTHER_IMAGES)
    remedy = "convert it to JPEG or PNG" if known else "remove it"
    survey.add(name, f"is not called {', '.join(SUFFIXES)}: {remedy}")
    return False
