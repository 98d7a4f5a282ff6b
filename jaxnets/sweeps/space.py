"""Ranges that hyperparameters are searched in; a space is a `Hyper` of them.

    SPACE = Hyper(learning_rate=LogUniform(1e-4, 1e-1), dropout=Uniform(0.0, 0.5))

A range is also a number, its middle, so that a space is a `Hyper` like any other; a
plain number in it is fixed. Every range maps the unit interval onto itself:
quasi-random points, grids and random draws are points of the unit cube.
"""

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxnets.errors import UserError

if TYPE_CHECKING:  # half a second to import, which a lone run can do without
    from optuna.distributions import BaseDistribution


Number = float | int


class SpaceError(UserError, ValueError):
    """A range, or what was written for one, cannot be; the message says why."""

    status = 2


class Range(float):
    """What a hyperparameter may be, and as a number the middle of that."""

    kind: str
    bounds: tuple[float, ...]

    def at(self, place: Number) -> float:
        """The value at a place in [0, 1]."""
        raise NotImplementedError

    def place(self, value: Number) -> float:
        """Where a value lies in [0, 1]: what `at` takes to return it."""
        raise NotImplementedError

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        raise NotImplementedError

    def grid(self, count: int) -> list[float]:
        """So many values spread evenly, the ends among them."""
        places = [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
        return [self.at(place) for place in places]

    def nonzero(self) -> float:
        """A value that is not 0: which program a group compiles hangs on that."""
        return float(self) or next((b for b in reversed(self.bounds) if b), 0.0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{b:g}' for b in self.bounds)})"

    def __str__(self) -> str:
        low, high = self.bounds
        return f"{low:g}..{high:g}:{self.kind}"

    def __hash__(self) -> int:
        return hash((self.kind, self.bounds))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Range):
            return (self.kind, self.bounds) == (other.kind, other.bounds)
        return float(self) == other


def _ends(low: Number, high: Number, what: str) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpaceError(f"{what} from {low:g} to {high:g} is empty or not finite")
    return float(low), float(high)


class Uniform(Range):
    """Any number from `low` to `high`."""

    kind = "linear"

    def __new__(cls, low: Number, high: Number) -> "Uniform":
        """A range; `low` < `high`."""
        ends = _ends(low, high, "a range")
        new = super().__new__(cls, sum(ends) / 2)
        new.bounds = ends
        return new

    def at(self, place: Number) -> float:
        """The value at a place in [0, 1]."""
        low, high = self.bounds
        return low + place * (high - low)

    def place(self, value: Number) -> float:
        """Where a value lies in [0, 1]."""
        low, high = self.bounds
        return (value - low) / (high - low)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.bounds[0], self.bounds[1])


class LogUniform(Range):
    """Any positive number from `low` to `high`, every factor as likely."""

    kind = "log"

    def __new__(cls, low: Number, high: Number) -> "LogUniform":
        """A range; 0 < `low` < `high`."""
        ends = _ends(low, high, "a range")
        if low <= 0:
            raise SpaceError(f"a logarithmic range cannot begin at {low:g}")
        new = super().__new__(cls, math.sqrt(ends[0] * ends[1]))
        new.bounds = ends
        return new

    def at(self, place: Number) -> float:
        """The value at a place in [0, 1]."""
        low, high = self.bounds
        value = low * math.exp(place * math.log(high / low))
        return high if place >= 1 else min(max(value, low), high)

    def place(self, value: Number) -> float:
        """Where a value lies in [0, 1]."""
        low, high = self.bounds
        return math.log(value / low) / math.log(high / low)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.bounds[0], self.bounds[1], log=True)


class IntUniform(Range):
    """Any whole number from `low` to `high`, both among them."""

    kind = "int"

    def __new__(cls, low: Number, high: Number) -> "IntUniform":
        """A range; `low` < `high`, both whole."""
        ends = _ends(low, high, "a range")
        if any(end != int(end) for end in ends):
            raise SpaceError(f"{low:g}..{high:g} are no whole numbers")
        new = super().__new__(cls, (low + high) // 2)
        new.bounds = ends
        return new

    def at(self, place: Number) -> float:
        """The value at a place in [0, 1]."""
        low, high = self.bounds
        return float(min(low + math.floor(place * (high - low + 1)), high))

    def place(self, value: Number) -> float:
        """Where a value lies in [0, 1]: the middle of what becomes it."""
        low, high = self.bounds
        return (value - low + 0.5) / (high - low + 1)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import IntDistribution

        return IntDistribution(int(self.bounds[0]), int(self.bounds[1]))


class Choice(Range):
    """One of these numbers."""

    kind = "choice"

    def __new__(cls, *values: Number) -> "Choice":
        """At least one number, none of them twice."""
        if not values or len(set(values)) < len(values):
            raise SpaceError(f"{values} is no choice: it is empty, or repeats itself")
        new = super().__new__(cls, values[len(values) // 2])
        new.bounds = tuple(map(float, values))
        return new

    def at(self, place: Number) -> float:
        """The value at a place in [0, 1]."""
        return self.bounds[min(int(place * len(self.bounds)), len(self.bounds) - 1)]

    def place(self, value: Number) -> float:
        """Where a value lies in [0, 1]: the middle of what becomes it."""
        return (self.bounds.index(value) + 0.5) / len(self.bounds)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.bounds)

    def grid(self, count: int) -> list[float]:
        """All of them, whatever the count."""
        del count
        return list(self.bounds)

    def __str__(self) -> str:
        return ",".join(f"{b:g}" for b in self.bounds)


Space = dict[str, Any]  # of ranges and of numbers, which are fixed


def of(hyper: Any) -> Space:
    """A `Hyper` of ranges and numbers as a dictionary."""
    return dict(zip(hyper._fields, hyper, strict=True))


def free(space: Mapping[str, Range | Number]) -> dict[str, Range]:
    """What is searched; the rest is fixed."""
    return {name: value for name, value in space.items() if isinstance(value, Range)}


def parsed(text: str, own: Number | Range | None = None) -> Range | float:
    """A range or a number as people write it.

    `1e-4..1e-1` is a range: logarithmic where the experiment's own is, or where it has
    none and the ends are positive and a factor of ten or more apart. `:log`, `:linear`
    or `:int` behind it says so. `0.1,0.2,0.5` is a choice, `0.1` fixed.

    Args:
        text: What was written.
        own: What the experiment has in this place.

    Raises:
        SpaceError: If it is none of these.
    """
    body, _, kind = text.strip().partition(":")
    try:
        if ".." in body:
            low, high = map(float, body.split(".."))
            wide = low > 0 and high >= 10 * low
            default = own.kind if isinstance(own, Range) else "log" if wide else ""
            makers: dict[str, Any] = {"log": LogUniform, "int": IntUniform}
            known = {**makers, "linear": Uniform}
            if kind and kind not in known:
                raise SpaceError(f"{text!r}: behind the colon goes {', '.join(known)}")
            return known.get(kind or default, Uniform)(low, high)
        if "," in body:
            return Choice(*map(float, body.split(",")))
        return float(body)
    except SpaceError:
        raise
    except ValueError:
        raise SpaceError(
            f"{text!r} is no range: write 1e-4..1e-1, 0.1,0.2,0.5 or 0.1"
        ) from None


def narrowed(space: Mapping[str, Range | Number], texts: Mapping[str, str]) -> Space:
    """The space with some of it replaced by what was written.

    Args:
        space: The experiment's own.
        texts: Name to range, with `-` or `_` in the names.

    Raises:
        SpaceError: Naming the hyperparameter that is unknown, with the nearest ones, or
            what is wrong with its range.
    """
    found = dict(space)
    for written, text in texts.items():
        name = written.replace("-", "_")
        if name not in space:
            near = difflib.get_close_matches(name, space, n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise SpaceError(
                f"there is no hyperparameter {written}{meant} There are: "
                f"{', '.join(space)}"
            )
        try:
            found[name] = parsed(text, space[name])
        except SpaceError as error:
            raise SpaceError(f"--space.{written}: {error}") from None
    return found


def to_json(space: Mapping[str, Range | Number]) -> dict[str, Any]:
    """Plain data: `{"learning_rate": {"log": [0.0001, 0.1]}, "dropout": 0.1}`."""
    return {
        name: {value.kind: list(value.bounds)}
        if isinstance(value, Range)
        else float(value)
        for name, value in space.items()
    }


def from_json(plain: Mapping[str, Any]) -> Space:
    """What `to_json` was given."""
    makers: dict[str, Any] = {
        kind.kind: kind for kind in (Uniform, LogUniform, IntUniform, Choice)
    }

    def made(value: Any) -> Range | float:
        if isinstance(value, dict):
            ((kind, bounds),) = value.items()
            return makers[kind](*bounds)
        return float(value)

    return {name: made(value) for name, value in plain.items()}


def default(hyper: Any) -> Space:
    """Where an experiment has no `SPACE`: a factor of 30 around its learning rate.

    Raises:
        SpaceError: If it has no learning rate either.
    """
    found = {name: float(value) for name, value in of(hyper).items()}
    rate = found.get("learning_rate")
    if not rate or rate < 0:
        raise SpaceError(
            "the experiment has no SPACE and no learning rate: say what to search, as "
            "in --space.NAME 0.1..0.9"
        )
    return {**found, "learning_rate": LogUniform(rate / 30, rate * 30)}


def quiet() -> None:
    """Lets Optuna report errors only: what is worth saying, the sweep says itself."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
