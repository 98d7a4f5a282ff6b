"""Files that are either whole or not there: durable writes, digests, safe names."""

import atexit
import contextlib
import functools
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

_SLUG_BYTES = 80  # of a name; file systems take 255, and other parts are added
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


def cache_root() -> Path:
    """The one folder outside of runs: `JAXNETS_CACHE`, or the user's cache.

    Where no home folder is known it is a temporary one, which ends with the process.
    """
    chosen = os.environ.get("JAXNETS_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path(platformdirs.user_cache_dir("jaxnets"))
    except RuntimeError:  # a user id without a name and without HOME, in a container
        return _temporary_cache()


def writable(folder: Path) -> Path:
    """Returns the folder, made if needed; where that fails, a temporary one.

    The temporary folder is for this user only and ends with the process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary()
    return folder if os.access(folder, os.W_OK | os.X_OK) else _temporary()


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="jaxnets-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def _temporary_cache() -> Path:
    print(  # noqa: T201
        "warning: no home folder is known, so downloads and compiled programs are not "
        "kept. Set JAXNETS_CACHE to a folder that can be written",
        file=sys.stderr,
    )
    return _temporary()


def write(path: Path, content: bytes | str) -> None:
    """Replaces the file `path` in one step: after a kill it is the old one or the new.

    Raises:
        OSError: If the disk is full, say; nothing is left behind, the old file stays.
    """
    data = content.encode() if isinstance(content, str) else content
    write_with(path, lambda file: file.write(data))


def write_with(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """As `write`, with the content written by `fill(file)`.

    Raises:
        OSError: As `write`.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until the file, or the list of a folder's entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON: floats to the last bit; `inf` and `nan` as the strings of that name.

    Bare `NaN` and `Infinity`, which Python writes by default, are not JSON. Bytes of a
    file name that are not UTF-8 are written as escapes; `json.loads` gives them back.
    """
    text = json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_json(path: Path) -> Any:
    """Returns what `dump_json` was given; the file is UTF-8, whatever the locale is.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON in UTF-8.
    """
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Yields an absolute path to an existing folder, of ASCII letters and digits only.

    For libraries that treat a path as a pattern: Orbax searches with `glob`, where
    `[v2]`, `*` and `?` have a meaning, and TensorStore accepts UTF-8 only. Where the
    folder's own path has other characters, the path leads through a temporary link.

    Raises:
        OSError: If a link is needed and no temporary folder can be written.
    """
    absolute = folder.absolute()
    if _PLAIN_PATH.fullmatch(str(absolute)):
        yield absolute
        return
    roots = [tempfile.gettempdir(), "/tmp", "/var/tmp"]  # noqa: S108 - mkdtemp is private
    plain = [root for root in roots if _PLAIN_PATH.fullmatch(root)]
    with tempfile.TemporaryDirectory(prefix="jaxnets-", dir=plain[0]) as temporary:
        link = Path(temporary) / "folder"
        link.symlink_to(absolute, target_is_directory=True)
        yield link


def safe_name(name: str) -> str:
    """The same name, if it can only be a file directly inside a folder.

    Raises:
        ValueError: If it is empty, starts with a dot, or holds anything but letters,
            digits, `-`, `_`, `.` and spaces.
    """
    allowed = all(c.isalnum() or c in "-_. " for c in name)
    if not name or name.startswith(".") or not allowed or len(name.encode()) > 200:
        raise ValueError(
            f"{name!r} is no name for a file: use letters, digits, '-', '_', '.'"
        )
    return name


def slug(name: str) -> str:
    """Returns a name that `safe_name` accepts, made from any other one.

    A name that is safe already, and not too long, stays as it is. From others every
    odd character becomes a dash, and a digest is appended: names that differ in these
    characters only stay different.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    short = plain.encode()[:_SLUG_BYTES].decode(errors="ignore")
    try:
        if len(name.encode()) <= _SLUG_BYTES:
            return safe_name(name)
    except (ValueError, UnicodeEncodeError):
        pass
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{short}-{digest}".strip("-")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
