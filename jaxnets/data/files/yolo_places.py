"""Where the images and labels of a YOLO data set lie, by what its files say."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxnets.data.files.loading import split_of
from jaxnets.data.files.places import ImageFinder, composed
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside, is_text, lines_of, read_text, walk
from jaxnets.data.files.yaml_keys import names_of, scalar_of, top_keys

_LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # of classes, one a line
_KEYS = {"train": "train", "val": "validation", "test": "test"}  # of data.yaml
_CVAT = re.compile(r"obj_(.+)_data", re.IGNORECASE)
_FIRST = 2**12  # bytes, enough for a line


class LabelPlace(NamedTuple):
    """Where images and their text files lie, relative to the root."""

    split: str
    images: str
    labels: str
    only: frozenset[str] | None = None  # the images that a list names; None: all


class YoloHeader(NamedTuple):
    """What is said of the whole set."""

    names: list[str]  # of the classes; empty if nothing is said
    keypoints: bool  # behind every box there are points, which are not read
    places: list[LabelPlace]
    notes: list[str]  # how data.yaml was read
    missing: list[tuple[str, str]]  # a place in a list, and the image it names


def is_yolo(root: Path) -> bool:
    """Whether a folder holds text files of boxes where those of YOLO lie."""
    try:
        places = header_of(root).places
    except FileError:
        return True  # the reader says what is wrong with data.yaml
    return any(
        looks_like_boxes(root, text)
        for place in places
        for text in label_files(root, place).values()
    )


def looks_like_boxes(root: Path, name: str) -> bool:
    """Whether the first line has five numbers or more."""
    try:
        with inside(root, name).open("rb") as file:
            words = file.read(_FIRST).split(b"\n")[0].decode("ascii", "replace").split()
    except (OSError, FileError):
        return False
    return len(words) > 4 and all(NUMBER.fullmatch(word) for word in words)


def header_of(root: Path) -> YoloHeader:
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
    return YoloHeader(names, "kpt_shape" in keys, places, notes, missing)


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
) -> list[LabelPlace]:
    """The folders and lists of data.yaml, if something of `train` is inside the root.

    Args:
        root: The folder of the data set.
        keys: Of data.yaml.
        notes: Takes what is passed over.
        missing: Takes places in lists, and the images they name that are not there.

    Raises:
        FileError: As `_listed_places`.
    """
    places: list[LabelPlace] = []
    for key in (key for key in _KEYS if key in keys and "".join(keys[key]).strip()):
        for said in _paths_of(keys[key]):
            if said.lower().endswith(".txt"):
                places += _listed_places(root, key, said, notes, missing)
            elif (folder := _inner(root, said, os.path.isdir)) is None:
                notes.append(f"{key}: {said} is no folder here")
            elif folder in [place.images for place in places]:
                notes.append(f"{key}: {said} is the folder of another split, not used")
            else:
                places.append(LabelPlace(_KEYS[key], folder, labels_of(folder)))
    return places if any(place.split == "train" for place in places) else []


def _paths_of(lines: Sequence[str]) -> list[str]:
    """The path behind a key, or its list of paths."""
    several = lines[0].lstrip().startswith("[") or any(map(str.strip, lines[1:]))
    return names_of(lines) if several else [scalar_of(lines)]


def _listed_places(
    root: Path, key: str, said: str, notes: list[str], missing: list[tuple[str, str]]
) -> list[LabelPlace]:
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
        LabelPlace(_KEYS[key], folder, labels_of(folder), frozenset(names))
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


def labels_of(images: str) -> str:
    """`labels` in the place of the last `images`; else the same folder."""
    parts = images.split("/")
    for i in reversed(range(len(parts))):
        if parts[i] == "images":
            return "/".join([*parts[:i], "labels", *parts[i + 1 :]])
    return images


def _usual_places(root: Path) -> list[LabelPlace]:
    """Of `images/SPLIT`, `SPLIT/images`, `SPLIT`, `images` and the root the first.

    `SPLIT` is a folder called like one, or CVAT's `obj_SPLIT_data`.
    """
    for pattern in ("images/{}", "{}/images", "{}"):
        parent = root / "images" if pattern == "images/{}" else root
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        folders = {n: pattern.format(n) for n in names if _split_of(n)}
        places = [
            LabelPlace(_split_of(name) or "", folder, labels_of(folder))
            for name, folder in folders.items()
            if (root / folder).is_dir()
        ]
        if any(_has_texts(root / place.labels, "**/*.txt") for place in places):
            return places
    for folder in ("images", ""):
        if _has_texts(root / labels_of(folder)) and (root / folder).is_dir():
            return [LabelPlace("train", folder, labels_of(folder))]
    return []


def _split_of(folder: str) -> str | None:
    found = _CVAT.fullmatch(folder)
    return split_of(found[1] if found else folder)


def _has_texts(folder: Path, pattern: str = "*.txt") -> bool:
    return folder.is_dir() and next(folder.glob(pattern), None) is not None


NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def label_files(root: Path, place: LabelPlace) -> dict[str, str]:
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
