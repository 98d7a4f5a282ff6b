"""Entries of the store: folders of arrays that are found to be what was written.

An entry has one `.npy` file a column and a `manifest.json`. Columns are written row by
row, because a large set does not fit in memory.

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
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.store.cache import MANIFEST

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

            put(header_of(shape, kind))
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
        "sha256": hashlib.sha256(canonical(json.loads(canonical(body)))).hexdigest(),
        "manifest": body,
        "data": data,
    }
    files.write(part / MANIFEST, json.dumps(stored, indent=1))


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
    manifest = manifest_of(entry / MANIFEST)
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
        begin = len(header_of(shape, dtype))
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
    header = header_of(shape, dtype)
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


def header_of(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What stands before the numbers in a `.npy` file, in its version 1.0."""
    about = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    body = (repr(about) + "\n").encode("latin1")
    body = b" " * (-(len(body) + 10) % 64) + body  # the numbers start at a multiple
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def manifest_of(path: Path) -> dict[str, Any]:
    """What a manifest says, which carries its own SHA-256: its numbers matter as much.

    Raises:
        DamagedError: If it is not what was written.
        OSError: If it cannot be read.
    """
    if path.stat().st_size > MANIFEST_BYTES:
        raise DamagedError(f"{path.name} is too long")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        body = stored["manifest"]
        digest = hashlib.sha256(canonical(body)).hexdigest()
        if stored["sha256"] != digest:
            raise DamagedError(f"{path.name} does not have its SHA-256")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from error
    return body


def canonical(body: Any) -> bytes:
    """JSON in one form, for digests."""
    return json.dumps(body, sort_keys=True).encode()
