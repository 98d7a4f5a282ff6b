"""Many strings in two arrays: a million names of files in a third of the memory."""

import array
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

_BLOCK = 2**14  # strings moved at a time
_ERRORS = "surrogatepass"  # names of files may hold bytes that are no UTF-8


class Names(Sequence[str]):
    """Strings by position, like a tuple of them."""

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        """The strings of a text.

        Args:
            text: UTF-8 of all strings, one after the other, `[bytes]`, uint8.
            ends: Where each ends in it, `[n]`, int64.
        """
        self._text, self._ends = text, ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Names":
        """These strings."""
        text, ends = bytearray(), array.array("q")
        for string in strings:
            text += string.encode("utf-8", _ERRORS)
            ends.append(len(text))
        return cls(np.frombuffer(text, np.uint8), np.frombuffer(ends, np.int64))

    @classmethod
    def joined(cls, parts: Sequence["Names"]) -> "Names":
        """The strings of several, in order."""
        if not parts:
            return cls.of(())
        sizes = np.cumsum([0, *(len(part._text) for part in parts)])
        ends = [p._ends + size for p, size in zip(parts, sizes[:-1], strict=True)]
        return cls(np.concatenate([p._text for p in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Names": ...

    def __getitem__(self, index: int | slice) -> "str | Names":
        """The string at a position, or those of a slice."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        at = range(len(self))[index]
        begin = int(self._ends[at - 1]) if at else 0
        return (
            self._text[begin : int(self._ends[at])].tobytes().decode("utf-8", _ERRORS)
        )

    def __iter__(self) -> Iterator[str]:
        """All strings in order."""
        begin, text = 0, self._text.tobytes()
        for end in self._ends.tolist():
            yield text[begin:end].decode("utf-8", _ERRORS)
            begin = end

    def __eq__(self, other: object) -> bool:
        """Whether another sequence holds the same strings."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        """As the strings' tuple."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """The number of strings, and the first."""
        return f"Names({len(self)}: {', '.join(map(repr, self[:3]))}, ...)"

    def take(self, index: np.ndarray) -> "Names":
        """The strings at these positions, in this order."""
        begins = np.concatenate([np.zeros(1, np.int64), self._ends[:-1]])[index]
        lengths = self._ends[index] - begins
        text, ends = np.empty(lengths.sum(), np.uint8), np.cumsum(lengths)
        done = 0
        for start in range(0, len(begins), _BLOCK):
            some = slice(start, start + _BLOCK)
            last = np.cumsum(lengths[some])
            # Byte i of these is byte i of the text, moved by how far its string was.
            moved = np.repeat(begins[some] - (last - lengths[some]), lengths[some])
            text[done : done + len(moved)] = self._text[moved + np.arange(len(moved))]
            done += len(moved)
        return Names(text, ends)

    def mapped(self, change: Callable[[str], str]) -> "Names":
        """The strings that a function makes of them."""
        return Names.of(map(change, self))


def hashes(names: Iterable[str]) -> np.ndarray:
    """A hash of each string, `[n]`, uint64.

    Two of 1.3 million have the same one with probability 5e-8.
    """
    found = bytearray()
    for name in names:
        word = name.encode("utf-8", _ERRORS)
        found += hashlib.blake2b(word, digest_size=8).digest()
    return np.frombuffer(found, "<u8")
