"""What a planted fault is, and how it is found and planted in a copy of the tree."""

import ast
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """One deliberate mistake, and the tests that should notice it.

    Attributes:
        name: What is wrong once it is planted, in a few words. Unique.
        function: Qualified name of the function or class that holds the lines, for
            example `Checkpoints.save`; the file is searched for, so it may move.
        was: Lines or a part of a line of that function. Exactly one function of that
            name in `jaxnets` and `experiments` has them, exactly once.
        now: What stands there instead.
        tests: Stems of the test files of that area, for example `test_checkpoints`.
        history: Short hash of the commit whose fix this reverses; None: thought up.
    """

    name: str
    function: str
    was: str
    now: str
    tests: tuple[str, ...]
    history: str | None = None


class Place(NamedTuple):
    """Where a fault goes: a file, and the range of characters to replace."""

    path: Path
    start: int
    stop: int


def place(root: Path, fault: Fault) -> Place:
    """Returns where `fault` goes in the tree at `root`.

    Raises:
        LookupError: If no place matches, or more than one does.
    """
    found = [
        Place(path, start, start + len(fault.was))
        for top in ("jaxnets", "experiments")
        for path in sorted((root / top).rglob("*.py"))
        for start in _starts(path.read_text(), fault)
    ]
    if len(found) != 1:
        where = ", ".join(str(spot.path.relative_to(root)) for spot in found)
        message = f"{fault.name!r} matches {len(found)} places in {fault.function}"
        raise LookupError(f"{message}: {where or 'none'}")
    return found[0]


def plant(root: Path, fault: Fault) -> Path:
    """Plants `fault` in the tree at `root`; returns the file that it changed.

    Raises:
        LookupError: If the fault does not apply, or leaves no valid Python.
    """
    path, start, stop = place(root, fault)
    text = path.read_text()
    changed = text[:start] + fault.now + text[stop:]
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise LookupError(f"{fault.name!r} leaves no valid Python: {error}") from None
    path.write_text(changed)
    return path


def _starts(text: str, fault: Fault) -> list[int]:
    """Positions of the characters that `fault` replaces, in the text of one file."""
    if fault.was not in text or fault.function.split(".")[-1] not in text:
        return []
    lines = text.splitlines(keepends=True)
    found = []
    for node in _definitions(ast.parse(text), fault.function.split(".")):
        # Decorators belong to a function: a fault may sit in one.
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        begin = len("".join(lines[: first - 1]))
        body = "".join(lines[first - 1 : node.end_lineno])
        at = body.find(fault.was)
        while at >= 0:
            found.append(begin + at)
            at = body.find(fault.was, at + 1)
    return found


def _definitions(tree: ast.AST, names: list[str]) -> list:
    """The functions and classes of that qualified name, wherever they are nested."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.name == names[0]]
    for name in names[1:]:
        inner = (child for node in found for child in ast.iter_child_nodes(node))
        found = [n for n in inner if isinstance(n, kinds) and n.name == name]
    return found
