"""Run folders: which one a command goes on in, and that no one else does.

`runs/<experiment>/<time>-<id>/`, where the id is a hash of everything that must not
change. The same command again goes on in the newest unfinished folder of its id; a
finished one stays as it is, and a new one is begun.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any, BinaryIO

from jaxnets import files
from jaxnets.errors import UserError
from jaxnets.run import settings


class RunError(UserError, RuntimeError):
    """A run cannot begin or go on here; the message says why and what to do."""


class Folder:
    """A run folder that this process has locked: no other process writes there.

    Attributes:
        path: The folder.
        settings: What config.json holds.
    """

    writes = True

    def __init__(self, path: Path, lock: Any) -> None:
        """Takes over a lock; use `opened` to get one."""
        self.path, self._lock = path, lock
        self.settings: dict[str, Any] = read_settings(path)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "result.json").exists()

    def update(self, **more: Any) -> None:
        """Adds to config.json, in one step."""
        self.settings |= more
        self.write("config.json", files.dump_json(self.settings, indent=2) + "\n")

    def write(self, name: str, content: bytes | str) -> None:
        """Replaces a file in the folder in one step; makes the folders around it."""
        self.write_with(
            name,
            lambda file: file.write(
                content.encode() if isinstance(content, str) else content
            ),
        )

    def write_with(self, name: str, fill: Callable[[BinaryIO], Any]) -> None:
        """As `write`, with the content written by `fill(file)`."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_with(path, fill)

    def remove(self, name: str) -> None:
        """Deletes a file of the folder."""
        (self.path / name).unlink()

    def close(self) -> None:
        """Lets go of the lock."""
        self._lock.close()


class ReadOnlyFolder:
    """The twin of `Folder` for a process that only reads: nothing is ever written.

    Attributes:
        path: The folder.
    """

    writes = False

    def __init__(self, path: Path) -> None:
        """Touches nothing, and locks nothing."""
        self.path = path

    def write(self, name: str, content: bytes | str) -> None:
        """Writes nothing."""

    def write_with(self, name: str, fill: Callable[[BinaryIO], Any]) -> None:
        """Writes nothing, and does not call `fill`."""

    def close(self) -> None:
        """There is no lock."""


def read_settings(path: Path) -> dict[str, Any]:
    """What config.json holds.

    Raises:
        RunError: If there is none, or it is damaged.
    """
    try:
        found = files.read_json(path / "config.json")
    except FileNotFoundError:
        raise RunError(f"{path} is no run folder: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path / 'config.json'} cannot be read: {error}") from error
    known = isinstance(found, dict) and "experiment" in found
    if not known or not isinstance(found.get("config"), dict):
        raise RunError(f"{path / 'config.json'} is no run's configuration")
    return found


def opened(
    root: Path,
    wanted: dict[str, Any],
    *,
    named: Path | None = None,
    fresh: bool = False,
    may_differ: Set[str] = frozenset(),
) -> Folder:
    """The folder to run in, locked: an unfinished one of the same id, or a new one.

    Args:
        root: The folder of the experiment's runs.
        wanted: What must not change; its hash is the id. Becomes config.json.
        named: This folder and no other.
        fresh: Never go on with an unfinished one.
        may_differ: Settings that may differ in a named folder.

    Raises:
        RunError: If another process is at it, or a named folder belongs to another
            configuration; the message shows the difference.
    """
    with _chosen(root, wanted, named, may_differ, fresh=fresh) as path:
        return _locked(path)


def prepared(root: Path, wanted: dict[str, Any], *, named: Path | None = None) -> Path:
    """The folder that `opened` would run in, for who helps and may come first.

    Nothing is locked, so that whoever runs in it is never refused.

    Raises:
        RunError: If a named folder belongs to another configuration.
    """
    with _chosen(root, wanted, named, set(), fresh=False) as path:
        return path


@contextlib.contextmanager
def _chosen(
    root: Path,
    wanted: dict[str, Any],
    named: Path | None,
    may_differ: Set[str],
    *,
    fresh: bool,
) -> Iterator[Path]:
    """See `opened`; while entered, no other process chooses a folder there."""
    wanted = {**wanted, "id": settings.identity(wanted)}
    if named is not None and not named.name:  # `.` has no name of its own
        named = named.absolute()
    home = named.parent if named else root
    home.mkdir(parents=True, exist_ok=True)
    with _held(home):
        if named is not None:
            if named.exists() and any(named.iterdir()):
                _refuse_other(named, wanted, may_differ)
            else:
                _begin(named, wanted)
            yield named
            return
        unfinished = [
            path
            for path in sorted(home.glob(f"*-{wanted['id']}"), reverse=True)
            if (path / "config.json").exists() and not (path / "result.json").exists()
        ]
        if unfinished and not fresh:
            yield unfinished[0]
            return
        while (
            path := home / f"{time.strftime('%Y%m%d-%H%M%S')}-{wanted['id']}"
        ).exists():
            time.sleep(0.1)  # a folder a second
        _begin(path, wanted)
        yield path


def _refuse_other(path: Path, wanted: dict[str, Any], may_differ: Set[str]) -> None:
    found = read_settings(path)
    for key in ("experiment", "config", "origin"):
        changed = settings.differences(found.get(key), wanted.get(key))
        changed = {name: how for name, how in changed.items() if name not in may_differ}
        if changed:
            lines = "".join(
                f"\n  {name or key}: {how}" for name, how in changed.items()
            )
            raise RunError(
                f"{path} belongs to another configuration:{lines}\n"
                "Leave out --run-dir for a new folder; --resume weights begins a new "
                "run from this one's weights"
            )


def _begin(path: Path, wanted: dict[str, Any]) -> None:
    """A new folder, which has its config.json from the first moment."""
    part = path.with_name(f".{path.name}.new-{os.getpid()}")
    part.mkdir(parents=True, exist_ok=True)
    files.write(part / "config.json", files.dump_json(wanted, indent=2) + "\n")
    if path.exists():
        path.rmdir()  # named, and empty
    part.rename(path)
    files.sync(path.parent)


def _locked(path: Path) -> Folder:
    file = (path / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise RunError(
            f"{path} is being run by process {owner}. Wait for it, stop it, or begin "
            "another run with --resume never"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return Folder(path, file)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Only one process at a time chooses a folder inside this one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
