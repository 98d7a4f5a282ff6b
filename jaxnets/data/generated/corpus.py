"""English text that every Python brings along: its standard library's documentation.

The chapters of the language reference that `help()` shows (`pydoc_data/topics.py`), and
then the docstrings of all modules, classes and functions, read from the source files by
their syntax: nothing is imported, nothing is run. About 1.8 million characters of
technical prose with code in it. It differs between versions of Python, so two machines
compare their results on it only if `Corpus.digest` is the same.
"""

import ast
import hashlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError
from jaxnets.data.store.cache import cached

CHARACTERS = ("\n", *map(chr, range(32, 127)))
"""The 96 characters of the text; each is one byte."""

_VERSION = 1
# Tests, copies of other projects, games, and what only some systems install.
_LEFT_OUT = {
    *("test", "tests", "site-packages", "dist-packages", "ensurepip", "lib-dynload"),
    *("idlelib", "lib2to3", "turtledemo", "turtle.py", "tkinter", "__pycache__"),
}
_TOPICS = "pydoc_data/topics.py"
_SHORTEST = 40  # characters; shorter docstrings say little: "Return self"


class Corpus(NamedTuple):
    """Three parts of one text, each without a gap."""

    train: str
    validation: str
    test: str

    @property
    def digest(self) -> str:
        """SHA-256 of the three parts."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()


def corpus_text(folder: Path | None = None) -> Corpus:
    """The first eight tenths of the text, the ninth, and the tenth.

    Texts stand in the order of their files' names and of their lines, an empty line
    between them; none stands there twice. The parts are cut between two texts.

    Args:
        folder: Of source files; this Python's standard library by default.

    Raises:
        DataError: If there is too little documentation, as in a Python that was
            installed without its source files.
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    paths = list(_sources(root))
    listing = [f"{p.relative_to(root).as_posix()} {p.stat().st_size}" for p in paths]
    key = {
        "version": _VERSION,
        "python": sys.version,
        "root": str(root),
        "files": hashlib.sha256("\0".join(listing).encode()).hexdigest(),
    }

    def make() -> dict[str, np.ndarray]:
        parts = _parts(list(_documentation(paths)))
        texts = ["\n\n".join(part).encode("ascii") for part in parts]
        if not all(texts):
            raise DataError(f"found too little documentation in {root} for a corpus")
        names = Corpus._fields
        return {
            name: np.frombuffer(text, np.uint8)
            for name, text in zip(names, texts, strict=True)
        }

    arrays = cached("corpus", key, make)
    return Corpus(*(arrays[name].tobytes().decode("ascii") for name in Corpus._fields))


def _sources(root: Path) -> Iterator[Path]:
    """Source files below a folder, in an order that no file system decides."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = (name for name in folders if name not in _LEFT_OUT)
        found += (
            Path(folder, name).relative_to(root)
            for name in names
            if name.endswith(".py") and name not in _LEFT_OUT
        )
    # The longest piece first: elsewhere it would be most of a smaller split.
    for path in sorted(found, key=lambda p: (p.as_posix() != _TOPICS, p.as_posix())):
        if not path.name.startswith("_sysconfig"):  # written when Python was built
            yield root / path


def _documentation(paths: list[Path]) -> Iterator[str]:
    """The texts in files, in their order, each text once, those in plain ASCII."""
    seen: set[str] = set()
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in old code
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue  # a template, say
        found = _chapters(tree) if path.as_posix().endswith(_TOPICS) else _docs(tree)
        for raw in found:
            text = inspect.cleandoc(raw).expandtabs(4).translate(_TYPED)
            text = "\n".join(line.rstrip() for line in text.split("\n")).strip()
            if len(text) >= _SHORTEST and text not in seen and _PLAIN.issuperset(text):
                seen.add(text)
                yield text


def _docs(tree: ast.Module) -> list[str]:
    """The docstrings of a module, from its top to its end."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    return [ast.get_docstring(node, clean=False) or "" for node in nodes]


def _chapters(tree: ast.Module) -> list[str]:
    """The values of the one dictionary in pydoc's topics."""
    tables = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    values = [value for table in tables for value in table.values]
    constants = (value.value for value in values if isinstance(value, ast.Constant))
    return [text for text in constants if isinstance(text, str)]


_PLAIN = frozenset(CHARACTERS)
# What typesetting makes of plain text, undone.
_TYPED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2010\u2013\u2014\u2212", "-"),
        "\u2026": "...",
        "\u2022": "*",
        "\u2192": "->",
        "\u00a0": " ",
    }
)


def _parts(texts: list[str]) -> list[list[str]]:
    """The first eight tenths of the characters, the ninth, and the tenth."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    whole = ends[-1] if len(ends) else 0
    first, second = np.searchsorted(ends, [0.8 * whole, 0.9 * whole], side="right")
    return [texts[:first], texts[first:second], texts[second:]]
