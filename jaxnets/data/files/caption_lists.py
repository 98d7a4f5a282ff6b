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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxnets.data.dataset import DataError
from jaxnets.data.files.coco import caption_files
from jaxnets.data.files.foreign import foreign
from jaxnets.data.files.images import SUFFIXES
from jaxnets.data.files.loading import (
    LARGEST_JSON,
    Survey,
    parsed_json,
    read_json,
    read_rows,
    split_of,
)
from jaxnets.data.files.reading import FileError, inside, noted, read_text

_IMAGE = ("image", "file_name", "filename", "file", "path", "image_name", "image_path")
_IMAGE_NAMES = (*_IMAGE, "filepath", "img", "photo", "image_id")
_CAPTION = ("caption", "captions", "text", "sentence", "comment", "description")
_CAPTION_NAMES = (*_CAPTION, "sentences", "texts", "comments", "raw")
_NUMBERED = re.compile(r"(caption|text|sentence|comment|description|raw)[ _.-]?\d+")
_DELIMITERS = (",", ";", "\t", "|")
_TABLES = (".csv", ".tsv", ".txt", ".token")
_LISTS = (".csv", ".json", ".jsonl")  # suffixes of lists for certain
_TOKEN = re.compile(r"(.+)#\d+\t(.*)")
_NUMBERS = re.compile(r"[\d.\-+eE\s]*")  # a box of YOLO is no caption
_FIRST = 2**16  # bytes, enough for a header
_JSON_LISTS = (
    "A cell with several captions holds a list in JSON, for example by pandas: "
    "`df[name].map(ast.literal_eval).map(json.dumps)`, or has a row for each caption"
)


class CaptionRow(NamedTuple):
    """One row of a list; nothing of it has been checked."""

    where: str  # for messages
    image: Any
    captions: Any  # one, or a list
    split: Any  # None: not said


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
        return _json_rows(name, read_json(root, name), survey)
    if suffix == ".jsonl":
        return _line_rows(root, name, survey)
    first = _first_line(root, name)
    if _TOKEN.fullmatch(first):
        return _token_rows(root, name, survey)
    return _table_rows(root, name, first, survey)


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
        if len(texts) > alone and not _NUMBERS.fullmatch(_first_line(root, texts[0])):
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
            first = _first_line(root, name)
            return _columns(first) is not None or bool(_TOKEN.fullmatch(first))
        if suffix == ".jsonl":
            return _is_row(parsed_json(_first_line(root, name)))
        return suffix == ".json" and _is_listing(read_json(root, name))
    except FileError:
        return False


def _is_listing(value: Any) -> bool:
    if foreign(value):
        return False
    if isinstance(value, list):
        return bool(value) and _is_row(value[0])
    if not isinstance(value, dict) or "annotations" in value:
        return False
    key, first = next(iter(value.items()), ("", None))
    texts = first if isinstance(first, list) and first else [first]
    of_image = isinstance(first, list) or key.lower().endswith(SUFFIXES)
    told = of_image and all(isinstance(text, str) for text in texts)
    return _is_karpathy(value) or told


def _is_row(value: Any) -> bool:
    return _first(value, _IMAGE_NAMES) is not None and _captions(value) is not None


def _is_karpathy(value: Any) -> bool:
    images = value.get("images") if isinstance(value, dict) else None
    return (
        isinstance(images, list)
        and bool(images)
        and isinstance(images[0], dict)
        and "sentences" in images[0]
    )


def _first_line(root: Path, name: str) -> str:
    """The first line, without its end; what is not UTF-8 is replaced."""
    try:
        with inside(root, name).open("rb") as file:
            content = file.read(_FIRST)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None
    text = content.decode("utf-8-sig", "replace")
    return text.split("\n")[0].removesuffix("\r")


def _columns(header: str) -> tuple[str, list[str]] | None:
    """The delimiter and the names of the columns, if it is a header of captions."""
    for delimiter in _DELIMITERS:
        words = [w.strip().strip('"').strip().lower() for w in header.split(delimiter)]
        if set(words) & set(_IMAGE_NAMES) and any(map(_is_caption, words)):
            return delimiter, words
    return None


def _is_caption(column: str) -> bool:
    """Whether a column or key holds captions, by its name: `caption`, `caption_2`."""
    return column in _CAPTION_NAMES or bool(_NUMBERED.fullmatch(column))


def _table_rows(root: Path, name: str, first: str, survey: Survey) -> list[CaptionRow]:
    found = _columns(first)
    if found is None:
        next(read_rows(root, name, ",", survey), None)  # another encoding comes first
        words = first[:80].split(",")
        raise FileError(
            f"has the header {words}, without `image` and `caption`: the first line "
            "names the columns, for example image,caption"
        )
    delimiter, columns = found
    image = columns.index(next(n for n in _IMAGE_NAMES if n in columns))
    captions = [i for i, column in enumerate(columns) if _is_caption(column)]
    split = columns.index("split") if "split" in columns else None
    used = [i for i in (image, *captions, split) if i is not None]
    if len(columns) > len(used) or len(captions) > 1:
        read = ", ".join(f"`{columns[i]}`" for i in used)
        survey.notes.append(f"{name}: columns read: {read}")
    last = len(columns) - 1
    listed, more = [], 0
    for where, row in _table(root, name, delimiter, survey):
        if not any(cell.strip() for cell in row):
            continue  # spreadsheets write empty rows
        if len(row) > len(columns) and captions == [last]:
            row = [*row[:last], delimiter.join(row[last:])]
            more += 1
        if len(row) != len(columns):
            survey.add(where, _wrong_count(row, columns, delimiter), "text")
            continue
        said = None if split is None else row[split].strip()
        texts = [text for i in captions for text in _in_cell(row[i].strip())]
        listed.append(CaptionRow(where, row[image].strip(), _filled(texts), said))
    if more:
        noted(
            name,
            f"{more} of {len(listed)} rows have more {delimiter!r} than the header: "
            "the caption is the rest of the line",
        )
    _refuse_lists_of_python(listed)
    return listed


def _in_cell(cell: str) -> list[str]:
    """The captions of a cell of a table: those of a list in JSON, or its text."""
    try:
        value = parsed_json(cell) if cell.startswith("[") else None
    except FileError:
        return [cell]  # `[A man speaks]`
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    return [cell]


def _filled(captions: list[Any]) -> list[Any]:
    """Each caption once; empty ones only if all are: an image may have fewer."""
    once = list({repr(text): text for text in captions}.values())
    return [text for text in once if text not in (None, "")] or once


def _refuse_lists_of_python(rows: Sequence[CaptionRow]) -> None:
    """Raises if every row has the list as which Python and pandas print captions."""
    texts = [(row.where, text) for row in rows for text in row.captions]
    if texts and all(text.startswith(("['", '["')) for _, text in texts):
        where, text = texts[0]
        raise FileError(
            f"holds lists that are not JSON, the first in {where.partition(', ')[2]}: "
            f"{text[:40]}. {_JSON_LISTS}"
        )


def _wrong_count(row: Sequence[str], columns: Sequence[str], delimiter: str) -> str:
    what = f"has {len(row)} fields, not {len(columns)}"
    if len(row) > len(columns):
        what += f": put captions with {delimiter!r} in quotes, or in the last column"
    return what


def _table(
    root: Path, name: str, delimiter: str, survey: Survey
) -> Iterator[tuple[str, list[str]]]:
    """Rows below the header; `|` and TAB know no quotes."""
    if delimiter != "|":
        for where, row in read_rows(root, name, delimiter, survey):
            if where != f"{name}, line 1":
                yield where, row
        return
    lines = read_text(inside(root, name), limit=LARGEST_JSON).split("\n")
    for number, line in enumerate(lines[1:], 2):
        yield f"{name}, line {number}", line.split("|")


def _token_rows(root: Path, name: str, survey: Survey) -> list[CaptionRow]:
    """Lines `name.jpg#0 TAB caption`, with the splits that Flickr8k has beside them."""
    splits = _flickr_splits(root)
    listed = []
    lines = read_text(inside(root, name), limit=LARGEST_JSON).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        found = _TOKEN.fullmatch(line.removesuffix("\r"))
        if found is None:
            survey.add(where, "is not `image#number TAB caption`", "text")
            continue
        image = found[1].strip()
        listed.append(CaptionRow(where, image, found[2].strip(), splits.get(image)))
    rest = {row.image for row in listed if row.split is None}
    if splits and rest:
        noted(name, f"{len(rest)} images are in no list of a split: they are train")
    return listed


def _flickr_splits(root: Path) -> dict[str, str]:
    """Image to split, by `Flickr_8k.trainImages.txt` and the like where all are."""
    lists = {s: f"Flickr_8k.{s}Images.txt" for s in ("train", "dev", "test")}
    if not all((root / name).is_file() for name in lists.values()):
        return {}
    return {
        image.strip(): split
        for split, name in lists.items()
        for image in read_text(inside(root, name)).split("\n")
        if image.strip()
    }


def _json_rows(name: str, value: Any, survey: Survey) -> list[CaptionRow]:
    if refused := foreign(value):
        raise FileError(refused)
    if _is_karpathy(value):
        return [
            _karpathy_row(f"{name}, image {i}", row)
            for i, row in enumerate(value["images"])
        ]
    if isinstance(value, dict):
        return [
            CaptionRow(f"{name}, {key!r}", key, captions, None)
            for key, captions in value.items()
        ]
    if not isinstance(value, list):
        raise FileError("is neither a list nor an object")
    _say_keys(name, value, survey)
    return [_row(f"{name}, row {i}", row) for i, row in enumerate(value)]


def _line_rows(root: Path, name: str, survey: Survey) -> list[CaptionRow]:
    values = {}
    lines = read_text(inside(root, name), limit=LARGEST_JSON).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            values[where] = parsed_json(line)
        except FileError as error:
            survey.add(where, str(error), "text")
    _say_keys(name, values.values(), survey)
    return [_row(where, value) for where, value in values.items()]


def _row(where: str, value: Any) -> CaptionRow:
    image = _first(value, _IMAGE_NAMES)
    named = str(image) if type(image) is int else image
    split = value.get("split") if isinstance(value, dict) else None
    return CaptionRow(where, named, _captions(value), split)


def _caption_keys(row: Any) -> list[str]:
    return [key for key in row if _is_caption(key)] if isinstance(row, dict) else []


def _captions(row: Any) -> Any:
    """The caption of a JSON object, or the list of those that all its keys hold."""
    values = [row[key] for key in _caption_keys(row)]
    if len(values) < 2:
        return values[0] if values else None
    lists = (value if isinstance(value, list) else [value] for value in values)
    return _filled([text for texts in lists for text in texts])


def _say_keys(name: str, rows: Iterable[Any], survey: Survey) -> None:
    """Notes the keys of captions if there are several."""
    keys = dict.fromkeys(key for row in rows for key in _caption_keys(row))
    if len(keys) > 1:
        read = ", ".join(f"`{key}`" for key in keys)
        survey.notes.append(f"{name}: captions are read from {read}")


def _karpathy_row(where: str, value: Any) -> CaptionRow:
    """An image of Karpathy's JSON; `restval` is what is trained on as well."""
    if not isinstance(value, dict):
        return CaptionRow(where, None, None, None)
    image, folder = value.get("filename"), value.get("filepath")
    if isinstance(folder, str) and isinstance(image, str) and folder:
        image = f"{folder}/{image}"
    sentences = value.get("sentences")
    rows = sentences if isinstance(sentences, list) else [sentences]
    captions = [_first(row, ("raw", "sentence")) for row in rows]
    split = "train" if value.get("split") == "restval" else value.get("split")
    return CaptionRow(where, image, captions, split)


def _first(row: Any, names: Sequence[str]) -> Any:
    if not isinstance(row, dict):
        return None
    return next((row[name] for name in names if name in row), None)
