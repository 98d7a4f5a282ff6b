"""Captions in JSON and lines of JSON become rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxnets.data.files.caption_rows import (
    IMAGE_NAMES,
    CaptionRow,
    filled,
    is_caption,
)
from jaxnets.data.files.foreign import foreign
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import (
    LARGEST_JSON,
    Survey,
    parsed_json,
)
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside, read_text


def is_listing(value: Any) -> bool:
    """Whether a JSON value says what is in images, in a form that is read."""
    if foreign(value):
        return False
    if isinstance(value, list):
        return bool(value) and is_row(value[0])
    if not isinstance(value, dict) or "annotations" in value:
        return False
    key, first = next(iter(value.items()), ("", None))
    texts = first if isinstance(first, list) and first else [first]
    of_image = isinstance(first, list) or key.lower().endswith(SUFFIXES)
    told = of_image and all(isinstance(text, str) for text in texts)
    return _is_karpathy(value) or told


def is_row(value: Any) -> bool:
    """Whether a JSON value is one image with what is said of it."""
    return _first(value, IMAGE_NAMES) is not None and _captions(value) is not None


def _is_karpathy(value: Any) -> bool:
    images = value.get("images") if isinstance(value, dict) else None
    return (
        isinstance(images, list)
        and bool(images)
        and isinstance(images[0], dict)
        and "sentences" in images[0]
    )


def json_rows(name: str, value: Any, survey: Survey) -> list[CaptionRow]:
    """The rows of a JSON file: Karpathy's, an object by image, or a list of objects.

    Raises:
        FileError: If it is in none of these forms.
    """
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


def line_rows(root: Path, name: str, survey: Survey) -> list[CaptionRow]:
    """The rows of a file with a JSON object on each line; bad lines are reported."""
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
    image = _first(value, IMAGE_NAMES)
    named = str(image) if type(image) is int else image
    split = value.get("split") if isinstance(value, dict) else None
    return CaptionRow(where, named, _captions(value), split)


def _caption_keys(row: Any) -> list[str]:
    return [key for key in row if is_caption(key)] if isinstance(row, dict) else []


def _captions(row: Any) -> Any:
    """The caption of a JSON object, or the list of those that all its keys hold."""
    values = [row[key] for key in _caption_keys(row)]
    if len(values) < 2:
        return values[0] if values else None
    lists = (value if isinstance(value, list) else [value] for value in values)
    return filled([text for texts in lists for text in texts])


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
