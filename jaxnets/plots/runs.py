"""Figures of runs: curves, confusion, mistakes, and comparisons of several runs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxnets.plots.parts import (
    COLOURS,
    frameless,
    literal,
    named,
    panels,
    quiet,
    shortened,
    show,
    single,
    titled,
)

_GROUP_COLOUR = {"train": COLOURS[0], "validation": COLOURS[1], "test": COLOURS[2]}


def curves(lines: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Every metric over the steps, one panel a metric, one line a group.

    Args:
        lines: As in metrics.jsonl: `{"step": 10, "train": {"loss": 0.5}, ...}`.
            Values that are not one number (accuracy by class) are left out.
        title: Above the panels.
    """
    series: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for line in lines:
        for group, values in line.items():
            if not isinstance(values, Mapping):
                continue
            for name, value in values.items():
                if isinstance(value, int | float):
                    xs, ys = series.setdefault(name, {}).setdefault(group, ([], []))
                    xs.append(line["step"])
                    ys.append(value)
    names = sorted(series, key=_by_interest)
    figure, places = panels(len(names), 3, (4.2, 3.0))
    for axes, name in zip(places, names, strict=True):
        for other, (group, (xs, ys)) in enumerate(series[name].items()):
            colour = _GROUP_COLOUR.get(group, COLOURS[(3 + other) % len(COLOURS)])
            dot = "o" if len(xs) < 3 else None
            axes.plot(
                xs, ys, label=named(group), color=colour, linewidth=1.6, marker=dot
            )
        values = [y for _, ys in series[name].values() for y in ys]
        if name.startswith(("loss", "gradient_norm")) and min(values) > 0:
            axes.set_yscale("log")
        axes.set_title(named(name.replace("_", " ")), fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        quiet(axes)
        axes.legend(frameon=False, fontsize=8)
    titled(figure, title, size=11)
    return figure


def confusion(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> Figure:
    """How often each class was taken for each other; the diagonal is right.

    Args:
        labels: True classes, `[n]`.
        predicted: Guessed classes, `[n]`.
        classes: Their names.
    """
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [named(name) for name in classes]
    side = float(np.clip(0.42 * len(classes) + 1.6, 4.5, 14))
    figure, axes = single(side, side)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 30:
        for row, column in zip(*np.nonzero(counts), strict=True):
            light = share[row, column] > 0.5
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if light else "#333333",
                fontweight="normal" if row == column else "bold",
            )
    long = max(map(len, names)) > 2
    axes.set_xticks(range(len(names)), names, rotation=90 if long else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=8 if len(classes) <= 30 else 5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = float(np.mean(labels == predicted)) if len(labels) else float("nan")
    axes.set_title(f"{right:.2%} of {len(labels):,} right", fontsize=10)
    frameless(axes)
    return figure


def mistakes(
    images: Any,
    labels: np.ndarray,
    logits: np.ndarray,
    classes: Sequence[str],
    *,
    count: int = 24,
) -> Figure:
    """The wrong answers that the network was surest of, surest first.

    Where there are fewer than `count`, the right answers that it was least sure of
    follow.

    Args:
        images: `[n, h, w, c]`, bytes or in [0, 1]; only the rows shown are asked for.
        labels: True classes, `[n]`.
        logits: `[n, classes]`.
        classes: Their names.
        count: How many to show at most.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probability = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    guess, sure = probability.argmax(axis=1), probability.max(axis=1)
    wrong = guess != labels
    # Wrong before right; then the surest of the wrong, the least sure of the right.
    shown = np.lexsort((np.where(wrong, -sure, sure), ~wrong))[:count]
    names = [shortened(name, 18) for name in classes]
    captions = [
        f"{names[int(guess[i])]}, {sure[i]:.0%}\n"
        + (f"but is {names[int(labels[i])]}" if wrong[i] else "right")
        for i in shown
    ]
    title = f"{wrong.sum()} of {len(labels):,} wrong"
    title += ", the surest first" if wrong.any() else ""
    if not wrong[shown].all():
        title += "; right ones, the least sure first"
    return grid(images[shown], captions, title=title)


def grid(
    images: np.ndarray,
    captions: Sequence[str] = (),
    *,
    title: str = "",
    columns: int = 8,
) -> Figure:
    """Images in rows, each with its caption.

    Args:
        images: `[n, h, w, c]`, bytes or in [0, 1]; one channel is grey.
        captions: As many as images, or none.
        title: Above all.
        columns: Images in a row.
    """
    written = [caption.split("\n") for caption in captions]
    lines = max(map(len, written), default=0)
    longest = max((len(line) for text in written for line in text), default=0)
    width = max(1.25, 0.09 * longest)  # inches, so that captions do not overlap
    figure, places = panels(
        len(images),
        min(columns, int(10 / width)),
        (width, 1.2 + 0.17 * lines),
        narrowest=3.5,
        extra=0.4 if title else 0,
    )
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04)  # type: ignore[union-attr]
    for index, (axes, image) in enumerate(zip(places, images, strict=True)):
        show(axes, image)
        if captions:
            axes.set_title(literal(captions[index]), fontsize=8)
    titled(figure, title)
    return figure


def _by_interest(name: str) -> tuple[int, str]:
    order = ("loss", "accuracy", "gradient_norm")
    return (order.index(name) if name in order else 1, name)


def comparison(
    groups: Mapping[str, Sequence[float]], *, label: str, title: str = ""
) -> Figure:
    """Every single result as a dot, and the mean of each group as a line.

    Args:
        groups: Name to results.
        label: What is measured.
        title: Above.
    """
    figure, axes = single(max(3.5, 1.1 * len(groups) + 2), 3.2)
    for index, (values, colour) in enumerate(
        zip(groups.values(), itertools.cycle(COLOURS), strict=False)
    ):
        spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
        axes.plot(index + np.asarray(spread), values, "o", color=colour, alpha=0.75)
        middle = float(np.mean(values))
        axes.hlines(middle, index - 0.25, index + 0.25, color=colour, linewidth=2)
        axes.annotate(f"{middle:.4g}", (index + 0.28, middle), va="center", fontsize=9)
    axes.set_xlim(-0.6, len(groups) - 0.2)
    axes.set_xticks(range(len(groups)), [literal(name) for name in groups])
    axes.set_ylabel(literal(label))
    quiet(axes, title)
    return figure


def progress(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    label: str,
    across: str = "step",
    title: str = "",
) -> Figure:
    """One measure of several runs on the way, one line a run.

    Args:
        lines: Name to pairs of where and how much.
        label: What is measured.
        across: What it is plotted against.
        title: Above.
    """
    figure, axes = single(5.2, 3.4)
    colours = itertools.cycle(COLOURS)
    for (name, pairs), colour in zip(lines.items(), colours, strict=False):
        xs, ys = zip(*pairs, strict=True)
        style: Any = {"color": colour, "linewidth": 1.6, "markersize": 3}
        axes.plot(xs, ys, "o-", label=named(name), **style)
    axes.set_xlabel(literal(across))
    axes.set_ylabel(literal(label))
    axes.legend(frameon=False, fontsize=8)
    quiet(axes, title)
    return figure


def against(
    groups: Mapping[str, np.ndarray],
    x: Sequence[float | int],
    *,
    labels: tuple[str, str],
    marks: Mapping[str, float | int] | None = None,
    level: tuple[str, float | int] | None = None,
    title: str = "",
) -> Figure:
    """Curves over one axis: every run thin, the mean of each group thick.

    Args:
        groups: Name to values `[runs, n]`.
        x: The `n` places.
        labels: What the two axes are.
        marks: Names to places on the x axis, each a dashed line.
        level: A name and a height, a dotted line, for example of chance.
        title: Above.
    """
    figure, axes = single(6.4, 3.8)
    for (name, values), colour in zip(
        groups.items(), itertools.cycle(COLOURS), strict=False
    ):
        for row in values:
            axes.plot(x, row, color=colour, linewidth=0.7, alpha=0.5)
        axes.plot(
            x, np.mean(values, axis=0), color=colour, linewidth=2, label=literal(name)
        )
    for name, place in (marks or {}).items():
        style: Any = {"color": "#555555", "linewidth": 1, "linestyle": "--"}
        axes.axvline(place, label=literal(name), **style)
    if level is not None:
        axes.axhline(level[1], color="#555555", linewidth=1, linestyle=":")
        axes.annotate(
            literal(level[0]),
            (0, level[1]),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
    axes.set_xlabel(literal(labels[0]))
    axes.set_ylabel(literal(labels[1]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    quiet(axes, title)
    return figure
