"""Files of pictures by position, for an album that looks at each of them once."""

import dataclasses
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import PIL

from jaxnets import files
from jaxnets.data.files.digests import DIGESTS, read_digests, verify
from jaxnets.data.files.images import decode_strictly, strict_warnings
from jaxnets.data.files.reading import Inside, read_with_status
from jaxnets.data.pictures import ImageSpec
from jaxnets.data.store.album import DecodedPicture
from jaxnets.data.store.entries import Notes


class PictureFiles:
    """Files below a folder, decoded as strictly as `jaxnets.data.files.images` does.

    Attributes:
        names: Of the files, relative to the folder.
    """

    def __init__(self, root: Path, names: Sequence[str], spec: ImageSpec) -> None:
        """Opens nothing yet, but for the list of digests.

        Args:
            root: Nothing outside it is read.
            names: Of the files, relative to it.
            spec: What is to become of them.

        Raises:
            DataError: If the list of digests cannot be read.
        """
        self.names = names
        self._spec, self._inside = spec, Inside(root)
        self._root, self._digests = root, read_digests(root)

    @property
    def about(self) -> Notes:
        """What the pixels depend on beside the files."""
        listed = None
        if self._digests is not None:
            listed = files.sha256(self._root / DIGESTS)
        decoder = f"Pillow {PIL.__version__}"
        return {**dataclasses.asdict(self._spec), "digests": listed, "decoder": decoder}

    def states(self) -> np.ndarray:
        """Bytes and time of change of each, `[n, 2]`; -1 where it cannot be told."""
        found = np.full((len(self.names), 2), -1, np.int64)
        root = os.fspath(self._root)
        for row, name in zip(found, self.names, strict=True):
            try:
                status = os.stat(f"{root}/{name}")
            except (OSError, ValueError):  # ValueError: no name of a file
                continue
            row[:] = status.st_size, status.st_mtime_ns
        return found

    def checking(self) -> AbstractContextManager[None]:
        """Makes warnings about pixels errors."""
        return strict_warnings()

    def fetched(self, positions: np.ndarray) -> "PictureFiles":
        """The same: each file is read when it is decoded."""
        return self

    def decoded(self, position: int, *, checked: bool = False) -> DecodedPicture:
        """The picture at a position.

        Args:
            position: In `names`.
            checked: Do not prove again that the file is whole.

        Raises:
            FileError: If it cannot be used.
        """
        name = self.names[position]
        content, status = read_with_status(self._inside(name))
        if not checked:
            verify(content, name, self._digests)
        made = decode_strictly(content, self._spec, checked=checked)
        state = status.st_size, status.st_mtime_ns
        return DecodedPicture(made.pixels, made.original, state)
