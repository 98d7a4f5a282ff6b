"""Tables of text: the rows of CSV and TSV files, and where each of them stands."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxnets.data.dataset import DataError
from jaxnets.data.files.blocks import TextFile
from jaxnets.data.files.loading import LARGEST_JSON, Survey
from jaxnets.data.files.problems import left_out
from jaxnets.data.files.reading import inside, lines_of, read_text


def read_rows(
    root: Path, name: str, delimiter: str, survey: Survey
) -> Iterator[tuple[str, list[str]]]:
    r"""The rows of a CSV or TSV file, each with its place for messages.

    Lines end at `\n` and `\r\n` only. A TSV has no quotes: every line is one row.
    Empty lines are left out, and counted at the end. A line of a CSV with a wrong quote
    is a problem; the lines after it are read.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a quote stays open over several lines of a CSV. What follows it
            cannot be read, which may not be skipped.
    """
    path = inside(root, name)
    if delimiter == "\t":
        rows = numbered_rows(TextFile(path), name, survey)
    else:
        text = read_text(path, limit=LARGEST_JSON)
        rows = _filled(_csv(text, delimiter, name, survey), name, survey)
    for line, row in rows:
        yield f"{name}, line {line}", row


def numbered_rows(
    file: TextFile, name: str, survey: Survey
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a TSV file with the numbers of their lines; see `read_rows`."""
    lines = enumerate(file.lines(), 1)
    split = (
        (number, line.split("\t") if line.strip() else []) for number, line in lines
    )
    return _filled(split, name, survey)


def _filled(
    rows: Iterator[tuple[int, list[str]]], name: str, survey: Survey
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty; says at the end how many are."""
    total, empty = 0, 0
    for number, row in rows:
        total += 1
        empty += not row
        if row:
            yield number, row
    survey.blanks.append((name, empty, total))
    say_blanks(survey.blanks[-1:])


def say_blanks(blanks: Iterable[tuple[str, int, int]]) -> None:
    """Says how many lines of files are empty.

    Args:
        blanks: As in a `Survey`.
    """
    for name, empty, total in blanks:
        left_out(name, empty, total, "lines are empty", "delete or fill them")


def _csv(
    text: str, delimiter: str, name: str, survey: Survey
) -> Iterator[tuple[int, list[str]]]:
    """The last line of each row, and its fields; see `read_rows`."""
    csv.field_size_limit(LARGEST_JSON)  # the default is 131,072 characters
    # The reader takes a single "\r" for the end of a row; no text holds a NUL.
    lines = [line.replace("\r", "\0") + "\n" for line in lines_of(text)]
    rest, done = iter(lines), 0
    while done < len(lines):
        first = done  # lines that were read before this reader
        rows = csv.reader(rest, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                done = first + rows.line_num
                yield done, [field.replace("\0", "\r") for field in row]
        except csv.Error as error:
            where, wrong = f"{name}, line {done + 1}", f"is no CSV: {error}"
            if first + rows.line_num > done + 1:
                raise DataError(
                    f"{where}: {wrong}. A quote stays open: close it, because this "
                    f"line and what follows, {len(lines) - done} lines, cannot be read"
                ) from None
            wrong += '; write a quote in a quoted field twice, for example """stop"""'
            survey.add(where, wrong, "text")
            done += 1
