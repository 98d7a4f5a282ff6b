"""Where an album lies on the disk: what was seen of pictures, part by part.

An album is a folder `<home>/<key>/` with a manifest that says what it is of, and parts
`000000` and so on: entries as `jaxnets.data.store.decoded` writes them. A part is whole
or not there, whenever the machine stops.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets import files
from jaxnets.data.store.album import SEEN, Album
from jaxnets.data.store.cache import MANIFEST
from jaxnets.data.store.decoded import homes_of
from jaxnets.data.store.entries import (
    DamagedError,
    Notes,
    Store,
    fill_entry,
    opened,
)
from jaxnets.data.store.locks import held

FORMAT = 1  # of an album; raised when the meaning of what is stored changes
_NAMES = "names.npy"  # of the pictures at the last start, as hashes


def shelves_of(root: Path) -> list[Path]:
    """Where albums of a folder may lie: beside it, or in the user's cache.

    Not in it: for other programs each folder in it is a class.
    """
    real = root.resolve()
    return [real.parent / ".jaxnets" / real.name, homes_of(root)[1]]


class Shelf:
    """The folder of an album.

    Attributes:
        folder: Where it is.
        writable: Whether parts can be added.
    """

    def __init__(
        self,
        homes: Sequence[Path],
        about: Notes,
        data: Mapping[str, str] | None = None,
    ) -> None:
        """The album of this description, in the first home where it is or can be.

        Args:
            homes: Folders of albums; the first is moved together with the data.
            about: What the pictures are and what becomes of them, as JSON. A new album
                replaces those that have the same value of `of`, but another of `files`.
            data: `name` and `path` of the data set, which `python -m jaxnets.data
                kept` lists. The path is noted in the other homes only.
        """
        self._found: list[tuple[Path, np.ndarray]] = []
        self._about = json.loads(
            json.dumps({"format": FORMAT, **about}, sort_keys=True)
        )
        text = json.dumps(self._about, sort_keys=True).encode()
        key = hashlib.sha256(text).hexdigest()[:16]
        places = [home / key for home in homes]
        there = [place for place in places if (place / MANIFEST).exists()]
        self.folder, self.writable = places[-1], False
        for place in there or places:
            self.folder = place
            with contextlib.suppress(OSError):
                place.mkdir(parents=True, exist_ok=True)
                self.writable = os.access(place, os.W_OK | os.X_OK)
            if self.writable or there:
                break
        noted = dict(data or {})
        if self.folder.parent == homes[0]:
            noted.pop("path", None)
        self._manifest = json.dumps({**self._about, "data": noted}, indent=1)
        if self.writable and not there:
            files.write(self.folder / MANIFEST, self._manifest)
            self._remove_outdated()

    def _remove_outdated(self) -> None:
        """Removes albums of files that this album's replaced."""
        for other in self.folder.parent.iterdir():
            about: Any = None
            with contextlib.suppress(OSError, ValueError):
                about = files.read_json(other / MANIFEST)
            if not isinstance(about, dict) or "format" not in about:
                continue
            same = about.get("of") == self._about.get("of")
            if same and about.get("files") != self._about.get("files"):
                _remove(other)

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """Lets one process at a time look at the pictures.

        Args:
            say: Takes a line if another process does.
        """
        if not self.writable:
            yield
            return
        words = "another run is looking at these pictures, so this one waits"
        with held(self.folder / "lock", lambda: say(words)):
            try:
                os.utime(self.folder / MANIFEST)  # last used now
            except FileNotFoundError:  # it was removed while this run waited
                files.write(self.folder / MANIFEST, self._manifest)
            for leftover in self.folder.glob("*.part"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield

    def recall(self, album: Album) -> tuple[np.ndarray, np.ndarray]:
        """Fills in what was seen of an album's pictures.

        A damaged part is removed, with a warning.

        Args:
            album: With the names of its pictures hashed.

        Returns:
            Which pictures those are, and the part that each is in.
        """
        found: list[Path] = []
        names: list[np.ndarray] = []
        for path in self._parts():
            try:
                rows, pixels = self._opened(path)
            except (OSError, DamagedError) as error:
                warnings.warn(
                    f"{album.name}: what was stored in {path} is damaged: {error}; its "
                    "pictures are looked at again",
                    stacklevel=3,
                )
                if self.writable:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            found.append(path)
            names.append(rows["name"].copy())
            album.parts.append(np.zeros(0, np.uint8) if pixels is None else pixels)
        album.whole = lambda part: (
            self._whole(found[part]) if part < len(found) else album.parts[part]
        )
        self._found = list(zip(found, names, strict=True))
        if not found:
            return np.zeros(len(album.seen), bool), np.zeros(len(album.seen), np.int32)
        of, place, known = _matched(album.seen["name"], names)
        for part, path in enumerate(found):  # read again: all at once would be twice
            here = np.flatnonzero(known & (of == part))
            rows = self._opened(path)[0][place[here]]
            rows["part"] = np.where(rows["row"] < 0, -1, part)
            album.seen[here] = rows
        return known, of

    def discard(self, wanted: np.ndarray, used: np.ndarray) -> None:
        """Removes the parts whose pictures have all been looked at again.

        A run that reads from one goes on: the system keeps the file until it ends.

        Args:
            wanted: The names of the album's pictures as hashes.
            used: The numbers of the parts that it still reads, of those recalled.
        """
        for number, (path, names) in enumerate(self._found):
            old = number not in used and np.isin(names, wanted).all()
            if old and self.writable:
                _remove(path)

    def add(self, rows: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
        """Stores a part; returns its pixels as they lie on the disk.

        Args:
            rows: What was seen, of `SEEN`; `row` counts in `pixels`.
            pixels: Of those that are kept, which may be none.

        Raises:
            OSError: If the disk is full; nothing of the part is left then.
        """
        numbers = [int(path.name) for path in self._parts()]
        target = self.folder / f"{max(numbers, default=-1) + 1:06d}"
        part = self.folder / f"{target.name}-{uuid.uuid4().hex}.part"

        def fill(store: Store) -> Notes:
            store.save("seen", rows.view(np.uint8).reshape(len(rows), -1))
            if len(pixels):
                store.save("pixels", pixels)
            return {}

        try:
            part.mkdir()
            fill_entry(part, self._about, fill)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        files.sync(self.folder)
        return self._opened(target)[1]

    def since_last(self, names: np.ndarray) -> tuple[int, int]:
        """How many names are new since the last start, and how many are gone."""
        try:
            last = np.load(self.folder / _NAMES, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return 0, 0
        new = len(np.setdiff1d(names, last))
        return new, len(last) - (len(names) - new)

    def remember(self, names: np.ndarray) -> None:
        """Notes the names of this start, for the next one's `since_last`."""
        if self.writable:
            save = lambda file: np.save(file, np.sort(names), allow_pickle=False)
            files.write_with(self.folder / _NAMES, save)

    def _whole(self, path: Path) -> np.ndarray | None:
        """The pixels of a part, in memory; None if they are not what was stored."""
        try:
            columns: Any = opened(path, self._about, 1 << 40).columns
        except (OSError, DamagedError):
            return None
        return columns["pixels"]

    def free(self) -> int:
        """Bytes that are free on its disk."""
        there = next(p for p in (self.folder, *self.folder.parents) if p.exists())
        return shutil.disk_usage(there).free

    def _parts(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if p.name.isdigit())

    def _opened(self, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """What was seen, and the pixels.

        Raises:
            DamagedError: If it is not what was written, pixels apart: every row of
                those is compared when it is read.
            OSError: If a file cannot be read.
        """
        entry = opened(path, self._about, 1 << 40, later=("pixels",))
        raw: Any = entry.columns["seen"]
        if raw.dtype != np.uint8 or raw.shape[1:] != (SEEN.itemsize,):
            raise DamagedError("what was seen has another format")
        pixels: Any = entry.columns.get("pixels")
        return _rows(raw), None if pixels is None else pixels.rows


def _remove(folder: Path) -> None:
    """Removes a folder that is at no moment half of what it was."""
    gone = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.part")
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _rows(raw: np.ndarray) -> np.ndarray:
    return raw.reshape(-1).view(SEEN)


def _matched(
    wanted: np.ndarray, parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each name the last part that has it, the row there, and whether one has."""
    names = np.concatenate(parts)
    sizes = [len(part) for part in parts]
    of = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    order = np.argsort(names, kind="stable")
    at = np.searchsorted(names, wanted, side="right", sorter=order) - 1
    match = order[np.maximum(at, 0)]
    return of[match], row[match], (at >= 0) & (names[match] == wanted)
