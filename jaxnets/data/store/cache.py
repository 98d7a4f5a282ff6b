"""A folder of generated arrays: written whole or not at all, verified when read.

An entry is a folder `<cache>/<name>/<hash of the key>/` with one `.npy` file an array
and a `manifest.json` that holds the key and the SHA-256 of every file. It is written
under another name, flushed to the disk, and renamed; so a kill leaves either nothing or
a leftover that nobody reads. Reading runs no code: no file here may hold a pickle.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxnets import files

ENVIRONMENT = "JAXNETS_CACHE"  # named in messages; `files.cache_root` reads it
MANIFEST = "manifest.json"
LEFTOVER_SECONDS = 24 * 3600


class _DamagedError(Exception):
    """What is wrong with an entry, in words that finish "... is damaged: "."""


def cache_folder() -> Path:
    """Where generated data lies: `$JAXNETS_CACHE`, or the user's own cache folder."""
    return files.cache_root()


def cached(
    name: str,
    key: Mapping[str, str | int],
    make: Callable[[], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """The arrays that `make()` returns, read from the cache where they are.

    A damaged entry is made again, with a warning that says what was wrong. Where the
    cache cannot be written (a read-only home, a full disk) the arrays still come back,
    with a warning that the next start will have to make them again.

    Args:
        name: Of the data set: a plain word, it becomes a folder.
        key: Everything that the arrays depend on: sizes, the generator's version, the
            version of a library that draws. Another key is another entry.
        make: Called when there is no intact entry. No array of objects, none empty; its
            names are plain words, they become files.

    Returns:
        The arrays in memory, by name.

    Raises:
        ValueError: If a name is not an identifier, or an array is empty or could only
            be stored as a pickle.
    """
    _plain_word(name)
    described = {k: key[k] for k in sorted(key)}
    tag = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    entry = cache_folder() / name / tag
    try:
        if entry.exists():
            found = _read(entry, described)
            touch(entry)
            return found
    except (OSError, _DamagedError) as error:
        warnings.warn(
            f"the cached data in {entry} is damaged: {error}; it is made again",
            stacklevel=2,
        )
    arrays = {n: np.ascontiguousarray(array) for n, array in make().items()}
    for array_name, array in arrays.items():
        _plain_word(array_name)
        if array.dtype.hasobject or not array.size:
            raise ValueError(f"the array {array_name!r} of {name} cannot be cached")
    try:
        _write(entry, described, arrays)
    except OSError as error:
        warnings.warn(
            f"could not write to the cache folder {entry.parent}: {error}; {name} is "
            f"made again at the next start. Set {ENVIRONMENT} to a folder with room",
            stacklevel=2,
        )
    return arrays


def touch(entry: Path) -> None:
    """Sets the time of an entry's last use, that of its manifest, to now."""
    with contextlib.suppress(OSError):  # a folder that cannot be written to
        os.utime(entry / MANIFEST)


def _plain_word(name: str) -> None:
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(f"{name!r} must be a plain word: it names a file in the cache")


def _read(entry: Path, key: Mapping[str, str | int]) -> dict[str, np.ndarray]:
    """The arrays of an entry.

    Raises:
        OSError: If a file of it cannot be read.
        _DamagedError: If it is not what was written.
    """
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        stored, digests = manifest["key"], dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _DamagedError(f"{MANIFEST} cannot be read ({error})") from error
    if stored != key:
        raise _DamagedError(f"{MANIFEST} describes other data: {stored}")
    arrays = {}
    for array_name, digest in digests.items():
        if not array_name.isidentifier():
            raise _DamagedError(f"{MANIFEST} names the file {array_name!r}")
        path = entry / f"{array_name}.npy"
        if files.sha256(path) != digest:
            raise _DamagedError(f"{path.name} does not have its SHA-256")
        try:
            # Mapped first: a header that promises more than the file holds is refused
            # before anything of that size is allocated.
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise _DamagedError(f"{path.name} cannot be read ({error})") from error
        arrays[array_name] = np.array(mapped)
    return arrays


def _write(
    entry: Path, key: Mapping[str, str | int], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes an entry so that, whenever the machine stops, it is whole or not there."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent)
    # A leading dot: no hash starts with one, so no reader takes this for an entry.
    aside = entry.parent / f".{entry.name}-{uuid.uuid4().hex}"
    old = entry.parent / f".{entry.name}-{uuid.uuid4().hex}"
    try:
        aside.mkdir()
        digests = {}
        for name, array in arrays.items():
            path = aside / f"{name}.npy"
            save = functools.partial(np.save, arr=array, allow_pickle=False)
            files.write_with(path, save)
            digests[name] = files.sha256(path)
        manifest = json.dumps({"key": dict(key), "sha256": digests}, indent=1)
        files.write(aside / MANIFEST, manifest)
        if entry.exists():  # damaged; a rename cannot replace a folder that holds files
            entry.rename(old)
        aside.rename(entry)
        files.sync(entry.parent)
    except OSError:
        # Another process may have put the same arrays there in the meantime.
        if not (entry / MANIFEST).exists():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what a killed process left; not what a living one may be writing."""
    for leftover in folder.glob(".*"):
        try:
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
        except OSError:
            continue  # gone already
