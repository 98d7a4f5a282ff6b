"""The persistent compilation cache, guarded, and a clock for compiling.

JAX writes a cache entry in place. A kill in the middle leaves a truncated one, which
every later start would fail to read and never replace. So each process puts down a
mark, with a lock on it, and takes it away when it ends well: the next process finds the
mark of a killed one, whose lock is free, and removes the entries written since.
"""

import atexit
import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

import jax

from jaxnets import files

_COMPILE = "/jax/core/compile/backend_compile_duration"
_SAVED = "/jax/compilation_cache/compile_time_saved_sec"
_lock = threading.Lock()
_clocks: list["_Clock"] = []
_marks: dict[Path, Any] = {}
_distrusted: set[Path] = set()  # marks that stay, so that the next process mends


def cache_folder() -> Path:
    """Where compiled programs are kept: `JAX_COMPILATION_CACHE_DIR`, or the user's."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(chosen) if chosen else files.cache_root() / "compiled"


def use_cache() -> None:
    """Switches the persistent cache on for this process, after mending it.

    Does nothing where the user switched it off (`JAX_ENABLE_COMPILATION_CACHE=0`) or
    the folder cannot be written: a program then compiles anew, which is only slower.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mend(folder)
        _mark(folder)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def mend(folder: Path) -> int:
    """Removes what killed processes may have left half-written.

    Returns:
        How many entries were removed.
    """
    removed = 0
    for mark in folder.glob("writing-*.lock"):
        if mark in _marks:
            continue
        with contextlib.suppress(OSError), mark.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its process lives
            begun = mark.stat().st_mtime
            for entry in folder.glob("*-cache"):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime >= begun:
                        entry.unlink()
                        removed += 1
            mark.unlink(missing_ok=True)
    return removed


def _mark(folder: Path) -> None:
    """Says that this process may be writing, until it ends well."""
    path = folder / f"writing-{os.getpid()}.lock"
    if path in _marks:
        return
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    # File systems keep coarse times: leave room for an entry of the same moment.
    moment = time.time() - 1
    os.utime(path, (moment, moment))
    _marks[path] = file

    def clear() -> None:
        if path not in _distrusted:
            path.unlink(missing_ok=True)
        file.close()

    atexit.register(clear)


def distrust() -> None:
    """Has the next process remove what this one has compiled.

    For a process that Ctrl-C stopped anywhere: it may have torn an entry. It keeps its
    lock, and may run on: a notebook does.
    """
    _distrusted.update(_marks)


def compile_seconds() -> float:
    """Seconds that XLA has spent compiling in this process since the first call.

    Reading a program from the cache counts with the time that took.
    """
    return _clock().seconds


def saved_seconds() -> float:
    """Seconds that the cache has saved this process since the first call, or the other.

    What a program took to compile is kept beside it.
    """
    return _clock().saved


def _clock() -> "_Clock":
    with _lock:
        if not _clocks:
            clock = _Clock()
            jax.monitoring.register_event_duration_secs_listener(clock)
            _clocks.append(clock)
    return _clocks[0]


class _Clock:
    """Adds up the compilations that JAX tells of."""

    def __init__(self) -> None:
        self.seconds = self.saved = 0.0

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event == _COMPILE:
            self.seconds += duration_secs
        elif event == _SAVED:
            self.saved += duration_secs
