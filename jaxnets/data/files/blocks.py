"""Files of text that are read some of it at a time, in memory that does not grow."""

import codecs
import hashlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import (
    ALONE,
    encoding_fault,
    other_format,
    regular,
)

LARGEST_TEXT = 2**34  # bytes of a file that is read in blocks
BLOCK = 2**22  # bytes


class TextFile:
    r"""A file of UTF-8, with or without a byte-order mark, found to be sound.

    Attributes:
        path: Of the file.
        characters: How many there are, with `\n` for `\r\n`.
        digest: SHA-256 of its bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int = LARGEST_TEXT,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        r"""Reads the file once, to check it.

        Args:
            path: As `inside` returns it.
            limit: The largest size that is read, in bytes.
            advance: Takes how many bytes `blocks` read since its last call.

        Raises:
            FileError: As `read_text`.
        """
        self.path, self.digest = path, ""
        self._advance: Callable[[int], None] | None = None
        self._size = regular(path, limit=limit).st_size
        length, pairs, nul = 0, 0, -1
        returns = feeds = False
        for block in self._decoded():
            if nul < 0 and "\0" in block:
                nul = length + block.index("\0")
            length += len(block)
            feeds = feeds or "\n" in block
            if "\r" in block:
                returns = True
                pairs += block.count("\r\n")
        if nul >= 0:
            raise FileError(f"is not text: character {nul} is NUL")
        self.characters = length - pairs
        self._advance = advance
        self._returns_alone = returns and not feeds

    def beginning(self) -> str:
        """The text of the first 4 MiB, with its line ends as they are."""
        return next(self._decoded(), "")

    def blocks(self) -> Iterator[str]:
        r"""The text in order, some MiB at a time, with `\n` for `\r\n`.

        Raises:
            FileError: Before the first block, if lines end at a single `\r`, as on Macs
                before 2001.
            DataError: If the file has changed since it was checked.
        """
        if self._returns_alone:
            raise FileError(ALONE)
        try:
            for block in self._decoded():
                yield block.replace("\r\n", "\n") if "\r" in block else block
        except FileError:
            raise self._changed() from None

    def lines(self) -> Iterator[str]:
        r"""The lines of the text; a line ends at `\n` or `\r\n` and nowhere else.

        Raises:
            FileError: As `blocks`.
            DataError: As `blocks`.
        """
        begun: list[str] = []
        for block in self.blocks():
            first, *more = block.split("\n")
            begun.append(first)
            if more:
                yield "".join(begun)
                yield from more[:-1]
                begun = more[-1:]
        if last := "".join(begun):
            yield last

    def _decoded(self) -> Iterator[str]:
        r"""The text as it stands in the file; no block but the last ends at a `\r`."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        digest, head, held, done, size = hashlib.sha256(), b"", "", 0, 0
        try:
            with self.path.open("rb") as file:
                last = False
                while not last:
                    chunk = file.read(BLOCK)
                    last = not chunk
                    digest.update(chunk)
                    if self._advance is not None:
                        self._advance(len(chunk))
                    size += len(chunk)
                    if size > self._size:
                        raise FileError("grows while it is read")
                    if not head:
                        head = chunk[:64]
                        _refuse_formats(head, file.fileno())
                        chunk = chunk.removeprefix(codecs.BOM_UTF8)
                    pending = len(decoder.getstate()[0])
                    try:
                        block = held + decoder.decode(chunk, final=last)
                    except UnicodeDecodeError as error:
                        wrong = done - pending + error.start
                        raise FileError(encoding_fault(head, wrong)) from None
                    done += len(chunk)
                    held = "\r" if block.endswith("\r") and not last else ""
                    if block := block[: len(block) - len(held)]:
                        yield block
        except OSError as error:
            raise FileError(f"cannot be read: {error.strerror or error}") from None
        if self.digest and digest.hexdigest() != self.digest:
            raise self._changed()
        self.digest = digest.hexdigest()

    def _changed(self) -> DataError:
        return DataError(
            f"{self.path}: has changed while it was read: start again, once it is "
            "complete"
        )


def digest_of(path: Path, *, limit: int = LARGEST_TEXT) -> str:
    """SHA-256 of a regular file.

    Args:
        path: As `inside` returns it.
        limit: The largest size that is read, in bytes.

    Raises:
        FileError: If it is missing, no regular file, empty, too large or unreadable.
    """
    regular(path, limit=limit)
    try:
        return files.sha256(path)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None


def _refuse_formats(head: bytes, descriptor: int) -> None:
    """Raises FileError if a file begins as no text does."""
    if not head:
        raise FileError("is empty")
    if head.startswith(b"PK"):  # what a ZIP archive is stands far inside
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
            other = other_format(content)
    else:
        other = other_format(head)
    if other:
        raise FileError(other)
