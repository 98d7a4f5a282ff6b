"""The words of sentence pairs as integers: split into words once, then kept.

A word's integer is its place among all words of its side, in the order in which the
files have them. Which words a vocabulary knows, and which pairs are short enough, is
decided later: the stored words serve every choice.
"""

import unicodedata
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data.dataset import refuse_empty
from jaxnets.data.files.blocks import digest_of
from jaxnets.data.files.loading import SPLITS, Survey, say_found, summary
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside
from jaxnets.data.files.sentences import pair_files, pairs_of
from jaxnets.data.files.tables import say_blanks
from jaxnets.data.store.decoded import decoded
from jaxnets.data.store.entries import Mapped, Notes, Store
from jaxnets.data.store.progress import progress
from jaxnets.data.store.ragged import starts_of
from jaxnets.scores.tokens import words

SIDES = ("source", "target")
SMALL = 2**20  # bytes; smaller files are read into memory at every start
_FORMAT = 1  # raised when the meaning of what is stored changes, or that of `words`


class Rows(NamedTuple):
    """One side of the pairs of a split."""

    ids: np.ndarray  # of all sentences, one behind the other
    lengths: np.ndarray  # [n], words of each
    starts: np.ndarray  # [n], int64
    digest: str  # of the ids; empty if they are in memory


class CodedPairs(NamedTuple):
    """The pairs of files, word by word."""

    name: str
    words: Mapping[str, Sequence[str]]  # by side: what each id means
    rows: Mapping[tuple[str, str], Rows]  # by split and side
    ids: Mapping[str, Sequence[str]] | None  # by split; None if they are stored


def coded_pairs(path: Path, *, skip_bad: bool = False) -> CodedPairs:
    """The words of the pairs in a file or folder; see `sentence_pairs`.

    Files of more than 1 MiB are split into words once. The integers are stored beside
    them, or in the user's cache folder where that is read-only, and mapped. They are
    used again as long as the files have the same SHA-256.

    Args:
        path: Of a file or a folder.
        skip_bad: Leave bad lines out, with a warning that counts them.

    Raises:
        DataError: If the data are wrong, or the disk is full.
    """
    name = path.resolve().name
    root, names = pair_files(path, Survey())
    digests, size = _files(root, names)
    read = partial(_read, path, name, size, skip_bad=skip_bad)
    if size <= SMALL:
        columns, found, ids = read()
        known = {side: columns[f"{side}.words"] for side in SIDES}
    else:
        source = {
            "of": f"pairs of {path.name if path.is_file() else '.'}",
            "files": digests,
            "skip_bad": skip_bad,
            "pairs": _FORMAT,
            "unicode": unicodedata.unidata_version,
        }
        columns, found = _stored(root, source, name, partial(read, keep=False))
        known = {
            side: columns[f"{side}.words"][:].tobytes().decode().split("\n")
            for side in SIDES
        }
        ids = None
    say_found(name, found, skip_bad=skip_bad)
    rows = {
        (split, side): _rows(
            columns[f"{split}.{side}"], columns[f"{split}.{side}.lengths"][:]
        )
        for split in SPLITS
        for side in SIDES
    }
    return CodedPairs(name, known, rows, ids)


def _stored(
    root: Path,
    source: Notes,
    name: str,
    read: Callable[[], tuple[dict[str, Any], Notes, Any]],
) -> tuple[Mapping[str, Any], Notes]:
    """Columns on the disk, and what was found in the files, now or earlier."""
    filled = False

    def fill(store: Store) -> Notes:
        nonlocal filled
        filled = True
        columns, found, _ = read()
        for side in SIDES:
            text = "\n".join(columns[f"{side}.words"]).encode()
            columns[f"{side}.words"] = np.frombuffer(text, np.uint8)
        store.refuse_full(sum(rows.nbytes for rows in columns.values()))
        for column, rows in columns.items():
            store.save(column, rows)
        return found

    entry = decoded(root, source, fill, name=name, resident_bytes=0)
    if not filled:  # else: said while the files were read
        say_blanks(map(tuple, entry.notes["blanks"]))
    return entry.columns, entry.notes


def _rows(ids: np.ndarray | Mapped, lengths: np.ndarray) -> Rows:
    if isinstance(ids, Mapped):
        return Rows(ids.rows, lengths, starts_of(lengths), ids.digest)
    return Rows(ids, lengths, starts_of(lengths), "")


def _files(root: Path, names: Sequence[str]) -> tuple[list[list[str]], int]:
    """SHA-256 of each file, or why it cannot be read; and how many bytes they have."""
    digests, size = [], 0
    for name in names:
        try:
            path = inside(root, name)
            digests.append([name, digest_of(path)])
            size += path.stat().st_size
        except FileError as error:
            digests.append([name, str(error)])
    return digests, size


class _Numbers(dict[str, int]):
    """The integer of each word; a new word is given the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def _read(
    path: Path, name: str, size: int, *, skip_bad: bool, keep: bool = True
) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
    """Columns of integers and of words, what was found, and the ids of the pairs.

    Raises:
        DataError: If there are problems that may not be skipped, or a split is empty.
    """
    survey = Survey()
    numbers = [_Numbers() for _ in SIDES]
    ids = {(split, side): array("I") for split in SPLITS for side in SIDES}
    lengths = {key: array("I") for key in ids}
    where: dict[str, list[str]] = {split: [] for split in SPLITS}
    say = partial(noted, name)
    with progress(name, "splitting into words", size, "byte", say) as advance:
        for pair in pairs_of(path, survey, advance=advance):
            for side, number, text in zip(SIDES, numbers, pair[2:], strict=True):
                split = words(text)
                ids[pair.split, side].extend(map(number.__getitem__, split))
                lengths[pair.split, side].append(len(split))
            if keep:
                where[pair.split].append(pair.where)
    counts = {split: len(lengths[split, "source"]) for split in SPLITS}
    found = summary(survey, sum(counts.values()))
    if (survey.problems and not skip_bad) or not all(counts.values()):
        say_found(name, found, skip_bad=skip_bad)
        for split, count in counts.items():
            refuse_empty(f"{name}, {split}", count)
    columns: dict[str, Any] = {}
    for (split, side), values in ids.items():
        most = len(numbers[SIDES.index(side)])
        columns[f"{split}.{side}"] = np.asarray(values).astype(_smallest(most))
        here = np.asarray(lengths[split, side])
        columns[f"{split}.{side}.lengths"] = here.astype(_smallest(int(here.max()) + 1))
    columns |= {
        f"{side}.words": list(number)
        for side, number in zip(SIDES, numbers, strict=True)
    }
    return columns, found, where


def _smallest(count: int) -> np.dtype:
    """The smallest unsigned type that holds so many different integers."""
    return np.min_scalar_type(max(count - 1, 0))
