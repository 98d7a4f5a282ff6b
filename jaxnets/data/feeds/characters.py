"""Texts as integers, one a character: in memory, or written once and mapped."""

import contextlib
import functools
import hashlib
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from jaxnets.data.files.blocks import digest_of
from jaxnets.data.files.loading import SPLITS, say_found
from jaxnets.data.files.passages import Passages, file_passages, folder_passages
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside
from jaxnets.data.files.sentences import listed
from jaxnets.data.generated.corpus import Corpus
from jaxnets.data.store.decoded import decoded
from jaxnets.data.store.entries import Notes, Store
from jaxnets.data.store.progress import progress
from jaxnets.data.text import Vocabulary, vocabulary_of
from jaxnets.ops.decoding import SPECIAL, UNKNOWN

SMALL = 2**20  # bytes; smaller files are read into memory at every start
_FORMAT = 1  # raised when the meaning of what is stored changes
_PIECE = 2**20  # characters
_POINTS = sys.maxunicode + 1


class Tokens(NamedTuple):
    """A part of a text as integers."""

    ids: Integer[np.ndarray, " n"]  # in memory or mapped
    digest: str  # SHA-256 of the integers as int32
    unknown: int  # how many are `<unk>`


class CodedText(NamedTuple):
    """A text as integers, and what they mean."""

    vocabulary: Vocabulary
    train: Tokens
    validation: Tokens
    test: Tokens


def coded(text: Corpus) -> CodedText:
    """A text in memory as integers, int32; the vocabulary is that of training."""
    parts = dict(zip(SPLITS, (_composed(part) for part in text), strict=True))
    counts = np.zeros(_POINTS, np.int64)
    for piece in _slices(parts["train"]):
        counts += np.bincount(_points(piece), minlength=_POINTS)
    known = _vocabulary(counts)
    table = _table(known, np.dtype(np.int32))
    made = []
    for part in parts.values():
        ids = np.concatenate([table[_points(piece)] for piece in _slices(part)])
        digest = hashlib.sha256(ids.data).hexdigest()
        made.append(Tokens(ids, digest, int((ids == UNKNOWN).sum())))
    return CodedText(known, *made)


def is_long(path: Path) -> bool:
    """Whether the files of a text have more than 1 MiB, so that `stored` is for them.

    Raises:
        DataError: If there is no such path, or no text in the folder.
    """
    root, names = listed(path, (".txt",), [])
    size = 0
    for name in names:
        with contextlib.suppress(FileError, OSError):  # said where it is read
            size += os.stat(inside(root, name)).st_size
    return size > SMALL


def stored(path: Path, *, skip_bad: bool = False) -> CodedText:
    """The characters of a file, or of the texts below a folder, in the store.

    They are written once, beside the files or in the user's cache folder where that is
    read-only, as the smallest integers that hold the vocabulary. They are used again as
    long as the files have the same SHA-256.

    Args:
        path: Of a file for `file_passages`, or a folder for `folder_passages`.
        skip_bad: Leave bad files of a folder out, with a warning that counts them.

    Raises:
        DataError: If the data are wrong, or the disk is full.
    """
    name, alone = path.resolve().name, path.is_file()
    root, names = listed(path, (".txt",), problems := [])
    source = {
        "of": f"text of {path.name if alone else '.'}",
        "files": [[file, _digest(root, file)] for file in names],
        "problems": [str(problem) for problem in problems],
        "skip_bad": skip_bad,
        "characters": _FORMAT,
        "unicode": unicodedata.unidata_version,
    }

    def fill(store: Store) -> Notes:
        if alone:
            return _write(store, name, file_passages(path))
        return _write(store, name, folder_passages(path, skip_bad=skip_bad))

    entry = decoded(root, source, fill, name=name, resident_bytes=0)
    say_found(name, entry.notes["found"], skip_bad=skip_bad)
    known = Vocabulary((*SPECIAL, *entry.notes["characters"]), "character")
    mapped: dict[str, Any] = {split: entry.columns[split] for split in SPLITS}
    parts = (
        Tokens(mapped[split].rows, *entry.notes["parts"][split]) for split in SPLITS
    )
    return CodedText(known, *parts)


def _digest(root: Path, name: str) -> str:
    """SHA-256 of a file, or why it cannot be read."""
    try:
        return digest_of(inside(root, name))
    except FileError as error:
        return str(error)


def _write(store: Store, name: str, text: Passages) -> Notes:
    """Counts the characters of training, then writes those of all parts."""
    say = functools.partial(noted, name)
    counts, lengths = np.zeros(_POINTS, np.int64), Counter[str]()
    doing, total = "reading characters", 2 * text.characters
    with progress(name, doing, total, "character", say) as advance:
        for split, piece in composed(text.pieces(advance)):
            lengths[split] += len(piece)
            if split == "train":
                counts += np.bincount(_points(piece), minlength=_POINTS)
        known = _vocabulary(counts)
        kind = np.min_scalar_type(len(known) - 1)
        table = _table(known, kind)
        store.refuse_full(lengths.total() * kind.itemsize)
        shas = {split: hashlib.sha256() for split in SPLITS}
        unknown = dict.fromkeys(SPLITS, 0)
        with contextlib.ExitStack() as columns:
            append = {
                split: columns.enter_context(
                    store.column(split, (lengths[split],), kind.str)
                )
                for split in SPLITS
            }
            for split, piece in composed(text.pieces(advance)):
                ids = table[_points(piece)]
                append[split](ids)
                shas[split].update(ids.astype(np.int32).data)
                unknown[split] += int((ids == UNKNOWN).sum())
    return {
        "found": text.found,
        "characters": known.tokens[len(SPECIAL) :],
        "parts": {s: [shas[s].hexdigest(), unknown[s]] for s in SPLITS},
    }


def composed(pieces: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Texts in NFC, as if each was composed in one piece.

    Args:
        pieces: Names of texts, one after the other, and what they hold, in order.
    """
    name, held = "", ""
    for other, piece in pieces:
        if other != name:
            if held:
                yield name, _composed(held)
            name, held = other, ""
        held += piece
        # No character of ASCII is ever composed with the one in front of it.
        end = next((i for i in range(len(held) - 1, 0, -1) if held[i] < "\x80"), 0)
        if end:
            yield name, _composed(held[:end])
            held = held[end:]
    if held:
        yield name, _composed(held)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _slices(text: str) -> Iterator[str]:
    for begin in range(0, len(text), _PIECE):
        yield text[begin : begin + _PIECE]


def _points(text: str) -> Integer[np.ndarray, " n"]:
    """The code point of each character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _vocabulary(counts: np.ndarray) -> Vocabulary:
    found = {chr(i): int(counts[i]) for i in np.flatnonzero(counts)}
    return vocabulary_of(found, level="character")


def _table(known: Vocabulary, kind: np.dtype) -> np.ndarray:
    """What each code point becomes."""
    table = np.full(_POINTS, UNKNOWN, kind)
    first = len(SPECIAL)
    table[list(map(ord, known.tokens[first:]))] = np.arange(first, len(known))
    return table
