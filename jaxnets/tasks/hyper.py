"""Which hyperparameters are read, by whom, and a clear error if one is missing."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jaxnets.ranges import RangeError


class HyperError(RangeError):
    """A `Hyper` lacks a field that is read, or misspells one; a line for each fault."""


class Reads(NamedTuple):
    """Names of the fields of `hyper` that a function reads.

    Attributes:
        reader: Who reads them, as messages name it: "classification".
        required: Fields that `hyper` must have.
        optional: Fields that switch something off if `hyper` lacks them: a network's
            call-time probabilities, and `label_smoothing`.
    """

    reader: str = "the task"
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def check(hyper: Any, reads: Reads) -> None:
    """Refuses hyperparameters that lack a required field or misspell an optional one.

    A field is misspelt if it is one letter away from an optional field that `hyper`
    lacks: a letter is missing, added, changed, or swapped with its neighbour.

    Args:
        hyper: A `NamedTuple` of hyperparameters; its values do not matter.
        reads: What is read.

    Raises:
        HyperError: With a line for every such field.
    """
    faults = [
        _missing(hyper, field, reads.reader)
        for field in reads.required
        if not hasattr(hyper, field)
    ]
    absent = [field for field in reads.optional if not hasattr(hyper, field)]
    kind = type(hyper).__name__
    for field in getattr(hyper, "_fields", ()):
        if field not in reads.required + reads.optional:
            faults += [
                f"{reads.reader} does not read {kind}.{field}: did you mean {meant}? "
                "Rename the field"
                for meant in absent
                if _one_letter_away(field, meant)
            ]
    if faults:
        raise HyperError("\n".join(faults))


@contextlib.contextmanager
def reading(hyper: Any, reader: str) -> Iterator[None]:
    """Turns the `AttributeError` of a field that `hyper` lacks into a `HyperError`.

    It is for optimizers, which are functions of `hyper` that declare nothing.

    Args:
        hyper: What is read inside of the block.
        reader: Who reads it, as the message names it.
    """
    try:
        yield
    except AttributeError as error:
        if error.obj is not hyper or error.name is None:
            raise
        raise HyperError(_missing(hyper, error.name, reader)) from error


def present(hyper: Any, names: Iterable[str]) -> dict[str, Any]:
    """Returns the fields among `names` that `hyper` has, by name."""
    return {name: getattr(hyper, name) for name in names if hasattr(hyper, name)}


def _missing(hyper: Any, field: str, reader: str) -> str:
    kind = type(hyper).__name__
    return (
        f"{kind} has no field {field}, which {reader} reads: "
        f"add `{field}: float`, with a default, to the fields of {kind}"
    )


def _one_letter_away(word: str, meant: str) -> bool:
    while word and meant and word[0] == meant[0]:
        word, meant = word[1:], meant[1:]
    while word and meant and word[-1] == meant[-1]:
        word, meant = word[:-1], meant[:-1]
    swapped = len(word) == 2 and word == meant[::-1]
    return swapped or max(len(word), len(meant)) == 1
