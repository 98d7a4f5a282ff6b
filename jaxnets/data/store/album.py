"""Albums: pictures that were looked at once, then kept decoded or decoded when asked.

A source gives pictures by position. What was seen of each is remembered by its name,
its bytes and the time of its last change: shapes, a digest of the pixels, sums for mean
and deviation. Each row that is read is compared with its digest: a picture damaged on
the disk is decoded again, a file that has changed stops the run.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from jaxnets.data.dataset import DataError
from jaxnets.data.pictures import moments_of_sums

BLOCK = 16  # pictures that a thread takes at a time
_CHUNK = 1024  # rows copied at a time: fewer than a second copy of all
_ALONE = 4 << 20  # bytes of kept rows that are read without threads

# What is remembered of a picture. A name counts by a hash: two of 1.3 million have the
# same one with probability 5e-8, and would have to agree in size and time as well.
SEEN = np.dtype(
    [
        ("name", "<u8"),
        ("state", "<i8", (2,)),  # bytes, and when it was last changed in nanoseconds
        ("original", "<i4", (2,)),  # height and width before any resizing
        ("shape", "<i4", (3,)),  # of the pixels; zeros of a bad picture
        ("digest", "u1", (16,)),  # BLAKE2b of the pixels
        ("sums", "<i8", (4, 2)),  # of each channel: of values, of their squares
        ("part", "<i4"),  # where the pixels are kept; -1: nowhere
        ("row", "<i4"),
    ]
)


class DecodedPicture(NamedTuple):
    """Pixels of a picture, and what it was before."""

    pixels: np.ndarray  # [h, w, c], uint8
    original: tuple[int, int]  # height and width before any resizing
    state: tuple[int, int]  # bytes and time of change of what was read


@runtime_checkable
class Encoded(Protocol):
    """Pictures by position, still encoded."""

    @property
    def names(self) -> Sequence[str]:
        """What each is called; none twice."""
        ...

    def states(self) -> np.ndarray:
        """Bytes and time of change of each, `[n, 2]`, int64; -1 where none is there."""
        ...

    def checking(self) -> AbstractContextManager[None]:
        """Entered by the process, once, while its threads look at files strictly."""
        ...

    def fetched(self, positions: np.ndarray) -> "Encoded":
        """The same source, which has read what these positions need.

        Args:
            positions: Of pictures that will be decoded.
        """
        ...

    def decoded(self, position: int, *, checked: bool = False) -> DecodedPicture:
        """The picture at a position.

        Args:
            position: Of the picture.
            checked: It was found to be sound, and has not changed since.

        Raises:
            DataError: If it cannot be used; without its name.
        """
        ...


class Album:
    """The pictures of a source, looked at.

    Attributes:
        source: Where they come from.
        name: Of the data set.
        seen: What was seen of each, `[n]` of `SEEN`.
        problems: Position to what is wrong, of those that cannot be used.
        shape: Height, width and channels of those that are in one.
        parts: Their pixels, where they are kept.
        whole: From a part to its pixels, read and compared as a whole; None if they
            are not what was stored.
        place: The folder where they are; None if in memory.
        kept: Whether pixels are kept.
    """

    def __init__(self, source: Encoded, name: str) -> None:
        """Nothing was seen yet."""
        self.source, self.name = source, name
        self.seen = np.zeros(len(source.names), SEEN)
        self.seen["part"] = -1
        self.problems: dict[int, str] = {}
        self.shape: tuple[int, int, int] = (0, 0, 0)
        self.parts: list[np.ndarray] = []
        self.whole: Callable[[int], np.ndarray | None] = self.parts.__getitem__
        self.place: Path | None = None
        self.kept = True

    @property
    def good(self) -> np.ndarray:
        """Positions of the pictures that can be used and have the album's shape."""
        alike = (self.seen["shape"] == self.shape).all(axis=1)
        return np.flatnonzero(alike & (self.seen["shape"][:, 0] > 0))

    @property
    def decodable(self) -> np.ndarray:
        """Positions of the pictures that can be used, of whatever shape."""
        return np.flatnonzero(self.seen["shape"][:, 0] > 0)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Pixels of the pictures at these positions, `[n, h, w, c]`, uint8.

        Raises:
            DataError: If a picture has to be decoded and is not what it was.
        """
        made = np.empty((len(positions), *self.shape), np.uint8)
        away = positions[self.seen["part"][positions] < 0]
        source = self.source.fetched(away) if len(away) else self.source

        def fill(begin: int) -> None:
            for i in range(begin, min(begin + BLOCK, len(positions))):
                made[i] = self._one(source, int(positions[i]))

        blocks = range(0, len(positions), BLOCK)
        if self.kept and made.nbytes < _ALONE:
            for begin in blocks:
                fill(begin)
        else:
            list(_pool().map(fill, blocks))
        return made

    def loaded(self, wanted: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As `rows`, for many pictures: files are compared whole, which is faster.

        Args:
            wanted: Positions, some for each array that is returned.
        """
        made = [np.empty((len(at), *self.shape), np.uint8) for at in wanted]
        parts = [self.seen["part"][at] for at in wanted]
        for number in np.unique(np.concatenate(parts)).tolist():
            whole = None if number < 0 else self.whole(number)
            for rows, positions, part in zip(made, wanted, parts, strict=True):
                here = np.flatnonzero(part == number)
                if whole is None:
                    rows[here] = self.rows(positions[here])
                    continue
                for at in range(0, len(here), _CHUNK):
                    some = here[at : at + _CHUNK]
                    rows[some] = whole[self.seen["row"][positions[some]]]
        return made

    def _one(self, source: Encoded, position: int) -> np.ndarray:
        about = self.seen[position]
        digest = about["digest"].tobytes()
        if about["part"] >= 0:
            pixels = np.array(self.parts[about["part"]][about["row"]])
            if digest_of(pixels) == digest:
                return pixels
            warnings.warn(
                f"{self.name}: the stored pixels of {self.source.names[position]} are "
                f"damaged; it is decoded again. Remove {self.place} to store it again",
                stacklevel=2,
            )
        with contextlib.suppress(DataError):
            found = source.decoded(position, checked=True)
            if digest_of(found.pixels) == digest:
                return found.pixels
        where = f"{self.name}: {self.source.names[position]}"
        try:
            found = source.decoded(position)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if digest_of(found.pixels) != digest:
            raise DataError(
                f"{where}: has changed since the run began: start again, which looks "
                "at it again"
            )
        return found.pixels


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A column of pictures in an album, read or decoded when asked.

    Attributes:
        album: Holds them.
        positions: Of the rows, among the pictures of the album.
    """

    album: Album
    positions: np.ndarray

    def __len__(self) -> int:
        """How many there are."""
        return len(self.positions)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The pictures at these positions, `[*index.shape, h, w, c]`, uint8."""
        chosen = self.positions[index]
        rows = self.album.rows(np.asarray(chosen).reshape(-1))
        return rows.reshape(*np.shape(chosen), *self.album.shape)

    def rows_at(self, index: np.ndarray) -> "Pictures":
        """A column of some of the rows."""
        return Pictures(self.album, self.positions[index])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, height, width and channels."""
        return len(self), *self.album.shape

    @property
    def nbytes(self) -> int:
        """How many bytes the pixels take."""
        return int(np.prod(self.shape, dtype=np.int64))

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 over the digests of the rows: the same however they are stored."""
        sha = hashlib.sha256(str(self.album.shape).encode())
        sha.update(self.album.seen["digest"][self.positions].tobytes())
        return sha.hexdigest()

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of every channel; exact; see `channel_statistics`."""
        height, width, channels = self.album.shape
        sums = self.album.seen["sums"][self.positions, :channels].sum(axis=0)
        return moments_of_sums(sums, len(self) * height * width)


def digest_of(pixels: np.ndarray) -> bytes:
    """What tells these pixels from others: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def sums_of(pixels: np.ndarray) -> np.ndarray:
    """Of the values of each channel and of their squares, `[c, 2]`; exact."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    counts = np.array(image.histogram(), np.int64).reshape(-1, 256)
    values = np.arange(256)
    return counts @ np.stack([values, values * values], axis=1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="pictures")
