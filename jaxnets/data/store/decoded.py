"""Decode once: arrays kept beside the data set they came from, verified at every start.

An entry is a folder `<beside>/.jaxnets/<key>/`. The key is a hash of the source (its
files, their sizes and times) and of the options, so a set that was prepared again is
decoded again. Where the data set's folder is read-only, the entry goes to the cache
folder of the user.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.store.cache import (
    ENVIRONMENT,
    LEFTOVER_SECONDS,
    MANIFEST,
    cache_folder,
    touch,
)
from jaxnets.data.store.entries import (
    CacheEntry,
    DamagedError,
    Notes,
    Store,
    canonical,
    fill_entry,
    manifest_of,
    opened,
)
from jaxnets.data.store.locks import held

FORMAT = 1  # of an entry; raised when the meaning of what is stored changes
RESIDENT_BYTES = 1 << 30  # a larger column is mapped, not loaded


def decoded(
    beside: Path,
    source: Notes,
    fill: Callable[[Store], Notes],
    *,
    name: str = "",
    resident_bytes: int = RESIDENT_BYTES,
    say: Callable[[str], None] = print,
) -> CacheEntry:
    """The columns that `fill` wrote, now or at an earlier start.

    One process fills an entry, and others that need it wait. A damaged entry is written
    again, with a warning that says what was wrong.

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
        say: Takes a line if another process is filling the entry.

    Raises:
        DataError: If neither folder can be written to, or the disk is full.
    """
    text = canonical({"format": FORMAT, **source})
    described = json.loads(text)
    key = hashlib.sha256(text).hexdigest()[:16]
    homes = homes_of(beside)
    for home in homes:
        if (entry := _intact(home / key, described, resident_bytes)) is not None:
            return entry
    wait = f"{name or beside.name}: another run is decoding these data, so this waits"
    reasons = []
    for home in homes:
        with contextlib.ExitStack() as stack:
            try:
                lock = home / f"{key}.lock"
                stack.enter_context(held(lock, lambda: say(wait)))
                stack.callback(lock.unlink, missing_ok=True)
                part = _part(home, key)
                stack.callback(shutil.rmtree, part, ignore_errors=True)
            except OSError as error:
                reasons.append(f"{home}: {error.strerror}")
                continue
            entry = _intact(home / key, described, resident_bytes, warn=False)
            if entry is not None:  # written while this run waited
                return entry
            try:
                about = data_of(name, beside, home)
                _write(part, home / key, described, fill, about)
            except OSError as error:
                raise DataError(
                    f"could not write the decoded data to {home}: {error}. Make room "
                    "there"
                ) from error
            return opened(home / key, described, resident_bytes)
    raise DataError(
        f"no folder can take the decoded data ({'; '.join(reasons)}): set "
        f"{ENVIRONMENT} to one that can be written to"
    )


def _intact(
    folder: Path, described: Notes, resident_bytes: int, *, warn: bool = True
) -> CacheEntry | None:
    """The entry in a folder; None if there is none, or it is damaged."""
    try:
        if folder.exists():
            entry = opened(folder, described, resident_bytes)
            touch(folder)
            return entry
    except (OSError, DamagedError) as error:
        if warn:
            warnings.warn(
                f"the decoded data in {folder} is damaged: {error}; it is decoded "
                "again",
                stacklevel=3,
            )
    return None


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


def _part(home: Path, key: str) -> Path:
    """A new folder to write to, after leftovers of killed processes were removed."""
    for leftover in home.glob("*.part"):
        with contextlib.suppress(OSError):  # gone already
            old = time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS
            if old or leftover.name.startswith(key):  # whose lock this process holds
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
    part.rename(entry)
    files.sync(entry.parent)


def _outdated(entry: Path, described: Notes) -> list[Path]:
    """The entry itself, damaged, and those decoded from an earlier preparation."""
    found = [entry] if entry.exists() else []
    for other in entry.parent.iterdir():
        if other != entry and (other / MANIFEST).exists():
            with contextlib.suppress(OSError, DamagedError):
                source = manifest_of(other / MANIFEST)["source"]
                same = source.get("of") == described.get("of")
                if same and source.get("files") != described.get("files"):
                    found.append(other)
    return found
