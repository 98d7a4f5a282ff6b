"""The part of YAML that `data.yaml` of YOLO needs, read strictly; nothing runs.

Keys without indentation, scalars with or without quotes, lists and maps of scalars, in
one line or below each other (https://yaml.org/spec/1.2.2/). Scalars are texts: `no` is
the word. Anchors, tags and text blocks of keys that are asked for are refused.
"""

import json
import re
from collections.abc import Iterator, Sequence

from jaxnets.data.files.problems import FileError

_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:(?:\s+(.*))?")
_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\""""
_SCALAR = re.compile(rf"\s*({_QUOTED}|[^\s,'\"\[\]{{}}][^,\[\]{{}}]*?)\s*(?:,|$)")
_NUMBERED = re.compile(r"""\s*["']?(\d+)["']?\s*:(?=\s)""")
_COMMENT = re.compile(rf"""((?:{_QUOTED}|[^'"#]|(?<=\S)[#'"])*?)(?:(?:^|\s)#.*)?""")


def top_keys(text: str) -> dict[str, list[str]]:
    """The lines of each key without indentation: what follows it, and what is below.

    Raises:
        FileError: If a key is there twice, or a line belongs to none.
    """
    keys: dict[str, list[str]] = {}
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        plain = line.rstrip()
        if not plain or plain.lstrip().startswith("#") or plain in ("---", "..."):
            continue
        if found := _KEY.fullmatch(plain):
            if found[1] in keys:
                raise FileError(f"gives the key {found[1]!r} twice")
            keys[found[1]] = lines = [found[2] or ""]
        elif keys and (plain[0] in " \t-]}"):
            lines.append(plain)
        else:
            raise FileError(f"line {number} is no `key: value`: {plain[:60]!r}")
    return keys


def scalar_of(lines: Sequence[str]) -> str:
    """The scalar behind a key.

    Raises:
        FileError: If something else is there.
    """
    found = _SCALAR.fullmatch(_without_comment(lines[0]))
    if found is None or len(lines) > 1:
        raise FileError(f"has no plain value: {' '.join(lines)[:60]!r}")
    return _plain(found[1])


def names_of(lines: Sequence[str]) -> list[str]:
    """A list of scalars, or a map from 0, 1, 2 and so on to scalars.

    Raises:
        FileError: If it is neither, or a number is missing.
    """
    text = " ".join(_without_comment(line).strip() for line in lines).strip()
    if text[:1] in ("[", "{"):
        if text[-1:] != {"[": "]", "{": "}"}[text[0]]:
            raise FileError(f"has a list of names without its end: {text[:60]!r}")
        rows = list(_items(text[1:-1], numbered=text[0] == "{"))
    else:
        if lines[0].strip() and _without_comment(lines[0]).strip():
            raise FileError(f"has no list of names: {text[:60]!r}")
        rows = [_row(_without_comment(line).strip()) for line in lines[1:]]
    numbers = [number for number, _ in rows]
    if any(n is not None for n in numbers) and numbers != list(range(len(rows))):
        raise FileError(f"numbers its names {numbers}, not 0, 1, 2 and so on")
    return [name for _, name in rows]


def _items(text: str, *, numbered: bool) -> Iterator[tuple[int | None, str]]:
    """The items of a list or map in one line."""
    at = 0
    while text[at:].strip():
        number = None
        if numbered:
            key = _NUMBERED.match(text, at)
            if key is None:
                raise FileError(f"has no number in front of a name: {text[at:][:60]!r}")
            number, at = int(key[1]), key.end()
        found = _SCALAR.match(text, at)
        if found is None:
            raise FileError(f"has no name here: {text[at:][:60]!r}")
        yield number, _plain(found[1])
        at = found.end()


def _row(line: str) -> tuple[int | None, str]:
    """One line below `names:`, `- name` or `0: name`."""
    number, rest = None, line
    if line.startswith("- "):
        rest = line[2:]
    elif key := _NUMBERED.match(line):
        number, rest = int(key[1]), line[key.end() :]
    else:
        raise FileError(f"has no name here: {line[:60]!r}")
    quoted = re.fullmatch(rf"\s*({_QUOTED})", rest)
    return number, _plain(quoted[1] if quoted else rest.strip())


def _plain(scalar: str) -> str:
    """A scalar without its quotes."""
    if scalar[:1] == '"':
        try:
            return str(json.loads(scalar))
        except ValueError:
            raise FileError(f"has a damaged text {scalar[:60]}") from None
    if scalar[:1] == "'":
        return scalar[1:-1].replace("''", "'")
    if scalar[:1] in tuple("&*!|>%@`") or ": " in scalar:
        raise FileError(f"has {scalar[:60]!r}, which is no plain text: use quotes")
    return scalar


def _without_comment(line: str) -> str:
    found = _COMMENT.fullmatch(line)
    return found[1].rstrip() if found else line
