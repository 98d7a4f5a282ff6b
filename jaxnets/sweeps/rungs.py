"""How long each setting is trained: all alike, by halving, or as a population evolves.

Successive halving: Jamieson & Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization", 2015, https://arxiv.org/abs/1502.07943. Hyperband: Li et
al., 2016, https://arxiv.org/abs/1603.06560, algorithm 1. Population-based training:
Jaderberg et al., 2017, https://arxiv.org/abs/1711.09846, with truncation selection and
the perturbations of appendix A.

A bracket is a number of settings and the steps at which they are compared. Those that
go on from one rung to the next are packed into a smaller program; the others stop.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.sweeps.space import Choice, Range, free

SCHEDULES = ("full", "halving", "hyperband", "pbt")
# Jaderberg et al., appendix A.1: the worst fifth copies the best, factors 0.8 and 1.2.
_SHARE, _FACTORS = 0.2, (0.8, 1.2)


class Bracket(NamedTuple):
    """Settings that are compared with each other.

    Attributes:
        trials: How many begin.
        stops: Steps at which a rung ends; the last is the whole length.
        sizes: How many settings are trained in each rung.
    """

    trials: int
    stops: tuple[int, ...]
    sizes: tuple[int, ...]


def brackets(
    schedule: str,
    *,
    trials: int,
    batch: int,
    steps: int,
    eta: int = 3,
    first: int | None = None,
) -> list[Bracket]:
    """The brackets of a sweep, in order.

    Args:
        schedule: One of `SCHEDULES`.
        trials: Settings in all; hyperband follows from the lengths, and takes its own.
        batch: Settings of a bracket.
        steps: Length of the whole training.
        eta: One of so many goes on to the next rung, which is so many times as long.
        first: Steps of the shortest rung. By default halving ends with one setting,
            hyperband has four rungs at most, and `pbt` ten.

    Raises:
        ValueError: If the lengths do not fit.
    """
    if eta < 2:
        raise ValueError(f"eta is {eta}: it must be 2 or more")
    if first is not None and not 1 <= first <= steps:
        raise ValueError(
            f"--first must be in [1, {steps}], the steps of a run, not {first}"
        )
    counts = [min(batch, trials - begun) for begun in range(0, trials, batch)]
    if schedule == "full":
        return [Bracket(count, (steps,), (count,)) for count in counts]
    if schedule == "pbt":
        length = first or max(steps // 10, 1)
        stops = (*range(length, steps, length), steps)
        return [Bracket(n, stops, (n,) * len(stops)) for n in counts]
    if schedule == "halving":
        return [_halving(count, steps, eta, first) for count in counts]
    lowest = first or max(steps // eta**3, 1)
    most = _log(steps // lowest, eta)
    found = []
    for rungs in range(most, -1, -1):
        count = math.ceil((most + 1) / (rungs + 1) * eta**rungs)
        found.append(_halving(count, steps, eta, steps // eta**rungs))
    return found


def _halving(count: int, steps: int, eta: int, first: int | None) -> Bracket:
    rungs = _log(count, eta) if first is None else _log(steps // first, eta)
    stops = tuple(max(steps // eta**k, 1) for k in range(rungs, -1, -1))
    stops = tuple(sorted(set(stops)))
    sizes = [count]
    for _ in stops[1:]:
        sizes.append(max(sizes[-1] // eta, 1))
    return Bracket(count, stops, tuple(sizes))


def _log(value: int, base: int) -> int:
    """The largest k with base^k <= value, in integers."""
    found = 0
    while base ** (found + 1) <= value:
        found += 1
    return found


def even(count: int, most: int) -> int:
    """The size of equal chunks of at most `most`: fewer sizes, fewer compilations."""
    return math.ceil(count / math.ceil(count / most))


def survivors(scores: Sequence[float], count: int) -> list[int]:
    """Positions of the lowest scores, in ascending order; ties go to the earlier.

    A setting that is not finite never survives.
    """
    ranked = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    return sorted(i for i in ranked[:count] if math.isfinite(scores[i]))


def evolved(
    scores: Sequence[float],
    values: Sequence[Mapping[str, float]],
    space: Mapping[str, Range | float | int],
    seed: int,
) -> list[tuple[int, dict[str, float]]]:
    """Whose state each member goes on from, and with which hyperparameters.

    The worst fifth, at least one, goes on from members drawn from the best fifth, with
    every hyperparameter moved by a factor of 0.8 or 1.2, inside its range; a choice
    moves to a neighbour. Settings that diverged count as worst.

    Args:
        scores: Of the members, to be lowered; infinite where one diverged.
        values: Their hyperparameters.
        space: Where those may be.
        seed: Decides the draws.

    Returns:
        A parent's position and the new values, one a member.
    """
    ranked = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    count = max(int(len(scores) * _SHARE), 1) if len(scores) > 1 else 0
    best = [i for i in ranked[: max(count, 1)] if math.isfinite(scores[i])]
    worst = {i for i in ranked[len(ranked) - count :] if i not in best}
    worst |= {i for i in ranked if not math.isfinite(scores[i])}
    found = []
    for member in range(len(scores)):
        if member not in worst or not best:
            found.append((member, dict(values[member])))
            continue
        words = np.random.Philox(key=np.array([seed % 2**64, member], np.uint64))
        draws = [int(w >> np.uint64(16)) for w in words.random_raw(1 + len(space))]
        parent = best[draws[0] % len(best)]
        moved = dict(values[parent])
        for draw, (name, own) in zip(draws[1:], free(space).items(), strict=False):
            moved[name] = _moved(own, moved[name], up=bool(draw % 2))
        found.append((parent, moved))
    return found


def _moved(own: Range, value: float, *, up: bool) -> float:
    if isinstance(own, Choice):
        place = own.bounds.index(value) + (1 if up else -1)
        return own.bounds[min(max(place, 0), len(own.bounds) - 1)]
    low, high = own.bounds
    moved = value * _FACTORS[up]
    if own.kind == "int":
        moved = float(round(moved))
    return min(max(moved, low), high)
