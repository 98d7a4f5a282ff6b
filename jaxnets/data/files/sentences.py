"""Data sets of text: files to be modelled, and pairs of sentences to be translated."""

import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature, Texts
from jaxnets.data.files.blocks import TextFile
from jaxnets.data.files.column_names import (
    names_labels,
    numbering_fault,
    pair_columns,
    split_of_file,
)
from jaxnets.data.files.loading import (
    SPLITS,
    Part,
    Survey,
    assembled,
    reading,
)
from jaxnets.data.files.problems import FileError, Problem
from jaxnets.data.files.reading import inside, visible, walk
from jaxnets.data.files.tables import numbered_rows
from jaxnets.scores.tokens import words

HELD_OUT = 0.05  # share of a text for each split that it does not have


def as_texts(rows: Sequence[Any]) -> Texts:
    """A column of strings, or of tuples of strings."""
    text = json.dumps(rows, ensure_ascii=False)
    return Texts(
        rows, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    )


def text_files(
    path: Path,
    *,
    held_out: float = HELD_OUT,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """The paragraphs of a `.txt` file, or of all below a folder, as UTF-8.

    A paragraph is what stands between empty lines. Folders or files called `train`,
    `val` and `test` are the splits; else the end of the text is held out, in one piece,
    so that no paragraph of the test is between two of training. A text of one or two
    paragraphs is cut as by `in_three`.

    Args:
        path: Of a file or a folder.
        held_out: Share of the paragraphs for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        A column `text` of strings; ids are `file:number`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    how = reading(survey, held_out=held_out, skip_bad=skip_bad)
    found = how.survey
    root, names = listed(path, (".txt",), found.problems)
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        try:
            text = "".join(TextFile(inside(root, name)).blocks())
        except FileError as error:
            found.add(name, str(error))
            continue
        paragraphs = _paragraphs(text)
        if not paragraphs:
            found.add(name, "is empty: it holds only white space", "text")
        here = rows.setdefault(split_of_file(name, names, found.notes), [])
        here += [(f"{name}:{i}", text) for i, text in enumerate(paragraphs)]
    every = rows.setdefault("train", [])
    if len(every) < 3 and len(rows) == 1:
        whole = in_three("\n\n".join(text for _, text in every))
        thirds = zip(SPLITS, whole, strict=True)
        rows = {split: [(split, text)] if text else [] for split, text in thirds}
    every = rows["train"]
    count = round(held_out * len(every))
    for split in ("test", "validation"):  # from the end
        if split not in rows and len(every) > 1:
            cut = len(every) - max(1, count)
            rows[split], every = every[cut:], every[:cut]
    rows["train"] = every
    parts = {
        split: Part(
            {"text": as_texts([text for _, text in rows[split]])},
            [identity for identity, _ in rows[split]],
            np.zeros(len(rows[split]), np.int32),
        )
        for split in SPLITS
        if split in rows
    }
    return assembled(
        path.resolve().name,
        {"text": Feature((), "object")},
        parts,
        how,
    )


def _paragraphs(text: str) -> list[str]:
    made: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            made[-1].append(line)
        elif made[-1]:
            made.append([])
    return ["\n".join(paragraph) for paragraph in made if paragraph]


def in_three(text: str) -> tuple[str, str, str]:
    """Returns nine tenths of a text, and two halves of the rest."""
    first, second = thirds(len(text))
    return text[:first], text[first:second], text[second:]


def thirds(length: int) -> tuple[int, int]:
    """Returns where `in_three` cuts a text of so many characters."""
    first = int(0.9 * length)
    return first, first + (length - first) // 2


def sentence_pairs(
    path: Path,
    *,
    held_out: float = HELD_OUT,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Sentences and their translations from lines `source TAB target`.

    A first line of names (`source TAB target`, `id TAB en TAB fr`) says which columns
    are read; see `pair_columns`. Without one they are the first two. Others, such as
    attributions, are passed over. Quotes are part of a sentence.

    Which split a pair belongs to is decided by a hash of its source, so that no
    sentence of the test is also trained on with another translation; the shares are
    therefore approximate. In a folder, files called `train`, `val` and `test` are the
    splits.

    Args:
        path: Of a `.tsv` (or `.txt`) file, or of a folder of `.tsv` files; if it has
            none, of `.txt` files whose lines have TABs.
        held_out: Share of the sentences for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `source` and `target` of strings; ids are `file:line`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    how = reading(survey, held_out=held_out, skip_bad=skip_bad)
    rows: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for pair in pairs_of(path, how.survey, held_out=held_out):
        rows[pair.split].append(pair)
    parts = {
        split: Part(
            {
                "source": as_texts([pair.source for pair in found]),
                "target": as_texts([pair.target for pair in found]),
            },
            [pair.where for pair in found],
            np.zeros(len(found), np.int32),
        )
        for split, found in rows.items()
    }
    return assembled(
        path.resolve().name,
        {"source": Feature((), "object"), "target": Feature((), "object")},
        parts,
        how,
    )


class Pair(NamedTuple):
    """A sentence and its translation, in a file."""

    split: str
    where: str  # the file and the line
    source: str
    target: str


def pairs_of(
    path: Path,
    survey: Survey,
    *,
    held_out: float = HELD_OUT,
    advance: Callable[[int], None] | None = None,
) -> Iterator[Pair]:
    """The pairs of a file or a folder, one at a time; see `sentence_pairs`.

    Args:
        path: Of a file or a folder.
        survey: Takes what is wrong, and how files are read.
        held_out: Share of the sentences for each split that is missing.
        advance: Takes how many bytes were read since its last call.

    Raises:
        DataError: If there is no file, or one changes while it is read.
    """
    root, names = pair_files(path, survey)
    there = {split_of_file(name, names, []) for name in names}
    missing = [split for split in ("test", "validation") if split not in there]
    for name in names:
        split = split_of_file(name, names, survey.notes)
        try:
            for where, source, target in _pairs_in(root, name, survey, advance):
                drawn = split == "train" and missing
                here = _drawn(source, missing, held_out) if drawn else split
                yield Pair(here, where, source, target)
        except FileError as error:
            survey.add(name, str(error))


def pair_files(path: Path, survey: Survey) -> tuple[Path, list[str]]:
    """A folder and the names of its files of pairs, as `listed`.

    Args:
        path: Of a file or a folder.
        survey: Takes links that lead elsewhere, and which files are passed over.

    Raises:
        DataError: If there is none.
    """
    root, names = listed(path, (".tsv", ".txt"), survey.problems)
    tables = [name for name in names if name.lower().endswith(".tsv")]
    if tables or path.is_file():
        return root, tables or names
    paired = [name for name in names if _begins_with_pairs(root, name)]
    if not paired:
        raise DataError(
            f"{path} holds no file called *.tsv, and no *.txt that begins with lines "
            "`source TAB target`"
        )
    for name in names:
        if name not in paired:
            survey.notes.append(
                f"{name}: is passed over: it begins with no lines `source TAB target`"
            )
    return root, paired


def has_pairs(folder: Path) -> bool:
    """Whether the `.txt` files in a folder, not below it, are such as hold pairs."""
    names = (path.name for path in visible(folder) if path.suffix.lower() == ".txt")
    return any(_begins_with_pairs(folder, name) for name in names)


def _begins_with_pairs(root: Path, name: str) -> bool:
    try:
        text = TextFile(inside(root, name)).beginning()
    except FileError:
        return False  # why it cannot be read is said where it is read
    first = [line.split("\t") for line in text.split("\n", 10)[:10] if line.strip()]
    pairs = [
        sides for sides in first if len(sides) > 1 and all(map(str.strip, sides[:2]))
    ]
    return bool(pairs) and 2 * len(pairs) > len(first)


def _pairs_in(
    root: Path, name: str, survey: Survey, advance: Callable[[int], None] | None
) -> Iterator[tuple[str, str, str]]:
    """The place, source and target of each pair of a file, one at a time.

    Raises:
        FileError: Before the first pair: if the file cannot be read, or holds labels or
            numbers instead.
    """
    file = TextFile(inside(root, name), advance=advance)
    rows = numbered_rows(file, name, survey)
    first, header = next(rows, (0, []))
    if columns := pair_columns(header):
        read = " and ".join(f"`{header[i].strip()}`" for i in columns)
        survey.notes.append(
            f"{name}, line {first}: `{' TAB '.join(header)}` is a header, no pair; "
            f"source and target are {read}"
        )
    elif header:
        if wrong := _no_pairs(file, header):
            deque(rows, maxlen=0)  # says how many lines are empty
            raise FileError(wrong)
        rows = itertools.chain([(first, header)], rows)
    for line, row in rows:
        where = f"{name}, line {line}"
        source, target = (
            row[i].strip() if i < len(row) else "" for i in columns or (0, 1)
        )
        if not (source and target):
            survey.add(where, "is not `source TAB target`", "text")
        elif not (has_words(source) and has_words(target)):
            survey.add(where, "has a side without any word", "text")
        else:
            yield where, source, target


def _no_pairs(file: TextFile, header: Sequence[str]) -> str | None:
    """Why a file without a header of pairs holds no pairs, if it does not."""
    if names_labels(header):
        return (
            "line 1: names labels, not pairs of sentences: "
            "experiments/sentiment.py reads such files"
        )
    return numbering_fault(line.split("\t") for line in file.lines() if line.strip())


def _drawn(sentence: str, splits: Sequence[str], share: float) -> str:
    """Which split a sentence belongs to: the same wherever and however often it is."""
    digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    chosen = int(place / share) if share else len(splits)
    return splits[chosen] if chosen < len(splits) else "train"


def has_words(text: str) -> bool:
    """Whether a text has anything that a network of words could read."""
    return any(map(str.isalnum, text)) or bool(words(text))


def listed(
    path: Path, suffixes: tuple[str, ...], problems: list[Problem]
) -> tuple[Path, list[str]]:
    """Returns a folder and the names of its files; of a file, its folder and its name.

    Args:
        path: Of a file or a folder.
        suffixes: Endings of the files' names in a folder, in lower case.
        problems: Takes links that lead elsewhere.

    Raises:
        DataError: If there is no such path, or no such file in the folder.
    """
    if path.is_file():
        return path.parent, [path.name]
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder")
    every = walk(path, path, problems)
    names = [name for name in every if name.lower().endswith(suffixes)]
    if not names:
        raise DataError(f"{path} holds no file called *{' or *'.join(suffixes)}")
    return path, names
