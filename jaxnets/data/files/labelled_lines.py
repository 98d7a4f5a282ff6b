"""Labelled texts in files of rows: `text TAB label`, with a header or without one.

The files of GLUE's single sentences (Wang et al., 2018, https://arxiv.org/abs/1804.07461)
are read as they are shipped: SST-2 has a header and a test split without labels, CoLA
has four columns and no header.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.files.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    column_names,
    pair_columns,
    split_of_file,
)
from jaxnets.data.files.loading import (
    LARGEST_JSON,
    Part,
    Survey,
    assembled,
    reading,
)
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside, lines_of, read_text
from jaxnets.data.files.sentences import as_texts, has_words, listed
from jaxnets.data.files.tables import read_rows
from jaxnets.scores.tokens import words

NUMBER_NAMES = frozenset(
    ["", "index", "id", "idx", "guid", "phraseid", "sentenceid", "#1 id", "#2 id"]
)
_SUFFIXES = (".tsv", ".csv")
_DELIMITERS = (",", "\t", ";", "|")


class Layout(NamedTuple):
    """Which columns of a file hold what."""

    text: int
    label: int | None  # None: the file has no labels
    width: int
    header: Sequence[str] = ()  # the first row, if it names the columns


class Line(NamedTuple):
    """One example, and its file and line."""

    where: str
    text: str
    label: str


def labelled_lines(
    path: Path,
    *,
    held_out: float = 0.1,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Returns the labelled texts of a `.tsv` or `.csv` file, or of those in a folder.

    A row is a text and a label. A first row that names the columns (`sentence`,
    `label`) decides which ones are read; others are passed over. In a `.tsv` quotes are
    part of the text.

    Columns are separated by commas in a `.csv` and by TABs in a `.tsv`, unless a header
    is split into names by another of `, ; |` and TAB, which is said.

    In a folder, files with `train`, `dev` (or `val`) or `test` in their names are the
    splits. Those that are missing, or have no labels, are held out from train by a
    hash of the position. The classes are the labels of training, in order.

    Args:
        path: Of a file or a folder.
        held_out: Share of train for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `text` of strings and `label`; ids are `file, line n`.

    Raises:
        DataError: At any problem that may not be skipped: lines that are no text and
            label, a label that one training line has or none, more labels than half of
            the lines.
    """
    how = reading(survey, held_out=held_out, skip_bad=skip_bad)
    found = how.survey
    root, names = listed(path, _SUFFIXES, found.problems)
    lines: dict[str, list[Line]] = {"train": []}
    for name in names:
        split = split_of_file(name, names, found.notes)
        try:
            here = _lines(root, name, found)
        except FileError as error:
            found.add(name, str(error))
            continue
        if here is None and split != "train":
            found.notes.append(
                f"{name}: has no labels, so it is left out; the {split} split is held "
                "out from train"
            )
        elif here is None:
            found.add(
                name,
                "has no column of labels to train on; if other marks separate its "
                "columns, begin with a line such as `text;label`",
                "label",
            )
        else:
            lines.setdefault(split, []).extend(here)
    classes = _classes(path.name, lines["train"], found)
    if skip_bad:
        _stop_at_unskippable(found)
    lines["train"] = [line for line in lines["train"] if line.label in classes]
    parts = {split: _part(part, classes, found) for split, part in lines.items()}
    return assembled(
        path.resolve().name,
        {
            "text": Feature((), "object"),
            "label": Feature((), "int32", 0, max(0, len(classes) - 1), classes),
        },
        parts,
        how,
    )


def looks_labelled(path: Path) -> bool:
    """Whether a `.tsv` or `.csv` file holds labelled texts, not pairs or captions.

    It does if its header says so. A `.tsv` without a header does if lines of several
    words end with few different values of three words or fewer; see `_few`.
    """
    try:
        lines = lines_of(read_text(path, limit=LARGEST_JSON))
    except FileError:
        return False  # why it cannot be read is said where it is read
    delimiter = _delimiter(path.name, lines)
    rows = [line.split(delimiter) for line in lines if line.strip()]
    if rows and delimiter == "\t" and pair_columns(rows[0]):
        return False
    try:
        layout = _layout(rows)
    except FileError:
        return True  # a header with too many columns
    if layout.header or delimiter == ",":
        return bool(layout.header)
    return layout.text > 0 or _few(rows)


def _few(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows look like `text TAB label`, perhaps with a number in front.

    At most two values, or one in twenty rows, and each in five rows on average.
    """
    if any(len(row) < 2 or (len(row) > 2 and not row[0].isdecimal()) for row in rows):
        return False
    values = {row[-1].strip() for row in rows}
    few = len(values) <= max(2, len(rows) / 20) and 5 * len(values) <= len(rows)
    short = few and all(len(words(value)) <= 3 for value in values)
    return short and any(len(words(row[-2])) > 1 for row in rows[:100])


def _lines(root: Path, name: str, survey: Survey) -> list[Line] | None:
    """The examples of one file; None if it has no labels."""
    lines_read = lines_of(read_text(inside(root, name), limit=LARGEST_JSON))
    delimiter = _delimiter(name, lines_read)
    if delimiter != _delimiter(name, ()):
        survey.notes.append(f"{name}: its columns are separated by {delimiter!r}")
    rows = list(read_rows(root, name, delimiter, survey))
    layout = _layout([row for _, row in rows])
    if layout.header:
        read = [layout.header[i] for i in (layout.text, layout.label) if i is not None]
        columns = ", ".join(f"`{column}`" for column in read)
        said = f"{name}: the first line is a header; columns read: {columns}"
        survey.notes.append(said)
        rows = rows[1:]
    if layout.label is None:
        return None
    lines = []
    for where, row in rows:
        if wrong := _wrong(row, layout):
            survey.add(where, f"is not a text and a label: {wrong}", "text")
        else:
            text, label = row[layout.text], row[layout.label].strip()
            lines.append(Line(where, text, label))
    return lines


def _delimiter(name: str, lines: Sequence[str]) -> str:
    """What separates columns: by the suffix, unless the header says otherwise."""
    usual = "," if name.lower().endswith(".csv") else "\t"
    header = next((line for line in lines if line.strip()), "")
    for delimiter in (usual, *_DELIMITERS):
        names = set(column_names(header.split(delimiter)))
        if names & TEXT_NAMES and names & LABEL_NAMES:
            return delimiter
    return usual


def _layout(rows: Sequence[Sequence[str]]) -> Layout:
    """Which columns hold what, by the first row or by all.

    Raises:
        FileError: If the header names several texts or several labels.
    """
    if not rows:
        return Layout(0, 1, 2)
    header = column_names(rows[0])
    texts = [i for i, name in enumerate(header) if name in TEXT_NAMES]
    labels = [i for i, name in enumerate(header) if name in LABEL_NAMES]
    if texts and (labels or NUMBER_NAMES.union(TEXT_NAMES).issuperset(header)):
        if len(texts) > 1 or len(labels) > 1:
            several = ", ".join(rows[0][i] for i in (texts if texts[1:] else labels))
            raise FileError(
                f"has a header with the columns {several}: one text and one label can "
                "be read; delete the others"
            )
        return Layout(texts[0], labels[0] if labels else None, len(header), rows[0])
    if all(len(row) == 4 and row[1] in "01" and row[2] in ("", "*") for row in rows):
        return Layout(3, 1, 4)  # GLUE's CoLA: source, label, the author's mark, text
    if all(len(row) == 1 for row in rows):
        return Layout(0, None, 1)
    return Layout(0, 1, 2)


def _wrong(row: Sequence[str], layout: Layout) -> str | None:
    """What is wrong with a row; None if nothing is."""
    if len(row) != layout.width or layout.label is None:
        return f"it has {len(row)} columns, not {layout.width}"
    if not has_words(row[layout.text]):
        return "the text holds no word"
    return None if row[layout.label].strip() else "the label is empty"


def _classes(source: str, train: Sequence[Line], survey: Survey) -> tuple[str, ...]:
    """The labels of training, in order; what makes no sense as classes is a problem."""
    counts = Counter(line.label for line in train)
    survey.classes.update(counts)
    if 2 * len(counts) > len(train) and len(train) > 2:
        survey.add(
            source,
            f"has {len(counts)} different labels in {len(train)} training lines: are "
            "the columns in another order than `text TAB label`? Swap them, or begin "
            "with a line `label TAB text` that names them",
            "classes",
        )
    elif len(counts) < 2 and train:
        survey.add(source, f"has one label only: {train[0].label!r}", "classes")
    else:
        alone = {label for label, count in counts.items() if count == 1}
        for line in train:
            if line.label in alone:
                survey.add(
                    line.where,
                    f"is the only training line with the label {line.label!r}: correct "
                    "or delete it; if it is a header, name the columns `text` and "
                    "`label`",
                    "label",
                )
        for label in alone:
            del counts[label]
    return tuple(sorted(counts))


def _stop_at_unskippable(survey: Survey) -> None:
    """Raises at what no line that is left out mends."""
    stops = [problem for problem in survey.problems if problem.kind == "classes"]
    if stops:
        raise DataError("; ".join(map(str, stops)))


def _part(lines: Sequence[Line], classes: Sequence[str], survey: Survey) -> Part:
    """The columns of one split, without the lines whose labels training has not."""
    number = {name: i for i, name in enumerate(classes)}
    known = [line for line in lines if line.label in number]
    if lines and not known and classes:
        survey.add(
            lines[0].where,
            f"has the label {lines[0].label!r}, and no line of this split has a label "
            f"of training ({_shown(classes)}): delete the file if it has no labels",
            "label",
        )
    elif classes:
        for line in (line for line in lines if line.label not in number):
            survey.add(
                line.where,
                f"has the label {line.label!r}, which no training line has; those have "
                f"{_shown(classes)}",
                "label",
            )
    label = np.array([number[line.label] for line in known], np.int32)
    columns = {"text": as_texts([line.text for line in known]), "label": label}
    return Part(columns, [line.where for line in known], label)


def _shown(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
    return ", ".join(classes[:10]) + more
