"""Dates as people write them, and in ISO 8601: a small task for sequence to sequence.

`Thursday, the 4th of March 1999` becomes `1999-03-04`. Every text has one meaning only:

- The year has four digits, except after an apostrophe: `'50` to `'99` are 1950 to 1999,
  `'00` to `'49` are 2000 to 2049. An apostrophe stands only beside a month's name.
- A month in digits follows the year (`1999/3/4`, `19990304`), or the day is above 12,
  so that the other number must be the month (`25.12.1999`, `12/25/1999`), or the two
  are the same (`5/5/1999`).
- A weekday agrees with the date, and adds nothing.

Dates from 1950-01-01 to 2049-12-31. A day belongs to one split: no date of the test
split is written in the training split, in whatever form.
"""

import datetime
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.generated.draws import Draws
from jaxnets.ops.decoding import SPECIAL

SOURCE_CHARACTERS = (*SPECIAL, *" ',-./0123456789abcdefghijklmnopqrstuvwxyz")
TARGET_CHARACTERS = (*SPECIAL, *"-0123456789")
SOURCE_LENGTH = 48
TARGET_LENGTH = 12

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
WEEKDAYS = (
    *("monday", "tuesday", "wednesday", "thursday"),
    *("friday", "saturday", "sunday"),
)
_UNITS = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)
_TEENS = (
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
    *("sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"),
)
ORDINALS = (
    *_UNITS,
    *_TEENS,
    *(f"twenty-{word}" for word in _UNITS[:9]),
    "thirtieth",
    "thirty-first",
)
"""The days of a month in words, from the first."""

_VERSION = 1


def dates(
    *, train: int = 20_000, validation: int = 2_000, test: int = 2_000
) -> Dataset:
    """20,000 written dates to train on, 2,000 to validate on, 2,000 to test on.

    No download. Of the 36,525 days, about four fifths are for training and a tenth each
    for validation and test; each example draws one of its split's days and
    a way to write it. A smaller set holds the first examples of the larger one.

    Columns: `source`, the text in lower case, character by character, padded with 0;
    `target`, `<start>`, the ten characters of the ISO date, `<end>`. The classes of the
    features say which character each number is.

    Args:
        train: How many examples.
        validation: Likewise.
        test: Likewise.

    Raises:
        DataError: If a split would be empty.
    """
    counts = {"train": train, "validation": validation, "test": test}
    if min(counts.values()) < 1:
        raise DataError(f"dates needs an example in every split, not {counts}")
    splits = {}
    for name, count in counts.items():
        pairs = examples(name, count)
        splits[name] = Split(
            {
                "source": encoded([text for text, _ in pairs], SOURCE_LENGTH),
                "target": _targets([date for _, date in pairs]),
            },
            [f"{name} {i}" for i in range(count)],
        )
    return Dataset(
        name="dates",
        features={
            "source": Feature(
                (SOURCE_LENGTH,),
                "int32",
                0,
                len(SOURCE_CHARACTERS) - 1,
                SOURCE_CHARACTERS,
            ),
            "target": Feature(
                (TARGET_LENGTH,),
                "int32",
                0,
                len(TARGET_CHARACTERS) - 1,
                TARGET_CHARACTERS,
            ),
        },
        **splits,
    )


def examples(split: str, count: int) -> list[tuple[str, datetime.date]]:
    """Texts and the days that they mean.

    Args:
        split: `train`, `validation` or `test`.
        count: How many.
    """
    pairs = []
    for i in range(count):
        draws = Draws(f"dates {_VERSION} {split} {i}")
        while True:
            days = draws.below((LAST - FIRST).days + 1)
            date = FIRST + datetime.timedelta(days=days)
            if split_of(date) == split:
                break
        pairs.append((written(date, draws), date))
    return pairs


@functools.cache
def split_of(date: datetime.date) -> str:
    """The split that a day belongs to, by its hash: for eight days of ten, train."""
    digest = hashlib.blake2b(f"dates {date.isoformat()}".encode(), digest_size=8)
    place = int.from_bytes(digest.digest(), "big") % 10
    return {8: "validation", 9: "test"}.get(place, "train")


def written(date: datetime.date, draws: Draws) -> str:
    """One of the ways to write a date, in lower case."""
    if draws.chance(0.3):
        return _in_digits(date, draws)
    text = _with_month(date, draws)
    if draws.chance(0.3):
        weekday = WEEKDAYS[date.weekday()]
        start = draws.choice((weekday, f"{weekday},", weekday[:3], f"{weekday[:3]}.,"))
        text = f"{start} {text}"
    return text


def _in_digits(date: datetime.date, draws: Draws) -> str:
    """Only digits: a year first, or a day that cannot be a month."""
    year = str(date.year)
    wide = draws.chance(0.6)
    month, day = (f"{n:02d}" if wide else str(n) for n in (date.month, date.day))
    mark = draws.choice(("-", "/", ".", " "))
    orders = [(year, month, day)]
    if date.day > 12 or date.day == date.month:
        orders += [(day, month, year), (month, day, year)] * 2
    elif draws.chance(0.2):
        return f"{year}{date.month:02d}{date.day:02d}"
    return mark.join(draws.choice(orders))


def _with_month(date: datetime.date, draws: Draws) -> str:
    """With the name of the month, whole or cut to three letters."""
    name = MONTHS[date.month - 1]
    short = name[:3]
    stopped = f"{short}." if name != short else name  # nobody shortens `may`
    month = draws.weighted((name, short, stopped), (0.6, 0.3, 0.1))
    day = draws.choice((f"{date.day}", f"{date.day:02d}"))
    place = draws.choice((f"{date.day}{suffix(date.day)}", ORDINALS[date.day - 1]))
    year = draws.weighted((str(date.year), f"'{date.year % 100:02d}"), (0.8, 0.2))
    return draws.choice(
        (
            f"{day} {month} {year}",
            f"{place} {month} {year}",
            f"the {place} of {month} {year}",
            f"the {place} of {month}, {year}",
            f"{day}. {month} {year}",
            f"{day}-{short}-{year}",
            f"{day}/{short}/{year}",
            f"{month} {day}, {year}",
            f"{month} {day} {year}",
            f"{month} {place}, {year}",
            f"{month} the {place}, {year}",
            f"{year}, {month} {day}",
            f"{year} {month} {place}",
            f"{year}-{short}-{day}",
        )
    )


def suffix(day: int) -> str:
    """What follows the digits of an ordinal: 1st, 2nd, 3rd, 4th, 11th."""
    if day // 10 == 1:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def encoded(texts: Sequence[str], length: int) -> Int[np.ndarray, "n length"]:
    """Characters of `SOURCE_CHARACTERS` as numbers; 0 after the end, 3 for others.

    Args:
        texts: In lower case.
        length: Of the rows.

    Raises:
        DataError: If a text is longer.
    """
    number = {c: i for i, c in enumerate(SOURCE_CHARACTERS)}
    rows = np.zeros((len(texts), length), np.int32)
    for row, text in zip(rows, texts, strict=True):
        if len(text) > length:
            raise DataError(f"{text!r} has {len(text)} characters, {length} fit")
        unknown = SOURCE_CHARACTERS.index("<unk>")
        row[: len(text)] = [number.get(c, unknown) for c in text]
    return rows


def decoded(row: Int[np.ndarray, " t"], characters: tuple[str, ...]) -> str:
    """The text of one row: up to `<end>`, without `<pad>` and `<start>`.

    Args:
        row: Numbers, as in the columns.
        characters: `SOURCE_CHARACTERS` or `TARGET_CHARACTERS`.
    """
    text = ""
    for number in row:
        character = characters[int(number)]
        if character == "<end>":
            break
        if character not in ("<pad>", "<start>"):
            text += character
    return text


def _targets(days: Sequence[datetime.date]) -> Int[np.ndarray, "n 12"]:
    number = {c: i for i, c in enumerate(TARGET_CHARACTERS)}
    ends = [number["<start>"]], [number["<end>"]]
    rows = [[*ends[0], *(number[c] for c in d.isoformat()), *ends[1]] for d in days]
    return np.array(rows, np.int32)
