"""Looks at the pictures of a source once, by threads, and remembers what it saw.

A later start looks only at what is new or has changed. What was seen is stored every 64
MiB or 30 seconds, so a kill loses less than a minute, and Ctrl-C nothing.
"""

import contextlib
import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Split
from jaxnets.data.names import hashes
from jaxnets.data.store.album import (
    BLOCK,
    Album,
    Encoded,
    Pictures,
    digest_of,
    sums_of,
)
from jaxnets.data.store.cache import ENVIRONMENT
from jaxnets.data.store.progress import in_units, progress
from jaxnets.data.store.shelf import Shelf

Keep = Literal["auto", "kept", "streamed"]
KEPT_BYTES = 8 << 30  # decoded pictures that take more are decoded when asked
DISK_SHARE = 4  # so are those that take more than this part of the free disk
RESIDENT_BYTES = 1 << 30  # kept pictures that take no more are loaded
PART_BYTES = 64 << 20
PART_ROWS = 2**15
PART_SECONDS = 30.0
_FETCHED = 8 * BLOCK  # pictures read at a time
_AHEAD_BYTES = 32 << 20  # of decoded pictures that wait for their part


class _Look(NamedTuple):
    """What a thread saw of a picture."""

    position: int
    about: np.ndarray  # [1] of SEEN
    pixels: np.ndarray | None  # None: not to be kept
    problem: str


def looked_at(
    source: Encoded,
    name: str,
    shelf: Shelf | None,
    *,
    shape: tuple[int, int, int] | None,
    keep: Keep = "auto",
    say: Callable[[str], None],
) -> Album:
    """An album of all pictures of a source.

    Args:
        source: The pictures.
        name: Of the data set, for messages.
        shelf: Where what is seen is remembered; None: nowhere.
        shape: What all pictures become; None: the shape of the first that can be used,
            and pictures of other shapes are not in the album.
        keep: Whether decoded pictures are kept. By default if they take at most
            `KEPT_BYTES`, and a quarter of what is free on the disk.
        say: Takes lines about what is new, and about where the pixels are.

    Raises:
        DataError: If the disk is full, or pictures that are to be kept would fill it.
    """
    album = Album(source, name)
    seen = album.seen
    seen["name"] = hashes(source.names)
    states = source.states()
    with shelf.locked(say) if shelf else contextlib.nullcontext():
        known, part = np.zeros(len(seen), bool), np.zeros(len(seen), np.int32)
        if shelf:
            known, part = shelf.recall(album)
        fresh = known & (seen["state"] == states).all(axis=1)
        for field in ("state", "shape", "original"):
            seen[field][~fresh] = 0
        seen["part"][~fresh] = -1
        album.shape = shape or _first_shape(album, fresh)
        todo = ~fresh | _unkept(album, fresh, keep, shelf)
        if shelf and known.any():
            _say_new(shelf, seen["name"], int((known & ~fresh).sum()), say)
        _look(album, np.flatnonzero(todo), shelf, say)
        if shelf:
            shelf.discard(seen["name"], np.unique(part[known & ~todo]))
            shelf.remember(seen["name"])
    if len(album.good):
        say(_summary(album, shelf))
    return album


def in_memory(dataset: Dataset) -> Dataset:
    """The data set with its pictures' mean and deviation; few pictures are loaded.

    Args:
        dataset: Its column `image`, if it has one, is in an album.
    """
    images = [split.columns.get("image") for split in dataset.splits.values()]
    columns = [column for column in images if isinstance(column, Pictures)]
    if not columns:
        return dataset
    first, album = columns[0], columns[0].album
    few = len(album.good) * int(np.prod(album.shape)) <= RESIDENT_BYTES
    if album.kept and few:
        loaded = album.loaded([column.positions for column in columns])
        splits = dataset.splits
        for name, column, pixels in zip(splits, columns, loaded, strict=True):
            known = {"image": (pixels, column.digest)}
            rows = {**splits[name].columns, "image": pixels}
            splits[name] = Split(rows, splits[name].ids, known)
        dataset = dataclasses.replace(dataset, **splits)
    mean, std = first.statistics() if len(first) else ((), ())
    return dataclasses.replace(dataset, mean=mean, std=std)


def _first_shape(album: Album, fresh: np.ndarray) -> tuple[int, int, int]:
    """The shape of the first picture that can be used; zeros if none can."""
    with album.source.checking():
        for position in range(len(album.seen)):
            if fresh[position]:
                found = album.seen["shape"][position]
                if found[0]:
                    height, width, channels = map(int, found)
                    return height, width, channels
                continue
            with contextlib.suppress(DataError):
                height, width, channels = album.source.decoded(position).pixels.shape
                return height, width, channels
    return 0, 0, 0


def _unkept(
    album: Album, fresh: np.ndarray, keep: Keep, shelf: Shelf | None
) -> np.ndarray:
    """Decides whether pixels are kept; returns which sound pictures have none there.

    Raises:
        DataError: If pictures that are to be kept have no room.
    """
    seen, one = album.seen, int(np.prod(album.shape))
    sound = ~fresh | (seen["shape"] == album.shape).all(axis=1)
    missing = sound & (seen["part"] < 0)
    size, new, room = int(sound.sum()) * one, int(missing.sum()) * one, 0
    if keep == "streamed" or not new:
        album.kept = keep != "streamed"
    elif shelf is None or not shelf.writable:  # in memory
        room = RESIDENT_BYTES
        album.kept = size <= room
    elif keep == "auto":
        room = shelf.free() // DISK_SHARE
        album.kept = size <= KEPT_BYTES and new <= room
    else:
        room = shelf.free()
        album.kept = new <= room
    if keep == "kept" and not album.kept:
        where = shelf.folder if shelf and shelf.writable else "memory"
        raise DataError(
            f"{album.name}: decoded, its {int(sound.sum()):,} pictures take "
            f"{in_units(size)}, {in_units(new)} of them new, and there is room for "
            f"{in_units(room)} in {where}: make room, set {ENVIRONMENT} to a folder "
            "that has more, or use --pictures streamed"
        )
    if not album.kept:
        seen["part"] = -1
        missing[:] = False
    return missing


def _say_new(
    shelf: Shelf, names: np.ndarray, changed: int, say: Callable[[str], None]
) -> None:
    """Says how the pictures differ from those of the last start."""
    added, removed = shelf.since_last(names)
    words = {"added": added, "changed": changed, "removed": removed}
    if found := [f"{count:,} {word}" for word, count in words.items() if count]:
        say(f"since the last start: {', '.join(found)}")


def _look(
    album: Album,
    todo: np.ndarray,
    shelf: Shelf | None,
    say: Callable[[str], None],
) -> None:
    """Decodes the pictures at these positions, and stores what is seen of them.

    A picture that cannot be used is not remembered: it is looked at at every start,
    because what mends it may leave its size and time as they are.
    """
    if not len(todo):
        return
    part = _Part(album, shelf)
    shown = progress(album.name, "looking at pictures", len(todo), "picture", say)
    with shown as advance, album.source.checking():
        try:
            for looks in _ahead(album, todo):
                for look in looks:
                    part.take(look)
                advance(len(looks))
        except BaseException as error:  # Ctrl-C: what was seen is not lost
            if not isinstance(error, OSError):
                with contextlib.suppress(OSError):
                    part.store()
            raise
        part.store()


def _ahead(album: Album, todo: np.ndarray) -> Iterator[Sequence[_Look]]:
    """What is seen, some pictures at a time, in order; threads are ahead of it."""
    blocks = _fetched_blocks(album, todo)
    one = BLOCK * max(int(np.prod(album.shape)), 1)
    workers = os.cpu_count() or 1
    most = max(_AHEAD_BYTES // one, 2 * workers)
    running: deque[Future[list[_Look]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="looking")
    try:
        for source, positions in blocks:
            running.append(pool.submit(_looks, album, source, positions))
            if len(running) == most:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _fetched_blocks(
    album: Album, todo: np.ndarray
) -> Iterator[tuple[Encoded, np.ndarray]]:
    """Positions a few at a time, with a source that has read what they need."""
    for start in range(0, len(todo), _FETCHED):
        some = todo[start : start + _FETCHED]
        source = album.source.fetched(some)
        for begin in range(0, len(some), BLOCK):
            yield source, some[begin : begin + BLOCK]


def _looks(album: Album, source: Encoded, positions: np.ndarray) -> list[_Look]:
    return [_seen(album, source, int(position)) for position in positions]


def _seen(album: Album, source: Encoded, position: int) -> _Look:
    """What there is to see of a picture."""
    about = album.seen[position : position + 1].copy()
    try:
        found = source.decoded(position)
    except DataError as error:
        return _Look(position, about, None, str(error))
    pixels = found.pixels
    about["state"], about["original"] = found.state, found.original
    about["shape"] = pixels.shape
    about["digest"] = np.frombuffer(digest_of(pixels), np.uint8)
    about["sums"][0, : pixels.shape[2]] = sums_of(pixels)
    return _Look(position, about, pixels if pixels.shape == album.shape else None, "")


class _Part:
    """What was seen since the last part was stored."""

    def __init__(self, album: Album, shelf: Shelf | None) -> None:
        self._album, self._shelf = album, shelf
        self._clear()

    def _clear(self) -> None:
        self._looks: list[_Look] = []
        self._bytes, self._since = 0, time.monotonic()

    def take(self, look: _Look) -> None:
        """One more picture; stores the part if it is full or old enough."""
        if not self._album.kept:
            look = look._replace(pixels=None)
        self._looks.append(look)
        self._bytes += 0 if look.pixels is None else look.pixels.nbytes
        old = time.monotonic() - self._since > PART_SECONDS
        full = self._bytes >= PART_BYTES or len(self._looks) >= PART_ROWS
        if full or (old and self._shelf):
            self.store()

    def store(self) -> None:
        """Stores what was taken.

        Raises:
            DataError: If the disk is full.
        """
        if not self._looks:
            return
        album, looks = self._album, self._looks
        for look in looks:
            if look.problem:
                album.problems[look.position] = look.problem
        looks = [look for look in looks if not look.problem]
        self._clear()
        if not looks:
            return
        rows = np.concatenate([look.about for look in looks])
        kept = [i for i, look in enumerate(looks) if look.pixels is not None]
        rows["row"], rows["part"] = -1, -1
        rows["row"][kept] = np.arange(len(kept))
        pictures = [look.pixels for look in looks if look.pixels is not None]
        pixels = np.stack(pictures) if pictures else np.zeros((0, 0, 0, 0), np.uint8)
        stored: np.ndarray | None = pixels
        if self._shelf and self._shelf.writable:
            try:
                stored = self._shelf.add(rows, pixels)
            except OSError as error:
                raise DataError(
                    f"{album.name}: could not write decoded pictures to "
                    f"{self._shelf.folder}: {error.strerror or error}. Make room "
                    "there, or use --pictures streamed"
                ) from error
        if stored is not None and len(stored):
            rows["part"][kept] = len(album.parts)
            album.parts.append(stored)
        positions = np.array([look.position for look in looks])
        album.seen[positions] = rows


def _summary(album: Album, shelf: Shelf | None) -> str:
    height, width, channels = album.shape
    count = len(album.good)
    size = in_units(count * height * width * channels)
    line = f"{count:,} pictures of {height} x {width} pixels, {size} decoded"
    if not album.kept:
        return f"{line}: streamed, decoded each time they are read"
    return f"{line}, kept in {shelf.folder if shelf else 'memory'}"
