"""Captions in tables and lists of lines become rows."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxnets.data.files.caption_rows import (
    IMAGE_NAMES,
    CaptionRow,
    filled,
    is_caption,
    refuse_lists_of_python,
)
from jaxnets.data.files.loading import (
    LARGEST_JSON,
    Survey,
    parsed_json,
)
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside, read_text
from jaxnets.data.files.tables import read_rows

_DELIMITERS = (",", ";", "\t", "|")
TOKEN = re.compile(r"(.+)#\d+\t(.*)")
ONLY_NUMBERS = re.compile(r"[\d.\-+eE\s]*")  # a box of YOLO is no caption
_FIRST = 2**16  # bytes, enough for a header


def first_line(root: Path, name: str) -> str:
    """The first line, without its end; what is not UTF-8 is replaced."""
    try:
        with inside(root, name).open("rb") as file:
            content = file.read(_FIRST)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None
    text = content.decode("utf-8-sig", "replace")
    return text.split("\n")[0].removesuffix("\r")


def columns_of(header: str) -> tuple[str, list[str]] | None:
    """The delimiter and the names of the columns, if it is a header of captions."""
    for delimiter in _DELIMITERS:
        words = [w.strip().strip('"').strip().lower() for w in header.split(delimiter)]
        if set(words) & set(IMAGE_NAMES) and any(map(is_caption, words)):
            return delimiter, words
    return None


def table_rows(root: Path, name: str, first: str, survey: Survey) -> list[CaptionRow]:
    """The rows of a table whose header, its first line, names the columns.

    Raises:
        FileError: If the header has no column of images or of captions.
    """
    found = columns_of(first)
    if found is None:
        next(read_rows(root, name, ",", survey), None)  # another encoding comes first
        words = first[:80].split(",")
        raise FileError(
            f"has the header {words}, without `image` and `caption`: the first line "
            "names the columns, for example image,caption"
        )
    delimiter, columns = found
    image = columns.index(next(n for n in IMAGE_NAMES if n in columns))
    captions = [i for i, column in enumerate(columns) if is_caption(column)]
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
        listed.append(CaptionRow(where, row[image].strip(), filled(texts), said))
    if more:
        noted(
            name,
            f"{more} of {len(listed)} rows have more {delimiter!r} than the header: "
            "the caption is the rest of the line",
        )
    refuse_lists_of_python(listed)
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


def token_rows(root: Path, name: str, survey: Survey) -> list[CaptionRow]:
    """Lines `name.jpg#0 TAB caption`, with the splits that Flickr8k has beside them."""
    splits = _flickr_splits(root)
    listed = []
    lines = read_text(inside(root, name), limit=LARGEST_JSON).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        found = TOKEN.fullmatch(line.removesuffix("\r"))
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
