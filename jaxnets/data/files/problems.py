"""What was found wrong with files, and how a user is told."""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Sequence

from jaxnets.data.dataset import DataError
from jaxnets.errors import UserError

_JOINERS = "\u200c\u200d"  # inside words of many scripts, and inside emoji


class FileError(DataError):
    """One file cannot be used; the message says why, without its name."""


class DataWarning(UserError, UserWarning):
    """Something was left out of the data."""


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a source of data.

    Attributes:
        where: The file, and the place in it; relative to the folder.
        what: What is wrong with it.
        kind: "file", "shape", "label", "box", "mask", "text" or "layout"; "classes" if
            there are too few.
    """

    where: str
    what: str
    kind: str = "file"

    def __str__(self) -> str:
        """One line that can be printed anywhere."""
        return printable(f"{self.where}: {self.what}")


def printable(text: str) -> str:
    r"""The text in characters that every console, report and JSON file can hold.

    Bytes of a file name that are not UTF-8 become escapes such as `\xe9`. So do line
    ends, other control characters, and marks that change the direction of writing.
    """

    def shown(character: str) -> str:
        if character.isprintable() or character in _JOINERS:
            return character
        if 0xDC80 <= ord(character) < 0xDD00:  # a byte, as `os.fsdecode` hides it
            return f"\\x{ord(character) - 0xDC00:02x}"
        return ascii(character)[1:-1]

    return text if text.isprintable() else "".join(map(shown, text))


def settle(
    source: str,
    problems: Sequence[Problem],
    *,
    skip_bad: bool,
    examples: int,
    count: int | None = None,
) -> None:
    """Stops at problems, or says how many there were if they may be skipped.

    Args:
        source: Names the data set.
        problems: All that were found, or the first five of them.
        skip_bad: The caller allows to leave bad examples out.
        examples: How many good ones are left.
        count: How many problems there are. None: those that are given.

    Raises:
        DataError: With the count and the first five problems; also where they may be
            skipped but nothing is left.
    """
    if not problems:
        return
    count = len(problems) if count is None else count
    first = "".join(f"\n  {problem}" for problem in problems[:5])
    more = f"\n  and {count - 5} more" if count > 5 else ""
    if not skip_bad or not examples:
        remedy = "; --skip-bad leaves the bad ones out" if examples else ""
        raise DataError(
            f"{source}: {count} problems, {examples} good examples:{first}"
            f"{more}\n`python -m jaxnets.data check` lists all{remedy}"
        )
    warnings.warn(
        f"{source}: {count} problems, {examples} examples left (--skip-bad):"
        f"{first}{more}",
        DataWarning,
        stacklevel=3,
    )


def left_out(source: str, count: int, of: int, what: str, flag: str) -> None:
    """Says how many examples a rule leaves out; of more than a tenth as a warning.

    Every rule that leaves sound data out calls it: lengths, minimum counts, sizes.

    Args:
        source: Names the data set, and the split if it matters.
        count: Examples that are left out; 0 says nothing.
        of: Examples that there were.
        what: The examples and the rule: "pairs have more than 10 words".
        flag: The flag, and what to do with it: "--longest 20 keeps more".
    """
    if not count:
        return
    share = f"{100 * count / of:.1f} %"
    line = f"{source}: left out {count:,} of {of:,} ({share}): {what}; {flag}"
    if count > of / 10:
        warnings.warn(line, DataWarning, stacklevel=2)
    else:
        print(line, flush=True)  # noqa: T201 - part of what a run says at its start


def noted(source: str, line: str) -> None:
    """Says how a source is read where its files leave a choice; nothing is left out.

    Args:
        source: Names the data set.
        line: What was found, and how it is read.
    """
    print(f"{source}: {line}", flush=True)  # noqa: T201 - part of what a run says


def say_built_in(name: str) -> None:
    """Says that a set of jaxnets is read, if there is a path of its name here, too."""
    if os.path.exists(name):
        what = "folder" if os.path.isdir(name) else "file"
        noted(name, f"the set that comes with jaxnets; ./{name} is the {what}")


def refuse_skipping(name: str, *, skip_bad: bool) -> None:
    """Raises if bad examples are to be left out of data that come in one piece.

    Raises:
        DataError: If `skip_bad`.
    """
    if skip_bad:
        raise DataError(
            f"--skip-bad leaves out parts of a user's files; {name} has none"
        )


def unique(names: Iterable[str], what: str, problems: list[Problem]) -> None:
    """Adds a problem for every name that is there more than once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            problems.append(Problem(name, f"this {what} is there twice", "layout"))
        seen.add(name)
