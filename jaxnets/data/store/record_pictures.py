"""Pictures in records of a source, for an album that looks at each of them once."""

import contextlib
import copy
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import PIL
from PIL import Image, ImageFile

from jaxnets.data.dataset import DataError
from jaxnets.data.names import Names
from jaxnets.data.pictures import ImageSpec, placed, window
from jaxnets.data.store.album import DecodedPicture
from jaxnets.data.store.entries import Notes

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@runtime_checkable
class Source(Protocol):
    """Examples by position, as `tfds.data_source` gives them."""

    def __len__(self) -> int: ...

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[Any]: ...


class ImageField(NamedTuple):
    """Which feature of a record is the image, and the size that it is brought to."""

    key: str
    shape: tuple[int, int, int]  # height, width, channels of every row
    fit: Literal["whole", "crop", "stretch", "pad"]  # whole: it has that size already


class PictureRecords:
    """The pictures in the records of several splits, for an album.

    Attributes:
        names: Of the pictures: split and position.
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        picture: ImageField,
        open_split: Callable[[str], Source],
    ) -> None:
        """Opens nothing yet.

        Args:
            lengths: How many records each split has.
            picture: Which feature is decoded, and what it becomes.
            open_split: Opens the source of a split; called at the first picture of it.
        """
        self._splits, self._picture, self._open = list(lengths), picture, open_split
        self._ends = np.cumsum(list(lengths.values()))
        self._sources: dict[str, Source] = {}
        self._lock = threading.Lock()
        self._read: dict[int, bytes] = {}  # what `fetched` has read
        self.names: Sequence[str] = Names.of(
            f"{split}, {i}" for split, count in lengths.items() for i in range(count)
        )

    @property
    def about(self) -> Notes:
        """What the pixels depend on beside the records."""
        height, width, channels = self._picture.shape
        return {
            "feature": self._picture.key,
            "size": (height, width),
            "channels": channels,
            "fit": self._picture.fit,
            "decoder": f"Pillow {PIL.__version__}",
        }

    def of(self, split: str) -> np.ndarray:
        """Positions of the pictures of a split."""
        at = self._splits.index(split)
        return np.arange(self._ends[at - 1] if at else 0, self._ends[at])

    def states(self) -> np.ndarray:
        """The same for all, `[n, 2]`: records do not change one by one."""
        return np.zeros((len(self.names), 2), np.int64)

    def checking(self) -> AbstractContextManager[None]:
        """Nothing to do."""
        return contextlib.nullcontext()

    def fetched(self, positions: np.ndarray) -> "PictureRecords":
        """The same pictures, with these records read: a call costs more than a record.

        Args:
            positions: In `names`.
        """
        made = copy.copy(self)
        split = np.searchsorted(self._ends, positions, side="right")
        begin = np.concatenate([[0], self._ends])[split]
        made._read = {}
        for which in np.unique(split).tolist():
            here = np.flatnonzero(split == which)
            keys = (positions - begin)[here].tolist()
            with self._lock:  # what opens and parses records may not allow threads
                name = self._splits[which]
                if name not in self._sources:
                    self._sources[name] = self._open(name)
                records = self._sources[name].__getitems__(keys)
            encoded = (record[self._picture.key] for record in records)
            made._read.update(zip(positions[here].tolist(), encoded, strict=True))
        return made

    def decoded(self, position: int, *, checked: bool = False) -> DecodedPicture:
        """The picture at a position.

        Args:
            position: In `names`.
            checked: Makes no difference.

        Raises:
            DataError: If it cannot be decoded.
        """
        if position not in self._read:
            return self.fetched(np.array([position])).decoded(position)
        try:
            pixels, original = _pixels(self._read[position], self._picture)
        # Decoders meet damage with a dozen types of exception; none may end the count.
        except Exception as error:
            raise DataError(
                f"cannot be decoded ({type(error).__name__}: {error})"
            ) from None
        return DecodedPicture(pixels, original, (0, 0))


def _pixels(data: bytes, picture: ImageField) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture, `[h, w, c]`, uint8, and its height and width before resizing."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL's LOAD_TRUNCATED_IMAGES is switched on")
    height, width, channels = picture.shape
    with Image.open(io.BytesIO(data)) as image:
        original = image.height, image.width
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"mode {image.mode} does not fit into 8 bits")
        if image.mode != _MODES[channels]:
            image = image.convert(_MODES[channels])
        if picture.fit == "pad":
            spec = ImageSpec((height, width), fit="pad")
            return np.array(placed(image, spec)[0]).reshape(picture.shape), original
        box = None
        if picture.fit == "crop":  # the largest rectangle of that form in the middle
            box = window(original, (height, width))
        if picture.fit != "whole":
            image = image.resize((width, height), Image.Resampling.BILINEAR, box)
        elif image.size != (width, height):
            raise ValueError(f"{original} pixels instead of {height, width}")
        return np.array(image).reshape(picture.shape), original
