"""One process at a time: locks that end with the process that holds them."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path, say: Callable[[], None]) -> Iterator[None]:
    """Holds the lock of a file, which is made where there is none.

    The file may be removed by who holds its lock, together with its folder: whoever
    waits for it then makes another one.

    Args:
        path: Of the file.
        say: Called once if another process holds the lock, before waiting for it.

    Raises:
        OSError: If the file cannot be made.
    """
    said = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a")
        except FileNotFoundError:  # the folder was removed just now
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    say()
                said = True
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks: as if this one were held
                pass
            if _is_at(path, file.fileno()):
                yield
                return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
