"""Allowed ranges of numbers on command lines: declared, shown in `--help`, checked.

    class Hyper(NamedTuple):
        dropout: Rate = 0.1  # probability that a unit is dropped; 0: no dropout

A field's annotation states its range. So flags, sweeps, recorded runs and a `Config`
that is made in Python are all checked against the same one.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
import tyro

from jaxnets.errors import UserError

LARGEST = 2**31 - 1  # steps, rows and sizes are counted in int32 on the device


class RangeError(UserError, ValueError):
    """Numbers on the command line that cannot be, or not together; a line for each."""

    status = 2


@dataclasses.dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`; NaN and infinity are in no interval.

    Attributes:
        low: The smallest allowed number.
        high: The largest allowed number.
        above: Whether `low` itself is not allowed.
        below: Whether `high` itself is not allowed.
    """

    low: int | float
    high: int | float
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        """Whether a number is allowed.

        Programs compute in float32. So 0.99999999, which float32 rounds to 1, is not
        in [0, 1), and 1e-50, which it rounds to 0, is not in (0, 1].
        """
        if not isinstance(value, int | float):
            return False
        if isinstance(value, float):
            value = _single(value)
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high

    def __str__(self) -> str:
        """Interval notation: `[0, 1)` has 0 and does not have 1."""
        begin, end = "(" if self.above else "[", ")" if self.below else "]"
        return f"{begin}{_plain(self.low)}, {_plain(self.high)}{end}"

    def __call__(self, default: str) -> str:
        """The end of a line of `--help`, as `tyro.conf.arg` asks for it."""
        return f"(default: {default or 'none'}; range: {self})"


def within(
    low: int | float,
    high: int | float = LARGEST,
    *,
    above: bool = False,
    below: bool = False,
) -> Any:
    """Returns the mark that states a field's range.

    As in `samples: Annotated[int, within(1, 9)] = 3`. In a tuple every entry has this
    range; `None` is always allowed.
    """
    return tyro.conf.arg(help_behavior_hint=Interval(low, high, above, below))


Seed: TypeAlias = Annotated[int, within(0, 2**32 - 1)]  # what a JAX key can hold
Count: TypeAlias = Annotated[int, within(1)]
Copies: TypeAlias = Annotated[int, within(1, 10_000)]  # side by side in memory
CountOrZero: TypeAlias = Annotated[int, within(0)]
Size: TypeAlias = Annotated[int, within(1, 65_536)]  # of a layer, an image, a text
SizeOrZero: TypeAlias = Annotated[int, within(0, 65_536)]
Sides: TypeAlias = Annotated[tuple[int, ...], within(1, 65_536)]  # of an image
Share: TypeAlias = Annotated[float, within(0, 1)]
PositiveShare: TypeAlias = Annotated[float, within(0, 1, above=True)]
Rate: TypeAlias = Annotated[float, within(0, 1, below=True)]
Positive: TypeAlias = Annotated[float, within(0, 1e9, above=True)]
NonNegative: TypeAlias = Annotated[float, within(0, 1e9)]


class Number(NamedTuple):
    """A number among settings: a field, or one entry of a tuple.

    Attributes:
        flag: Of the command line: `--learning-rate`.
        value: The number.
        interval: What it may be; None if its field states no range.
        whole: Whether its field takes whole numbers only.
    """

    flag: str
    value: Any
    interval: Interval | None
    whole: bool


def numbers(config: Any) -> Iterator[Number]:
    """All numbers of a dataclass or `NamedTuple` of settings, nested ones too."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    yield from _among(hints, {name: getattr(config, name) for name in hints})


def _among(hints: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Number]:
    for name, value in values.items():
        flag, hint = "--" + name.replace("_", "-"), hints[name]
        if _structured(value):
            yield from numbers(value)
            continue
        allowed, whole = interval(hint), not _has(float, hint)
        for given in value if isinstance(value, tuple | list) else [value]:
            entry = scalar(given)
            if isinstance(entry, int | float) and not isinstance(entry, bool):
                yield Number(flag, entry, allowed, whole)
            elif allowed is not None and isinstance(entry, bool | str):
                yield Number(flag, entry, allowed, whole)  # of another type: a fault


def scalar(value: Any) -> Any:
    """Returns a number of NumPy or JAX as Python's; anything else as it is."""
    is_one = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_one else value


def unstated(kind: Any) -> list[str]:
    """The flags of numbers without a range, of a class of settings or of a function.

    A test keeps this empty for everything that has a command line.
    """
    found = []
    hints = typing.get_type_hints(kind, include_extras=True)
    hints.pop("return", None)
    for name, hint in hints.items():
        plain: Any = typing.get_args(hint)[0] if _annotated(hint) else hint
        if _structured(plain):
            found += unstated(plain)
        elif _numeric(plain) and interval(hint) is None:
            found.append("--" + name.replace("_", "-"))
    return found


def interval(hint: Any) -> Interval | None:
    """The range that an annotation states, or None."""
    marks = typing.get_args(hint)[1:] if _annotated(hint) else ()
    stated = (getattr(mark, "help_behavior_hint", None) for mark in marks)
    return next((mark for mark in stated if isinstance(mark, Interval)), None)


def faults(config: Any) -> list[str]:
    """A line for every number that is outside of its range, with flag and range."""
    return _outside(numbers(config))


def _outside(found: Iterable[Number]) -> list[str]:
    wrong = []
    for flag, value, allowed, whole in found:
        if allowed is None:
            if isinstance(value, float) and math.isnan(value):
                wrong.append(f"{flag} must be a number, not nan")
            continue
        if isinstance(value, bool | str):
            wrong.append(f"{flag} must be a number in {allowed}, not {value!r}")
        elif whole and not isinstance(value, int):
            wrong.append(f"{flag} must be a whole number in {allowed}, not {value}")
        elif value not in allowed:
            wrong.append(f"{flag} must be in {allowed}, not {value}{_rounded(value)}")
    return wrong


def check(*configs: Any) -> None:
    """Refuses settings with a number outside of its range.

    Raises:
        RangeError: With a line for every such number.
    """
    if wrong := [line for config in configs for line in faults(config)]:
        raise RangeError("\n".join(wrong))


def check_call(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuses arguments of a function with a number outside of its range.

    Raises:
        RangeError: With a line for every such number, nested ones too.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    if wrong := _outside(_among(hints, values)):
        raise RangeError("\n".join(wrong))


def below(flag: str, value: int | float, limit: int | float, why: str) -> None:
    """Refuses a number that other settings make too large.

    Args:
        flag: Of the command line.
        value: The number.
        limit: What it must be less than.
        why: What the limit is: "the steps of this run".

    Raises:
        RangeError: If it is not less.
    """
    if not value < limit:
        raise RangeError(f"{flag} must be less than {limit:,}, {why}, not {value:,}")


def _structured(settings: Any) -> bool:
    """Whether it is a dataclass or a `NamedTuple`, or one of their instances."""
    return hasattr(settings, "_fields") or dataclasses.is_dataclass(settings)


def _annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated


def _numeric(hint: Any) -> bool:
    """Whether a value of this type is a number, or has numbers inside."""
    return _has(int, hint) or _has(float, hint)


def _has(kind: type, hint: Any) -> bool:
    """Whether a value of this type may be a number of the kind, or have one inside."""
    if typing.get_origin(hint) in _HOLDERS:
        return any(_has(kind, inner) for inner in typing.get_args(hint))
    return hint is kind or (_annotated(hint) and _has(kind, hint.__origin__))


_HOLDERS = (typing.Union, types.UnionType, tuple, list, Sequence)


def _plain(bound: int | float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}".replace("e+0", "e")


def _rounded(value: int | float) -> str:
    """What float32 makes of a number that only rounding takes out of its range."""
    if isinstance(value, int) or math.isnan(value) or _single(value) not in (0, 1):
        return ""
    return "" if _single(value) == value else f" ({_single(value):g} in float32)"


def _single(value: int | float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))
