"""What stores hold: lists entries of all kinds, and removes those that are named.

A store is a folder of entries: `.jaxnets` in the folder of a TFDS set, `.jaxnets/NAME`
beside the folder NAME of a user's images, or one in the user's cache. An entry is a
folder in it that is called by its key and has a manifest. Links are not followed, and
nothing else is listed or removed.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxnets.data.dataset import DataError
from jaxnets.data.store.cache import MANIFEST, cache_folder
from jaxnets.data.store.entries import MANIFEST_BYTES

BESIDE = ".jaxnets"  # the store in a folder, or of the folders in it
_KEY = re.compile(r"[0-9a-f]{16}")
_DEPTH = 3  # a TFDS set is in name/variant/version
_HIDDEN = (
    "files",
    "digests",
    "images",
    "format",
    "data",
    "of",
)  # of what a key depends on
_FIRST = ("size", "fit")  # the options that users chose
_LONGEST = 24  # characters of a value that is shown; digests have more


@dataclasses.dataclass(frozen=True)
class StoreEntry:
    """An entry of a store.

    Attributes:
        key: Name of its folder. Entries in two stores may have the same key.
        folder: Its folder.
        kind: album: pictures of local files; decoded: a TFDS set, or features;
            generated: data of a generator; damaged: its manifest cannot be read.
        name: Of the data set.
        options: What else it depends on, in words.
        path: Folder of the data; None: generated, or not known.
        gone: Whether there are no data at that path now.
        size: Bytes of its files.
        used: When it was last used, in seconds since 1970.
    """

    key: str
    folder: Path
    kind: Literal["album", "decoded", "generated", "damaged"]
    name: str
    options: str
    path: Path | None
    gone: bool
    size: int
    used: float


class _Store(NamedTuple):
    """A folder of entries, and the folder of their data if that is around it."""

    folder: Path
    data: Path | None


def entries(paths: Iterable[Path]) -> list[StoreEntry]:
    """The entries in the user's cache, and in the stores of some data sets.

    Args:
        paths: Folders of data sets, or folders that hold some down to three levels
            below; one that is missing holds none.
    """
    stores = {os.path.realpath(store.folder): store for store in _stores(paths)}
    found = []
    for _, store in sorted(stores.items()):
        for folder in _folders(store.folder):
            if _KEY.fullmatch(folder.name) and (entry := _entry(folder, store.data)):
                found.append(entry)
    return found


def named(found: Sequence[StoreEntry], words: Iterable[str]) -> list[StoreEntry]:
    """The entries that are named, each once.

    Args:
        found: To choose from.
        words: Each is a key, the beginning of one, or the folder of an entry.

    Raises:
        DataError: If a word names no entry, or several; lists those that it could name.
    """
    chosen: dict[Path, StoreEntry] = {}
    for word in words:
        folder = Path(os.path.abspath(word))
        fits = [e for e in found if e.folder == folder]
        fits = fits or [e for e in found if word and e.key.startswith(word)]
        if len(fits) != 1:
            wrong = f"names {len(fits)} entries" if fits else "names no entry"
            lines = [f"\n  {e.key}  {e.name}  {e.folder}" for e in fits or found]
            raise DataError(
                f"--remove {word or repr(word)} {wrong}: give a key, the beginning of "
                f"one, or the folder of an entry{''.join(lines) or '; there are none'}"
            )
        chosen[fits[0].folder] = fits[0]
    return list(chosen.values())


def discard(entry: StoreEntry) -> None:
    """Removes an entry from the disk; a run that has read it goes on undisturbed.

    Raises:
        DataError: If a run is writing to it.
        OSError: If the system refuses.
    """
    # Both sweeps of leftovers know this name, should the process be killed here.
    aside = entry.folder.with_name(f".{entry.key}-{uuid.uuid4().hex}.part")
    with _unlocked(entry):
        entry.folder.rename(aside)
    shutil.rmtree(aside)


@contextlib.contextmanager
def _unlocked(entry: StoreEntry) -> Iterator[None]:
    """Holds the lock of an album; other entries have none, they appear complete."""
    try:
        lock = os.open(entry.folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(f"{entry.key} is in use by a run: stop it first") from None
    finally:
        os.close(lock)


def _stores(paths: Iterable[Path]) -> Iterator[_Store]:
    cache = Path(os.path.abspath(cache_folder()))
    for folder in _folders(cache):
        for store in _folders(folder) if folder.name == "decoded" else (folder,):
            yield _Store(store, None)
        if _is_folder(folder / BESIDE):  # of data that are computed, as features are
            yield _Store(folder / BESIDE, None)
    for path in paths:
        real = Path(os.path.realpath(path))
        if _is_folder(own := real.parent / BESIDE / real.name):
            yield _Store(own, real)
        yield from _beside(Path(os.path.abspath(path)), _DEPTH)


def _beside(folder: Path, depth: int) -> Iterator[_Store]:
    """The stores in a folder and below, in folders that are not hidden."""
    if _is_folder(folder / BESIDE):
        yield _Store(folder / BESIDE, folder)
        for home in _folders(folder / BESIDE):  # of albums of the folders in it
            if not (home / MANIFEST).exists():
                yield _Store(home, folder / home.name)
    if depth:
        for child in _folders(folder):
            if not child.name.startswith("."):
                yield from _beside(child, depth - 1)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, without links; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(path) as items:
        names = [item.name for item in items if item.is_dir(follow_symlinks=False)]
        return [path / name for name in sorted(names)]
    return []


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _entry(folder: Path, beside: Path | None) -> StoreEntry | None:
    """The entry in a folder; None if there is none."""
    try:
        status = (folder / MANIFEST).lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    kind, about, data = _described(folder / MANIFEST, status.st_size)
    if kind is None:
        return None
    path = Path(data["path"]) if isinstance(data.get("path"), str) else beside
    name = data.get("name") or (path.name if path else folder.parent.name)
    return StoreEntry(
        key=folder.name,
        folder=folder,
        kind=kind,
        name=str(name),
        options=", ".join(_options(about)),
        path=path,
        gone=path is not None and _gone(path),
        size=_size(folder),
        used=status.st_mtime,
    )


def _described(
    manifest: Path, size: int
) -> tuple[
    Literal["album", "decoded", "generated", "damaged"] | None,
    Mapping[str, Any],
    Mapping[str, Any],
]:
    """The kind of an entry, what its key depends on, and what it says of its data."""
    try:
        if size > MANIFEST_BYTES:
            return "damaged", {}, {}
        stored = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "damaged", {}, {}
    if not isinstance(stored, dict):
        return None, {}, {}
    data = _mapping(stored.get("data"))
    if "manifest" in stored:
        about = _mapping(_mapping(stored["manifest"]).get("source"))
        return "decoded", {**about, **_mapping(about.get("features"))}, data
    if "key" in stored and "sha256" in stored:
        return "generated", _mapping(stored["key"]), data
    return ("album" if "format" in stored else None), stored, data


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _options(about: Mapping[str, Any]) -> Iterator[str]:
    """What an entry depends on, as far as it is short enough to be read."""
    for name in sorted(about, key=lambda name: name not in _FIRST):
        value = about[name]
        if name in _HIDDEN or value is None or isinstance(value, dict):
            continue
        listed = isinstance(value, list)
        text = " x ".join(map(str, value)) if listed else str(value)
        if text and len(text) <= _LONGEST:
            yield f"{name} {text}"


def _gone(path: Path) -> bool:
    """Whether a folder of data is missing, or holds nothing but its store."""
    try:
        with os.scandir(path) as items:
            return all(item.name == BESIDE for item in items)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it may not be read: nobody knows


def _size(folder: Path) -> int:
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(root, name)).st_size
    return size
