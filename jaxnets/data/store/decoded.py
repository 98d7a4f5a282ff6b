"""Decode once: arrays kept beside the data set they came from, verified at every start.

An entry is a folder `<beside>/.jaxnets/<key>/` with one `.npy` file a column and a
`manifest.json`. The key is a hash of the source (its files, their sizes and times) and
of the options, so a set that was prepared again is decoded again. Columns are written
row by row, because a large set does not fit in memory; where the data set's folder is
read-only, the entry goes to the cache folder of the user.

Reading runs no code (no pickle), believes no header before the file is as long as it
says, and compares the SHA-256 of every file: about 0.1 s for the 184 MB of CIFAR-10.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.store.cache import (
    ENVIRONMENT,
    LEFTOVER_SECONDS,
    MANIFEST,
    cache_folder,
    touch,
)

FORMAT = 1  # of an entry; raised when the meaning of what is stored changes
RESIDENT_BYTES = 1 << 30  # a larger column is mapped, not loaded
MANIFEST_BYTES = 16 << 20  # no manifest is nearly as long

Notes = Mapping[str, Any]  # whatever JSON can hold


class DamagedError(Exception):
    """What is wrong with an entry, in words that finish "... is damaged: "."""


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A column on the disk, read when asked; its rows come back as ordinary arrays.

    Attributes:
        rows: The memory map.
        digest: SHA-256 of the file, verified when it was opened.
    """

    rows: np.memmap
    digest: str

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The rows at these positions, copied from the disk."""
        return np.array(self.rows[index], subok=False)


class CacheEntry(NamedTuple):
    """The columns and notes of one entry of the cache."""

    columns: Mapping[str, np.ndarray | Mapped]
    notes: Notes


class Store:
    """Where `fill` puts its columns: a folder that is not yet an entry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, dict[str, Any]] = {}

    @contextlib.contextmanager
    def column(
        self, name: str, shape: tuple[int, ...], dtype: str
    ) -> Iterator[Callable[[np.ndarray], None]]:
        """A function that takes the column's rows, some at a time, in order.

        Ordinary writes, not a map: where the disk is full a write fails, while a page
        of a map that cannot be stored kills the process.

        Args:
            name: Of the column; it becomes a file.
            shape: Of all the rows together.
            dtype: NumPy's name of a type without objects.

        Raises:
            ValueError: If the rows have another type or shape, or are not as many.
            OSError: If the disk is full.
        """
        path = self.folder / f"{files.safe_name(name)}.npy"
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise ValueError(f"{name}: {dtype} could only be stored as a pickle")
        digest, stored = hashlib.sha256(), 0
        with path.open("xb") as file:

            def put(data: Any) -> None:
                file.write(data)
                digest.update(data)

            def append(rows: np.ndarray) -> None:
                nonlocal stored
                if rows.dtype != kind or rows.shape[1:] != shape[1:]:
                    raise ValueError(
                        f"{name}: rows {rows.dtype}{rows.shape[1:]} do not fit into "
                        f"{kind}{shape[1:]}"
                    )
                put(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
                stored += len(rows)

            put(_header(shape, kind))
            yield append
            if stored != shape[0]:
                raise ValueError(f"{name}: {stored} rows instead of {shape[0]}")
            file.flush()
            os.fsync(file.fileno())
        self.written[name] = {
            "shape": list(shape),
            "dtype": kind.str,
            "sha256": digest.hexdigest(),
        }

    def refuse_full(self, size: int) -> None:
        """Refuses columns that would fill the disk, before any is written.

        Args:
            size: Bytes of all columns together.

        Raises:
            DataError: If the disk has less room.
        """
        home, free = self.folder.parent, shutil.disk_usage(self.folder).free
        if size > free:
            raise DataError(
                f"the decoded data take {size:,} bytes, and {home} has {free:,} free: "
                "make room there"
            )

    def save(self, name: str, rows: np.ndarray) -> None:
        """Stores a whole column.

        Raises:
            ValueError: If it could only be stored as a pickle.
            OSError: If the disk is full.
        """
        with self.column(name, rows.shape, rows.dtype.str) as append:
            append(rows)


def decoded(
    beside: Path,
    source: Notes,
    fill: Callable[[Store], Notes],
    *,
    name: str = "",
    resident_bytes: int = RESIDENT_BYTES,
) -> CacheEntry:
    """The columns that `fill` wrote, now or at an earlier start.

    A damaged entry is written again, with a warning that says what was wrong.

    Args:
        beside: The folder of the data set. Not written to where it is read-only: then
            the entry is in `decoded/` of the user's cache folder.
        source: What the columns depend on: a fingerprint of the files, the options. As
            JSON it is hashed to the name of the entry. A new entry replaces those that
            have the same value of `of`, but another one of `files`.
        fill: Called where there is no intact entry; writes columns to the store and
            returns what else is to be remembered.
        name: Of the data set, which `python -m jaxnets.data kept` lists.
        resident_bytes: A column larger than this comes back as `Mapped`.

    Raises:
        DataError: If neither folder can be written to, or the disk is full.
    """
    canonical = _canonical({"format": FORMAT, **source})
    described = json.loads(canonical)
    key = hashlib.sha256(canonical).hexdigest()[:16]
    homes = homes_of(beside)
    for home in homes:
        try:
            if (home / key).exists():
                entry = opened(home / key, described, resident_bytes)
                touch(home / key)
                return entry
        except (OSError, DamagedError) as error:
            warnings.warn(
                f"the decoded data in {home / key} is damaged: {error}; it is decoded "
                "again",
                stacklevel=2,
            )
    reasons = []
    for home in homes:
        try:
            part = _part(home, key)
        except OSError as error:
            reasons.append(f"{home}: {error.strerror}")
            continue
        try:
            about = data_of(name, beside, home)
            _write(part, home / key, described, fill, about)
        except OSError as error:
            raise DataError(
                f"could not write the decoded data to {home}: {error}. Make room there"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return opened(home / key, described, resident_bytes)
    raise DataError(
        f"no folder can take the decoded data ({'; '.join(reasons)}): set "
        f"{ENVIRONMENT} to one that can be written to"
    )


def homes_of(beside: Path) -> list[Path]:
    """Where what was decoded from a folder may lie: in it, or in the user's cache."""
    path = os.fsencode(beside.resolve())
    hidden = hashlib.sha256(path).hexdigest()[:16]
    return [beside / ".jaxnets", cache_folder() / "decoded" / hidden]


def data_of(name: str, beside: Path, home: Path) -> dict[str, str]:
    """What an entry says of its data set: no part of its key, and not verified.

    Args:
        name: Of the data set; "" where it has none.
        beside: The folder of the data set.
        home: Where the entry is. In the folder of the data set it says no path: the
            two are moved together.
    """
    about = {"name": name} if name else {}
    if home.parent != beside:
        about["path"] = os.fspath(beside.resolve())
    return about


def opened(
    entry: Path, described: Notes, resident_bytes: int, *, later: Collection[str] = ()
) -> CacheEntry:
    """An entry, once every file of it was found to be what was written.

    Args:
        entry: Its folder.
        described: What it must have been made from.
        resident_bytes: A column larger than this is mapped.
        later: Columns that are mapped, and whose reader verifies every row.

    Raises:
        DamagedError: If anything in it differs from what was written.
        OSError: If a file cannot be read.
    """
    manifest = _manifest(entry / MANIFEST)
    if manifest["source"] != described:
        raise DamagedError(f"{MANIFEST} describes other data")

    def column(item: tuple[str, dict[str, Any]]) -> tuple[str, np.ndarray | Mapped]:
        name, about = item
        path = entry / f"{files.safe_name(name)}.npy"
        shape, dtype = tuple(about["shape"]), np.dtype(about["dtype"])
        size = verified_header(path, shape, dtype)
        if name not in later and files.sha256(path) != about["sha256"]:
            raise DamagedError(f"{path.name} does not have its SHA-256")
        # Not by `np.load`: it parses the header, which two threads of Python 3.11 may
        # not do at once (SystemError: AST constructor recursion depth mismatch).
        begin = len(_header(shape, dtype))
        if not size or (size <= resident_bytes and name not in later):
            return name, np.fromfile(path, dtype, offset=begin).reshape(shape)
        rows = np.memmap(path, dtype, "r", begin, shape)
        return name, Mapped(rows, about["sha256"])

    try:
        with ThreadPoolExecutor(4) as pool:  # reading and hashing release the lock
            columns = dict(pool.map(column, manifest["columns"].items()))
        return CacheEntry(columns, manifest["notes"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{MANIFEST} makes no sense ({error})") from error


def verified_header(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """How many bytes the array in a `.npy` file takes, once its header told the truth.

    Nothing of that size is allocated before the file was found to be as long.

    Args:
        path: The file.
        shape: That it must have.
        dtype: That it must have.

    Raises:
        DamagedError: If the header names another shape or type, or the file is shorter
            or longer than that takes.
        OSError: If it cannot be read.
    """
    header = _header(shape, dtype)
    size = len(header) + math.prod(shape) * dtype.itemsize
    with path.open("rb") as file:
        # Compared, not parsed: NumPy's parser meets damage with unexpected exceptions.
        if file.read(len(header)) != header:
            raise DamagedError(f"the header of {path.name} is not that of {shape}")
        length = os.fstat(file.fileno()).st_size
    if size != length:
        raise DamagedError(
            f"{path.name} has {length} bytes, its header promises {size}"
        )
    return size - len(header)


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What stands before the numbers in a `.npy` file, in its version 1.0."""
    about = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    body = (repr(about) + "\n").encode("latin1")
    body = b" " * (-(len(body) + 10) % 64) + body  # the numbers start at a multiple
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest, which carries its own SHA-256: its numbers matter as much."""
    if path.stat().st_size > MANIFEST_BYTES:
        raise DamagedError(f"{path.name} is too long")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        body = stored["manifest"]
        digest = hashlib.sha256(_canonical(body)).hexdigest()
        if stored["sha256"] != digest:
            raise DamagedError(f"{path.name} does not have its SHA-256")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from error
    return body


def _canonical(body: Any) -> bytes:
    return json.dumps(body, sort_keys=True).encode()


def _part(home: Path, key: str) -> Path:
    """A new folder to write to, after leftovers of killed processes were removed."""
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob("*.part"):
        with contextlib.suppress(OSError):  # gone already
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    part = home / f"{key}-{uuid.uuid4().hex}.part"
    part.mkdir()
    return part


def _write(
    part: Path,
    entry: Path,
    described: Notes,
    fill: Callable[[Store], Notes],
    data: Notes,
) -> None:
    """Writes an entry so that, whenever the machine stops, it is whole or not there."""
    fill_entry(part, described, fill, data)
    for old in _outdated(entry, described):
        # A rename cannot replace a folder that holds files.
        gone = entry.with_name(f"{old.name}-{uuid.uuid4().hex}.part")
        with contextlib.suppress(OSError):  # another process was faster
            old.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    try:
        part.rename(entry)
    except OSError:
        if not (entry / MANIFEST).exists():  # else: written by another process just now
            raise
    files.sync(entry.parent)


def fill_entry(
    part: Path,
    described: Notes,
    fill: Callable[[Store], Notes],
    data: Notes | None = None,
) -> None:
    """Writes columns and manifest; a rename of the folder makes an entry of it.

    Args:
        part: An empty folder.
        described: What the columns are made from.
        fill: See `decoded`.
        data: See `data_of`; None: of an album's part, whose album says it.

    Raises:
        OSError: If the disk is full.
    """
    store = Store(part)
    notes = fill(store)
    body = {"source": described, "columns": store.written, "notes": notes}
    stored = {
        "sha256": hashlib.sha256(_canonical(json.loads(_canonical(body)))).hexdigest(),
        "manifest": body,
        "data": data,
    }
    files.write(part / MANIFEST, json.dumps(stored, indent=1))


def _outdated(entry: Path, described: Notes) -> list[Path]:
    """The entry itself, damaged, and those decoded from an earlier preparation."""
    found = [entry] if entry.exists() else []
    for other in entry.parent.iterdir():
        if other != entry and (other / MANIFEST).exists():
            with contextlib.suppress(OSError, DamagedError):
                source = _manifest(other / MANIFEST)["source"]
                same = source.get("of") == described.get("of")
                if same and source.get("files") != described.get("files"):
                    found.append(other)
    return found
