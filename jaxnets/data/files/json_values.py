"""Values in JSON that somebody else wrote, each checked."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import is_text

_LARGEST_ID = 2**62
_NUMERAL = re.compile("0|[1-9][0-9]{0,17}")

Id: TypeAlias = int | str


def as_float(value: float | int) -> float:
    """The number as a float.

    Raises:
        FileError: If it is a whole number beyond all floats.
    """
    try:
        return float(value)
    except OverflowError:
        raise FileError("holds a whole number of hundreds of digits") from None


def size_of(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of an entry of `images`; None if it has neither, or 0.

    Raises:
        FileError: If one of them is no whole number from 1.
    """
    if not row.get("height") and not row.get("width"):
        return None
    return _whole(row, "height"), _whole(row, "width")


def _whole(row: Mapping[str, Any], key: str) -> int:
    value = _number(row.get(key))
    if value is None or not 1 <= value <= _LARGEST_ID:
        raise FileError(f"has {key} {row.get(key)!r}, not a whole number from 1")
    return value


def identity_of(row: Mapping[str, Any], key: str) -> Id:
    """A whole number from 0, or a text that is no such number.

    Raises:
        FileError: If it is neither.
    """
    value = row.get(key)
    if isinstance(value, str) and is_text(value):
        return int(value) if _NUMERAL.fullmatch(value) else value
    number = _number(value)
    if number is None or not 0 <= number <= _LARGEST_ID:
        raise FileError(
            f"has {key} {value!r}, neither a whole number from 0 nor a text"
        )
    return number


def _number(value: Any) -> int | None:
    """A whole number, also one that is written 7.0."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None


def string_at(row: Mapping[str, Any], key: str) -> str:
    """The text under a key.

    Raises:
        FileError: If there is none, or nothing to see in it.
    """
    value = row.get(key)
    if not is_text(value):
        raise FileError(f"has {key} {value!r}, not a text")
    return str(value)
