"""One small protocol for a data set, whatever it comes from.

A `Dataset` has three splits of columns and says what may stand in each column. It is
checked on the host before the first step, because a device never complains: JAX clamps
an index that is out of range, label -1 is the last class, and the one-hot code of a bad
label gives a loss of 0.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxnets.data.names import Names, hashes
from jaxnets.errors import UserError

_BLOCK = 2**14  # ids that are hashed at a time


class DataError(UserError, ValueError):
    """Something is wrong with the data; the message names what and where."""


@runtime_checkable
class Column(Protocol):
    """One feature of every example: an array, a memory map, or files read when asked.

    A NumPy array is one. So is any object with a length that answers an array of
    positions with an array of rows; it is then read batch by batch.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


@runtime_checkable
class Selectable(Protocol):
    """A column that makes a column of some of its rows without reading them."""

    def rows_at(self, index: np.ndarray, /) -> Column:
        """The rows at these positions, in this order."""
        ...


@dataclasses.dataclass(frozen=True)
class Feature:
    """What may stand in a column.

    Attributes:
        shape: Of one example, without the batch axis; None for an axis that varies.
        dtype: NumPy's name for the type.
        low: The smallest value allowed, if there is one.
        high: The largest value allowed, itself included, if there is one.
        classes: The name of each integer from 0, for labels and tokens.
    """

    shape: tuple[int | None, ...]
    dtype: str
    low: float | int | None = None
    high: float | int | None = None
    classes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples, column by column, along one leading axis.

    Attributes:
        columns: Feature name to its rows.
        ids: What the source calls each example, where it does; must not repeat.
        known: Columns in memory, each with the digest that it has elsewhere.
    """

    columns: Mapping[str, Column]
    ids: Sequence[str] | None = None
    known: Mapping[str, tuple[np.ndarray, str]] = dataclasses.field(
        default_factory=dict
    )

    def __len__(self) -> int:
        """How many examples there are."""
        return min((len(column) for column in self.columns.values()), default=0)

    def take(self, index: np.ndarray) -> "Split":
        """The examples at these positions, in this order."""
        columns = {
            name: _Rows.of(column, index) for name, column in self.columns.items()
        }
        ids = self.ids
        if isinstance(ids, Names):
            ids = ids.take(index)
        elif ids is not None:
            ids = [ids[int(i)] for i in index]
        return Split(columns, ids)

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 of everything that the columns hold, and of the ids.

        A column that is not in memory says what its own `digest` is.
        """
        sha = hashlib.sha256()
        for name in sorted(self.columns):
            column = self.columns[name]
            sha.update(f"{name} {len(column)} ".encode())
            known = self.known.get(name)
            if known is not None and known[0] is column:
                sha.update(known[1].encode())
            elif isinstance(column, np.ndarray):
                sha.update(f"{column.dtype} {column.shape} ".encode())
                sha.update(np.ascontiguousarray(column).data)
            else:
                sha.update(str(getattr(column, "digest", "")).encode())
        ids = self.ids or ()
        for start in range(0, len(ids), _BLOCK):
            sha.update(b"\0" * (start > 0))
            sha.update("\0".join(ids[start : start + _BLOCK]).encode())
        return sha.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Some rows of a column that is not in memory."""

    column: Column
    index: np.ndarray

    @staticmethod
    def of(column: Column, index: np.ndarray) -> Column:
        if isinstance(column, np.ndarray) and not isinstance(column, np.memmap):
            return column[index]
        if isinstance(column, Selectable):
            return column.rows_at(index)
        return _Rows(column, index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        return self.column[self.index[index]]

    @property
    def digest(self) -> str:
        rows = hashlib.sha256(np.ascontiguousarray(self.index).data).hexdigest()
        return f"{getattr(self.column, 'digest', '')} {rows}"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Train, validation and test, and what each column means.

    Early stopping, schedules and sweeps see validation; test is scored once.

    Attributes:
        name: As the command line knows it.
        features: Column name to what may stand in it.
        train: What gradients are taken of.
        validation: What choices are made on.
        test: What is reported.
        mean: Of each image channel over the training split, on the scale [0, 1].
        std: Standard deviation of each; `CONSTANT` where a channel never varies.
    """

    name: str
    features: Mapping[str, Feature]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.features["label"].classes

    @property
    def side(self) -> int:
        """Pixels of the shorter side of the images."""
        return min(self.train.columns["image"][:1].shape[1:3])

    @property
    def digest(self) -> str:
        """A SHA-256 over the three splits: another one is another data set."""
        parts = (f"{name} {split.digest}" for name, split in self.splits.items())
        return hashlib.sha256(" ".join((self.name, *parts)).encode()).hexdigest()


def enough(dataset: Dataset, **least: int) -> None:
    """Refuses splits that are too small for what is computed of them.

    Args:
        dataset: Images, or whatever its examples are.
        **least: The smallest number of examples by split, as in `test=2`.

    Raises:
        DataError: With the size and the least of every split that is too small.
    """
    counts = {name: len(dataset.splits[name]) for name in least}
    if small := [name for name in least if counts[name] < least[name]]:
        sizes = ", ".join(f"{n} has {counts[n]} and needs {least[n]}" for n in small)
        raise DataError(
            f"{dataset.name}: too few examples: {sizes}; add examples, or move some "
            "from a larger split"
        )


def checked(dataset: Dataset, *, batch_size: int | None = None) -> Dataset:
    """The same data set, once nothing wrong was found in it.

    Columns in memory are read whole. A column read from files is checked as it is read.

    Args:
        dataset: What to look through.
        batch_size: Also refuse a training split smaller than this.

    Raises:
        DataError: If a split is empty or smaller than a batch, an id repeats within a
            split or across two, columns differ in length, or a value has another shape
            or type, is NaN or infinite, or lies outside its allowed range. The message
            names the data set, split, position, value and range.
    """
    _check_ids(dataset)
    for split_name, split in dataset.splits.items():
        where = f"{dataset.name}, {split_name}"
        lengths = {name: len(column) for name, column in split.columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{where}: the columns differ in length: {lengths}")
        refuse_empty(where, len(split))
        if set(lengths) != set(dataset.features):
            raise DataError(
                f"{where}: has columns {sorted(lengths)}, but features "
                f"{sorted(dataset.features)} are described"
            )
        for name, feature in dataset.features.items():
            column = split.columns[name]
            if isinstance(column, np.ndarray):
                check_rows(column, feature, f"{where}, {name}")
    if batch_size is not None and batch_size > len(dataset.train):
        raise DataError(
            f"{dataset.name}: a batch of {batch_size} does not fit into "
            f"{len(dataset.train)} training examples: use a smaller --batch-size"
        )
    return dataset


def _check_ids(dataset: Dataset) -> None:
    """Raises if an id is there twice, in a split or in two.

    By hashes first: a million names need not lie in memory as strings.
    """
    found = np.concatenate([hashes(s.ids or ()) for s in dataset.splits.values()])
    if len(np.unique(found)) == len(found):
        return
    owner: dict[str, str] = {}
    for name, split in dataset.splits.items():
        for identity in split.ids or ():
            if identity in owner:
                raise DataError(
                    f"{dataset.name}, {name}: the id {identity!r} is there twice "
                    f"(first in {owner[identity]})"
                )
            owner[identity] = name


def refuse_empty(where: str, examples: int) -> None:
    """Refuses a split without examples.

    Args:
        where: Names the data set and the split.
        examples: How many there are.

    Raises:
        DataError: If there is none.
    """
    if not examples:
        raise DataError(
            f"{where}: there is no example in it; give more examples, or a file or "
            "folder for this split"
        )


def check_rows(
    rows: np.ndarray,
    feature: Feature,
    where: str,
    index: Sequence[int] | np.ndarray | None = None,
) -> None:
    """Raises if `rows` holds anything that `feature` does not allow.

    Args:
        rows: Examples along the first axis.
        feature: What is allowed.
        where: Names the place in the message.
        index: What the message calls each row; its position by default.

    Raises:
        DataError: Naming the first bad value, how many there are, and what is allowed.
    """
    expected = (None, *feature.shape)
    if rows.ndim != len(expected) or any(
        want not in (None, have)
        for want, have in zip(expected, rows.shape, strict=True)
    ):
        raise DataError(
            f"{where}: one example has shape {rows.shape[1:]}, expected {feature.shape}"
        )
    wanted = np.dtype(feature.dtype)
    if np.issubdtype(wanted, np.integer) and np.issubdtype(rows.dtype, np.floating):
        _report(rows, ~np.isfinite(rows), where, index, "is not a number")
        _report(rows, rows != np.floor(rows), where, index, "is not a whole number")
    elif not np.can_cast(rows.dtype, wanted, "same_kind"):
        raise DataError(f"{where}: holds {rows.dtype}, expected {wanted}")
    if np.issubdtype(rows.dtype, np.floating):
        _report(rows, ~np.isfinite(rows), where, index, "is not a finite number")
    limits = np.iinfo(rows.dtype) if np.issubdtype(rows.dtype, np.integer) else None
    low, high = feature.low, feature.high
    allowed = f"is outside the allowed range {low} to {high}"
    if low is not None and (limits is None or low > limits.min):
        _report(rows, rows < low, where, index, allowed)
    if high is not None and (limits is None or high < limits.max):
        _report(rows, rows > high, where, index, allowed)


def _report(
    rows: np.ndarray,
    bad: np.ndarray,
    where: str,
    index: Sequence[int] | np.ndarray | None,
    what: str,
) -> None:
    if not bad.any():
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    name = first[0] if index is None else index[first[0]]
    inside = f" at {first[1:]}" if len(first) > 1 else ""
    count = int(bad.reshape(len(rows), -1).any(axis=1).sum())
    raise DataError(
        f"{where}: the value {rows[first].item()!r} of example {name}{inside} {what} "
        f"({count} of {len(rows)} examples)"
    )


def carved(
    labels: np.ndarray, fraction: float, *, salt: str
) -> tuple[np.ndarray, np.ndarray]:
    """Positions to keep and positions to hold out, stratified by label.

    Decided by a hash of each position, so it needs no generator and never changes: in
    every class, the rows with the smallest hashes are held out.

    Args:
        labels: One integer an example.
        fraction: Share of every class to hold out, rounded to whole examples.
        salt: Another salt, another choice; the data set's name, say.

    Returns:
        Kept and held-out positions, each in ascending order.
    """
    ranks = stratified_ranks(labels, salt=salt)
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    most = np.array([round(fraction * count) for count in counts.tolist()], np.int64)
    held = ranks < most[of]
    return np.flatnonzero(~held), np.flatnonzero(held)


def stratified_ranks(labels: np.ndarray, *, salt: str) -> np.ndarray:
    """The rank of every row among the rows of its class, in an order fixed by a hash.

    Args:
        labels: One integer an example.
        salt: Another salt, another order.
    """

    def hashed(position: int) -> int:
        word = f"{salt} {position}".encode()
        return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "big")

    keys = np.fromiter(map(hashed, range(len(labels))), np.uint64, len(labels))
    order = np.lexsort((keys, labels))  # stable: equal hashes by position
    _, begins, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(begins, counts)
    return ranks


@dataclasses.dataclass(frozen=True)
class Texts:
    """A column of text: strings, or tuples of strings.

    Attributes:
        rows: One an example.
        digest: A SHA-256 of them.
    """

    rows: Sequence[Any]
    digest: str

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> Any:
        """An array of objects with the rows at these positions; one row at one."""
        chosen = np.arange(len(self.rows))[index]
        rows = np.empty(chosen.shape, object)
        for place in np.ndindex(chosen.shape):
            rows[place] = self.rows[int(chosen[place])]
        return rows if chosen.shape else rows[()]
