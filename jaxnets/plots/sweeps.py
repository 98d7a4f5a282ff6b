"""Figures of a sweep: ranking, curves, response, parallel coordinates, importance."""

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from jaxnets.plots.parts import (
    COLOURS,
    frameless,
    literal,
    named,
    panels,
    quiet,
    single,
)

Curve = Sequence[tuple[float | int, float | int]]  # of steps and values


def ranking(
    results: Mapping[str, Sequence[float]], *, label: str, title: str = ""
) -> Figure:
    """The settings from the best down: every run a dot, mean and deviation a bar.

    Args:
        results: What to call a setting to the results of its runs, best first.
        label: What is measured.
        title: Above.
    """
    height = max(0.24 * len(results) + 1.2, 2.2)
    figure, axes = single(7, height)
    for place, values in enumerate(results.values()):
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        axes.errorbar(
            np.mean(values), place, xerr=spread, fmt="|", color=COLOURS[0], capsize=3
        )
        dots = [place] * len(values)
        axes.plot(values, dots, "o", color=COLOURS[0], alpha=0.5, markersize=4)
    names = [named(name, 80) for name in results]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    if _spread([value for values in results.values() for value in values]):
        axes.set_xscale("log")
        _plain(axes.xaxis)
    axes.set_xlabel(literal(label))
    quiet(axes, title)
    return figure


def curves(
    runs: Sequence[Curve], best: Collection[int], *, label: str, title: str = ""
) -> Figure:
    """The learning curves of all members; the winner's are thick.

    Args:
        runs: Of each member, pairs of step and value.
        best: Which of them are the winner's.
        label: What is measured.
        title: Above.
    """
    figure, axes = single(6.4, 3.8)
    everything = []
    for index, run in enumerate(runs):
        if not run:
            continue
        steps, values = zip(*run, strict=True)
        everything += values
        won = index in best
        axes.plot(
            steps,
            values,
            color=COLOURS[1] if won else COLOURS[0],
            linewidth=2.2 if won else 0.8,
            alpha=1.0 if won else 0.45,
            zorder=3 if won else 2,
            marker="." if len(steps) < 3 else None,
            label="winner" if won and index == min(best) else None,
        )
    if _spread(everything):
        axes.set_yscale("log")
        _plain(axes.yaxis)
    axes.set_xlabel("step")
    axes.set_ylabel(literal(label))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if best:
        axes.legend(frameon=False, fontsize=8)
    quiet(axes, title)
    return figure


def responses(
    values: Mapping[str, Sequence[float]],
    results: Sequence[float],
    logarithmic: Sequence[str],
    groups: Sequence[str],
    *,
    label: str,
) -> Figure:
    """The result against each hyperparameter, a panel each, a colour a group.

    Args:
        values: Name of a hyperparameter to what it is in each setting.
        results: One a setting; what is not finite is left out.
        logarithmic: Names of those with a logarithmic axis.
        groups: Of each setting.
        label: What is measured.
    """
    figure, panel_axes = panels(len(values), 3, (3.6, 2.9))
    shown = np.array(results, np.float64)
    kinds = list(dict.fromkeys(groups))
    for axes, (name, places) in zip(panel_axes, values.items(), strict=True):
        for kind, colour in zip(kinds, itertools.cycle(COLOURS), strict=False):
            mine = np.array([group == kind for group in groups]) & np.isfinite(shown)
            dots = np.array(places)[mine], shown[mine]
            axes.plot(*dots, "o", color=colour, label=named(kind))
        if name in logarithmic:
            axes.set_xscale("log")
        if _spread(shown[np.isfinite(shown)]):
            axes.set_yscale("log")
            _plain(axes.yaxis)
        axes.set_xlabel(name.replace("_", " "))
        axes.set_ylabel(literal(label))
        quiet(axes)
        if len(kinds) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure


def parallel(
    places: Mapping[str, Sequence[float]],
    ends: Mapping[str, tuple[str, str]],
    results: Sequence[float],
    *,
    label: str,
    lower: bool = True,
) -> Figure:
    """Every setting as a line across its hyperparameters, coloured by its rank.

    Args:
        places: Name of a hyperparameter to where each setting lies in its range, in
            [0, 1].
        ends: Name to how the ends of the range are written.
        results: One a setting; what is not finite is left out.
        label: What is measured.
        lower: Whether lower results are better.
    """
    shown = np.array(results, np.float64)
    finite = np.flatnonzero(np.isfinite(shown))
    ordered = finite[np.argsort(shown[finite] * (1 if lower else -1), kind="stable")]
    ranks = {int(i): r / max(len(finite) - 1, 1) for r, i in enumerate(ordered)}
    names = [*places, label]
    figure, axes = single(max(1.6 * len(names), 4.5), 3.6)
    shades = colormaps["viridis"]
    for i in reversed(ordered):
        line = [float(places[name][i]) for name in places] + [1 - ranks[int(i)]]
        axes.plot(range(len(names)), line, color=shades(1 - ranks[int(i)]), alpha=0.8)
    for place, name in enumerate(names):
        axes.plot([place, place], [0, 1], color="#888888", linewidth=0.8, zorder=1)
        low, high = ends.get(name, ("worst", "best"))
        axes.annotate(low, (place, -0.07), ha="center", fontsize=7)
        axes.annotate(high, (place, 1.04), ha="center", fontsize=7)
    axes.set_xticks(range(len(names)), [n.replace("_", " ") for n in names])
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    axes.tick_params(labelsize=8)
    frameless(axes)
    return figure


def importance(shares: Mapping[str, float], *, title: str = "") -> Figure:
    """How much of the variance each hyperparameter explains, as bars.

    Args:
        shares: Name to share, in [0, 1].
        title: Above.
    """
    figure, axes = single(5.5, 0.35 * max(len(shares), 1) + 1.2)
    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    names = [name.replace("_", " ") for name, _ in ordered]
    axes.barh(names, [share for _, share in ordered], color=COLOURS[0])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance")
    quiet(axes, title)
    return figure


def _spread(values: Collection[float | int] | np.ndarray) -> bool:
    """Whether a logarithmic axis shows more: one that diverges leaves room for none."""
    found = np.array([*values])
    return bool(len(found) and found.min() > 0 and found.max() > 5 * found.min())


def _plain(axis: Axis) -> None:
    """Writes 0.2 on a logarithmic axis, and not 2 x 10^-1."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
