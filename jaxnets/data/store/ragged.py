"""Rows of different lengths: one array of integers, and where each row is in it."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = 1 << 18  # rows that are counted at a time


@dataclasses.dataclass(frozen=True)
class Ragged:
    """A column of integers that fills rows up to one width when it is read.

    Attributes:
        ids: All rows one behind the other, `[k]`; in memory or mapped.
        starts: Where each row begins in `ids`, `[n]`, int64.
        lengths: Of each row, `[n]`, without what `ends` adds.
        table: What every id becomes, `[m]`, int32.
        width: Of every row that is read; none may need more.
        ends: What is put in front of each row, and behind it; None: nothing.
        fill: What rows are filled up with.
        source: Digest of `ids`.
    """

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    table: np.ndarray
    width: int
    ends: tuple[int, int] | None = None
    fill: int = 0
    source: str = ""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.starts)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The rows at these positions, `[*index.shape, width]`, int32."""
        starts, lengths = np.asarray(self.starts[index]), self.lengths[index]
        shape = starts.shape
        starts, lengths = starts.reshape(-1, 1), lengths.reshape(-1, 1).astype(np.int64)
        made = np.full((len(starts), self.width), self.fill, np.int32)
        front = 0 if self.ends is None else 1
        place = np.arange(self.width - 2 * front)
        real = place < lengths
        inner = made[:, front : self.width - front]
        inner[real] = self.table[self.ids[(starts + place)[real]]]
        if self.ends is not None:
            made[:, 0] = self.ends[0]
            made[np.arange(len(made)), lengths[:, 0] + 1] = self.ends[1]
        return made.reshape(*shape, self.width)

    def rows_at(self, index: np.ndarray) -> "Ragged":
        """A column of some of the rows."""
        return dataclasses.replace(
            self, starts=self.starts[index], lengths=self.lengths[index]
        )

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 of what the rows are made from."""
        words = f"{self.source} {self.width} {self.ends} {self.fill}"
        sha = hashlib.sha256(words.encode())
        for array in (self.starts, self.lengths, self.table):
            sha.update(np.ascontiguousarray(array, np.int64).data)
        return sha.hexdigest()


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin that stand one behind the other, `[n]`."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return ends - lengths


def counts_of(
    ids: np.ndarray, lengths: np.ndarray, chosen: np.ndarray, size: int
) -> np.ndarray:
    """How often each id is there in some rows, `[size]`, int64.

    Args:
        ids: All rows one behind the other.
        lengths: Of each row.
        chosen: Positions of the rows that count.
        size: More than any id.
    """
    counts = np.zeros(size, np.int64)
    counted = np.zeros(len(lengths), bool)
    counted[chosen] = True
    for rows, place in _blocks(lengths):
        here = np.repeat(counted[rows], lengths[rows])
        counts += np.bincount(ids[place][here], minlength=size)
    return counts


def _blocks(lengths: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Some rows at a time, and where their ids are."""
    begin = 0
    for first in range(0, len(lengths), _BLOCK):
        rows = slice(first, first + _BLOCK)
        end = begin + int(lengths[rows].sum(dtype=np.int64))
        yield rows, slice(begin, end)
        begin = end
