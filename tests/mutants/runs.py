"""Runs the tests of an area in a copy of the tree, and remembers what they noticed."""

import functools
import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from jaxnets import files

ROOT = Path(__file__).parents[2]
PARTS = ("jaxnets", "experiments", "tests", "benchmarks", "docs", "pyproject.toml")
PARTS += ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SECONDS = 1800  # a fault that hangs its tests for that long is noticed as well
_FAILED, _NONE_FAILED = 1, 0  # exit statuses of pytest


class Outcome(NamedTuple):
    """What the tests of an area said of one fault.

    Attributes:
        caught_by: The first test that failed; None: no test did.
        seconds: How long they ran, in wall time.
        output: The end of what pytest printed.
    """

    caught_by: str | None
    seconds: float
    output: str


def area(root: Path, tests: tuple[str, ...]) -> list[Path]:
    """The test files with these stems; they are found by name, so they may move.

    Raises:
        LookupError: If there is no such file, or more than one.
    """
    found = []
    for stem in tests:
        paths = list((root / "tests").rglob(f"{stem}.py"))
        if len(paths) != 1:
            raise LookupError(f"{len(paths)} files are called {stem}.py")
        found += paths
    return found


def run(root: Path, tests: tuple[str, ...], *, python: str) -> Outcome:
    """Runs the tests of an area in the tree at `root` until one fails.

    Raises:
        RuntimeError: If the tests could not be run, which says nothing of the fault.
    """
    # Processes that tests start import the copy too, not the installed package.
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    for name in list(environment):
        if name.startswith(("PYTEST_", "JAX_COMPILATION", "XLA_FLAGS")):
            del environment[name]
    # Two processes never share a cache of compiled programs.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    environment["JAXNETS_CACHE"] = str(files.cache_root() / "mutants" / worker)
    paths = [str(path.relative_to(root)) for path in area(root, tests)]
    command = [python, "-m", "pytest", "-x", "-n", "0", "--tb=short", *paths]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Outcome("no end", time.monotonic() - begun, "")
    seconds = round(time.monotonic() - begun, 1)
    text = (done.stdout + done.stderr)[-3000:]
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if done.returncode == _FAILED and failed:
        return Outcome(failed.group(1), seconds, text)
    if done.returncode != _NONE_FAILED:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{text}")
    return Outcome(None, seconds, text)


@functools.cache
def tree() -> str:
    """A digest of what the outcomes depend on: the code and its tests."""
    sha = hashlib.sha256()
    for part in ("jaxnets", "experiments", "tests", "pyproject.toml"):
        whole = ROOT / part
        for path in sorted(whole.rglob("*.py")) if whole.is_dir() else [whole]:
            if "mutants" not in path.as_posix():
                sha.update(path.relative_to(ROOT).as_posix().encode())
                sha.update(path.read_bytes())
    return sha.hexdigest()[:12]


def kept() -> Path:
    """The folder of the outcomes of this tree."""
    return files.cache_root() / "mutants" / tree()


def recorded(name: str, tests: tuple[str, ...]) -> Outcome | None:
    """The outcome of that fault in this tree, if it was run before."""
    path = kept() / f"{_key(name, tests)}.json"
    return Outcome(*json.loads(path.read_text())[1:]) if path.exists() else None


def record(name: str, tests: tuple[str, ...], outcome: Outcome) -> None:
    """Keeps an outcome for the next start of the campaign."""
    kept().mkdir(parents=True, exist_ok=True)
    files.write(kept() / f"{_key(name, tests)}.json", json.dumps([name, *outcome]))


def _key(name: str, tests: tuple[str, ...]) -> str:
    return hashlib.sha256(repr((name, tests)).encode()).hexdigest()[:16]
