"""SHA-256 sums kept beside the files: `SHA256SUMS`, as `sha256sum` writes it."""

import hashlib
import re
from pathlib import Path

from jaxnets.data.dataset import DataError
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside, lines_of, read_text

DIGESTS = "SHA256SUMS"
_DIGEST_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def read_digests(root: Path) -> dict[str, str] | None:
    """The SHA-256 of each file that `SHA256SUMS` in `root` lists; None without one.

    The format is that of `sha256sum`, so that the same file can be checked with it.

    Raises:
        DataError: If a line is not a digest and a name, or a name repeats.
    """
    path = root / DIGESTS
    if not path.exists() and not path.is_symlink():
        return None
    digests: dict[str, str] = {}
    for number, line in enumerate(_lines(inside(root, DIGESTS)), 1):
        escaped = line.startswith("\\")  # as sha256sum marks names with line ends
        match = _DIGEST_LINE.fullmatch(line[escaped:])
        if not match:
            raise DataError(f"{DIGESTS}, line {number}: is no digest and name")
        name = (_unescaped(match[2]) if escaped else match[2]).removeprefix("./")
        if name in digests:
            raise DataError(f"{DIGESTS}, line {number}: {name!r} is there twice")
        digests[name] = match[1].lower()
    return digests


def digest_line(digest: str, name: str) -> str:
    """A line of `SHA256SUMS` as `sha256sum` writes it.

    Args:
        digest: SHA-256 in hexadecimal.
        name: Of the file, relative to the folder.

    Raises:
        FileError: If the name is not UTF-8.
    """
    if any(0xD800 <= ord(character) < 0xE000 for character in name):
        raise FileError(
            f"has a name that is not UTF-8: rename it to list it in {DIGESTS}"
        )
    safe = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if safe != name else ''}{digest}  {safe}\n"


def _unescaped(name: str) -> str:
    meaning = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
    return re.sub(r"\\[\\nr]", lambda match: meaning[match[0]], name)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in lines_of(read_text(path)) if line]
    except FileError as error:
        raise DataError(f"{path.name}: {error}") from None


def verify(content: bytes, name: str, digests: dict[str, str] | None) -> None:
    """Raises if the content is not what the digests promise.

    Args:
        content: Of the file.
        name: Relative to the folder, with forward slashes.
        digests: From `read_digests`; None promises nothing.

    Raises:
        FileError: If the file is not listed or its digest is another.
    """
    if digests is None:
        return
    if name not in digests:
        raise FileError(f"is not listed in {DIGESTS}")
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise FileError(f"is not the file that {DIGESTS} lists: its digest differs")
