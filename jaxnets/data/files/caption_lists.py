"""Lists of captions, as people and tools write them, become rows.

Read are tables with a header (CSV of any delimiter, Kaggle's `captions.txt`), token
files (`name.jpg#0 TAB caption`, Hodosh, Young & Hockenmaier, "Framing image description
as a ranking task", 2013, https://doi.org/10.1613/jair.3994), the JSON of Karpathy &
Fei-Fei, "Deep visual-semantic alignments for generating image descriptions", 2015,
https://arxiv.org/abs/1412.2306, other JSON, JSON lines (`metadata.jsonl` of Hugging
Face), and a text file beside each image. COCO's captions are read by `coco`.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from jaxnets.data.dataset import DataError
from jaxnets.data.files.caption_json import is_listing, is_row, json_rows, line_rows
from jaxnets.data.files.caption_rows import CaptionRow
from jaxnets.data.files.caption_tables import (
    ONLY_NUMBERS,
    TOKEN,
    columns_of,
    first_line,
    table_rows,
    token_rows,
)
from jaxnets.data.files.coco_files import caption_files
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import (
    Survey,
    parsed_json,
    read_json,
    split_of,
)
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside, read_text

_TABLES = (".csv", ".tsv", ".txt", ".token")
_LISTS = (".csv", ".json", ".jsonl")  # suffixes of lists for certain


def lists_of(root: Path, file: str | None) -> dict[str, str | None]:
    """The lists to read, and the split that the folder or name of each stands for.

    Lists called after different splits, `train.csv` and `val.csv`, are read together.
    Lists of lemmas, `Flickr8k.lemma.token.txt`, are passed over beside others.

    Args:
        root: The folder.
        file: The list, relative to it; None for the only one there is.

    Returns:
        Empty if there is none.

    Raises:
        DataError: If the file does not exist, or there are several to choose from.
    """
    found = lists_in(root)
    coco = list(caption_files(root).values())
    if file is not None:
        if not inside(root, file).is_file():
            there = ", ".join([*found, *coco]) or "none"
            raise DataError(f"{root} has no list of captions {file}; there is: {there}")
        return {file: None}
    found = _without_lemmas(root, found)
    here = [name for name in found if "/" not in name]
    if len(here) > 1 and not coco and (by_name := _splits_by_name(here)):
        read = ", ".join(f"{name} is {split}" for name, split in by_name.items())
        noted(root.name, f"the lists are read as splits: {read}")
        return by_name
    if len(here) > 1 or (found and coco):
        raise DataError(
            f"{root} has several lists of captions, {', '.join([*found, *coco])}: "
            f"choose one, for example --captions {shlex.quote(found[0])}"
        )
    if not found:  # the reader says what is wrong with the first
        found = [f for f in _visible(root) if f.lower().endswith(_LISTS)][:1]
    return {name: split_of(name.split("/")[0]) for name in found}


def _without_lemmas(root: Path, lists: list[str]) -> list[str]:
    """The lists with captions as people wrote them, if there are any."""
    written = [name for name in lists if ".lemma." not in name.lower()]
    if not written:
        return lists
    for name in sorted(set(lists) - set(written)):
        noted(
            root.name,
            f"{name} has words in their basic form and is not read: "
            f"--captions {shlex.quote(name)} reads it",
        )
    return written


def _splits_by_name(lists: Sequence[str]) -> dict[str, str | None]:
    """The split of each list by a word of its name; empty unless all differ."""
    splits: dict[str, str | None] = {}
    for name in lists:
        words = re.split(r"[_\-. ]+", PurePosixPath(name).stem)
        found = {split_of(word) for word in words} - {None}
        splits[name] = found.pop() if len(found) == 1 else None
    different = set(splits.values()) - {None}
    return splits if len(different) == len(lists) else {}


def lists_in(root: Path) -> list[str]:
    """Files that look like lists of captions: in the folder, or one in each split.

    COCO's files are not among them.
    """
    here = [name for name in _visible(root) if _looks_like_list(root, name)]
    if here:
        return here
    inner = []
    for folder in sorted(p for p in root.iterdir() if split_of(p.name) and p.is_dir()):
        names = [f"{folder.name}/{name}" for name in _visible(folder)]
        inner += [name for name in names if _looks_like_list(root, name)]
    return inner


def has_captions(root: Path) -> bool:
    """Whether a folder holds captions of images, in any form that is read."""
    return bool(lists_in(root) or caption_files(root) or _beside_images(root))


def rows_of(root: Path, name: str, survey: Survey) -> list[CaptionRow]:
    """All rows of a list.

    Args:
        root: The folder.
        name: The list, relative to it.
        survey: Takes rows that cannot be read.

    Raises:
        FileError: If the file cannot be read or is no list of captions.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".json":
        return json_rows(name, read_json(root, name), survey)
    if suffix == ".jsonl":
        return line_rows(root, name, survey)
    first = first_line(root, name)
    if TOKEN.fullmatch(first):
        return token_rows(root, name, survey)
    return table_rows(root, name, first, survey)


def rows_beside_images(root: Path, survey: Survey) -> list[CaptionRow]:
    """Captions from `name.txt` beside `name.jpg`, one a line.

    Args:
        root: The folder.
        survey: Takes images without a text, and texts without an image.
    """
    rows = []
    for image, text in _beside_images(root):
        if image is None or text is None:
            what = "has no image" if image is None else "has no text file of captions"
            survey.add(str(text or image), f"{what} of the same name beside it", "text")
            continue
        split = split_of(image.split("/")[0]) if "/" in image else None
        try:
            lines = read_text(inside(root, text)).split("\n")
        except FileError as error:
            survey.add(text, str(error), "text")
            continue
        captions = [line.strip() for line in lines if line.strip()]
        rows.append(CaptionRow(text, image, captions, split))
    return rows


def _beside_images(root: Path) -> list[tuple[str | None, str | None]]:
    """Images and their text files; empty unless most text files have an image."""
    splits = sorted(p for p in root.iterdir() if p.is_dir() and split_of(p.name))
    for places in ([root], [root / "images"], splits):
        pairs = [p for place in places if place.is_dir() for p in _pairs(root, place)]
        texts = [text for image, text in pairs if text and image]
        alone = sum(image is None for image, _ in pairs)
        first = first_line(root, texts[0]) if texts else ""
        if len(texts) > alone and not ONLY_NUMBERS.fullmatch(first):
            return pairs
    return []


def _pairs(root: Path, place: Path) -> list[tuple[str | None, str | None]]:
    """The images and text files of one folder, by what stands before the suffix."""
    prefix = "" if place == root else f"{place.name}/"
    images: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name in _visible(place):
        stem, dot, suffix = name.rpartition(".")
        known = images if f".{suffix.lower()}" in SUFFIXES else texts
        if dot and (known is images or suffix.lower() == "txt"):
            known[stem] = prefix + name
    return [(images.get(s), texts.get(s)) for s in sorted(images.keys() | texts.keys())]


def _visible(folder: Path) -> list[str]:
    return sorted(
        p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")
    )


def _looks_like_list(root: Path, name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    try:
        if suffix in _TABLES:
            first = first_line(root, name)
            return columns_of(first) is not None or bool(TOKEN.fullmatch(first))
        if suffix == ".jsonl":
            return is_row(parsed_json(first_line(root, name)))
        return suffix == ".json" and is_listing(read_json(root, name))
    except FileError:
        return False
