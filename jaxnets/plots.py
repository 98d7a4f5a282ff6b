"""Figures of runs, and what all modules of figures share: colours, fonts, grids.

Only this module and `jaxnets.plots_*`, which import it, import matplotlib. They use its
objects and never `pyplot`, so there is no global state and no display: every function
returns a `Figure` to save or to show.
"""

import functools
import itertools
import os
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from jaxnets import files

# matplotlib keeps a list of fonts: with everything else that is kept.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = str(files.writable(files.cache_root() / "matplotlib"))

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

# Okabe & Ito's colours, which most colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GROUP_COLOUR = {"train": COLOURS[0], "validation": COLOURS[1], "test": COLOURS[2]}


class GlyphWarning(UserWarning):
    """Characters that no font has; they are drawn as boxes."""


def literal(text: str) -> str:
    """Returns text that matplotlib draws as it is: `$` begins no formula.

    All text that may come from a user goes through it once: names of classes and
    groups, words, captions, titles. Lines stay lines; other control characters become
    escapes, and invisible ones are left out.
    """
    shown = "\n".join("".join(map(_visible, line)) for line in text.split("\n"))
    return shown.replace("$", r"\$")


def named(text: str, most: int = 40) -> str:
    """Returns a name for a picture: literal, on one line, of at most `most` characters.

    The middle of a longer name becomes an ellipsis. A name that begins with an
    underscore gets a space in front: a legend would leave it out.
    """
    return literal(shortened(text, most))


def shortened(text: str, most: int = 40) -> str:
    """Returns what `named` does, where `$` is not escaped yet."""
    whole = "".join(map(_visible, text))
    if len(whole) > most:
        end = most // 3
        whole = f"{whole[: most - end - 1]}\N{HORIZONTAL ELLIPSIS}{whole[-end:]}"
    return f" {whole}" if whole.startswith("_") else whole


def _visible(sign: str) -> str:
    if sign.isprintable():
        return sign
    invisible = unicodedata.category(sign) == "Cf"  # joiners, marks of direction
    return "" if invisible else sign.encode("unicode_escape").decode()


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
    columns = min(max(len(names), 1), 3)
    rows = max(-(-len(names) // columns), 1)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
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
    if title:
        figure.suptitle(literal(title), fontsize=11)
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
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
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
    axes.tick_params(length=0, labelsize=8 if len(classes) <= 30 else 5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = float(np.mean(labels == predicted)) if len(labels) else float("nan")
    axes.set_title(f"{right:.2%} of {len(labels):,} right", fontsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)
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
    columns = max(min(columns, len(images), int(10 / width)), 1)
    rows = max(-(-len(images) // columns), 1)
    size = (width * columns, (1.2 + 0.17 * lines) * rows + (0.4 if title else 0))
    figure = Figure(figsize=(max(size[0], 3.5), size[1]), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04)  # type: ignore[union-attr]
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        shown = image[..., 0] if image.shape[-1] == 1 else image
        top = 255 if image.dtype == np.uint8 else 1
        axes.imshow(shown, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
        axes.set_axis_off()
        if captions:
            axes.set_title(literal(captions[index]), fontsize=8)
    if title:
        figure.suptitle(literal(title), fontsize=10)
    return figure


def png(figure: Figure, path: Any) -> None:
    """Writes a figure as PNG, 150 dots an inch, without a date in it.

    A matplotlibrc that asks for LaTeX is not followed: LaTeX would read text as its own
    commands. Installed fonts of other scripts are asked for what the usual one lacks.
    What no font has is drawn as a box, and named once in a process, in a
    `GlyphWarning`.

    Args:
        figure: What to draw.
        path: A file name, or a binary file open for writing.
    """
    families = mpl.rcParams["font.family"]
    for text in figure.findobj(Text):
        text.set_usetex(False)
        if text.get_fontfamily() == families:
            text.set_fontfamily([*families, *_installed()])
    with plain_text(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
    _say_once(caught)


# Fonts of scripts that matplotlib's own does not have, on Linux, macOS and Windows.
_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Hiragino Sans"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Tamil", "Nirmala UI"),
)


@functools.cache
def _installed() -> tuple[str, ...]:
    found = set(font_manager.get_font_names())
    return tuple(name for name in _SCRIPTS if name in found)


_MISSING = re.compile(r"Glyph (\d+) \(.*\) missing from font\(s\) (.*)\.", re.DOTALL)
_boxes: set[str] = set()  # characters that a warning of this process has named


def _say_once(caught: Sequence[warnings.WarningMessage]) -> None:
    """Passes warnings on; those of missing glyphs as one, if any of them is new."""
    found = [(warning, _MISSING.match(str(warning.message))) for warning in caught]
    missing = {chr(int(glyph[1])): glyph[2] for _, glyph in found if glyph}
    fresh = {sign: fonts for sign, fonts in missing.items() if sign not in _boxes}
    _boxes.update(fresh)
    if fresh:
        signs = ", ".join(f"{sign} (U+{ord(sign):04X})" for sign in sorted(fresh)[:8])
        more = f" and {len(fresh) - 8} more" if len(fresh) > 8 else ""
        warnings.warn(
            f"pictures: {', '.join(sorted(set(fresh.values())))} has no {signs}{more}; "
            "they are drawn as boxes. Install a font that has them, one of: "
            f"{', '.join(_SCRIPTS)}",
            GlyphWarning,
            stacklevel=3,
        )
    for warning, glyph in found:
        if glyph is None:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def plain_text() -> AbstractContextManager[None]:
    """Draws text without LaTeX inside `with`, whatever the user's matplotlibrc says.

    LaTeX may be missing, and takes names and captions for commands.
    """
    return mpl.rc_context({"axes.unicode_minus": False, "text.usetex": False})


def _by_interest(name: str) -> tuple[int, str]:
    order = ("loss", "accuracy", "gradient_norm")
    return (order.index(name) if name in order else 1, name)


def quiet(axes: Any, title: str = "") -> None:
    """A pale grid, and no more lines around it than it needs."""
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if title:
        axes.set_title(literal(title), fontsize=10)


def comparison(
    groups: Mapping[str, Sequence[float]], *, label: str, title: str = ""
) -> Figure:
    """Every single result as a dot, and the mean of each group as a line.

    Args:
        groups: Name to results.
        label: What is measured.
        title: Above.
    """
    figure = Figure(
        figsize=(max(3.5, 1.1 * len(groups) + 2), 3.2), layout="constrained"
    )
    axes = figure.add_subplot()
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


def alignments(
    weights: Sequence[np.ndarray],
    sources: Sequence[Sequence[str]],
    outputs: Sequence[Sequence[str]],
    *,
    title: str = "",
) -> Figure:
    """Where a decoder looked before each token: source across, output downwards.

    Args:
        weights: One matrix `[t, s]` an example, each row over the source; what goes
            beyond the tokens is left out.
        sources: The tokens that were read.
        outputs: The tokens that were written.
        title: Above all.
    """
    sources, outputs = (
        [[named(token, 24) for token in row] for row in side]
        for side in (sources, outputs)
    )
    columns = min(2, len(weights))
    rows = max(-(-len(weights) // columns), 1)
    words = max((len(t) for row in sources for t in row), default=1) > 1
    wide = max((len(row) for row in sources), default=1)
    tall = max((len(row) for row in outputs), default=1)
    label = 0.065 * max((len(t) for row in sources for t in row), default=1)
    size = (columns * (0.22 * wide + 1.0), rows * (0.22 * tall + 0.5 + label))
    figure = Figure(figsize=(max(size[0], 4), size[1]), layout="constrained")
    examples = zip(weights, sources, outputs, strict=True)
    for index, (matrix, source, output) in enumerate(examples):
        axes = figure.add_subplot(rows, columns, index + 1)
        shown = np.asarray(matrix, np.float64)[: len(output), : len(source)]
        axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(
            range(len(source)), source, rotation=90 if words else 0, fontsize=8
        )
        axes.set_yticks(range(len(output)), output, fontsize=8)
        axes.tick_params(length=0, top=True, bottom=False, labeltop=True)
        axes.tick_params(labelbottom=False)
        for spine in axes.spines.values():
            spine.set_color("#dddddd")
    if title:
        figure.suptitle(literal(title), fontsize=10)
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
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
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
        level: A name and a height, a dotted line: chance, say.
        title: Above.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
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


def coloured_words(
    texts: Sequence[Sequence[str]],
    values: Sequence[Sequence[float] | np.ndarray],
    captions: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Texts, a line each, every word on the colour of its value.

    Blue is above 0 and red below; the palest is 0, the strongest the largest value of
    all.

    Args:
        texts: Words.
        values: One a word.
        captions: In front of each text.
        title: Above.
    """
    captions = [shortened(caption, 24) for caption in captions]
    texts = [[shortened(word, 24) for word in words] for words in texts]
    front = max(map(len, captions), default=0) + 2
    width = max((sum(len(w) + 1 for w in words) for words in texts), default=1) + front
    figure = Figure(
        figsize=(max(4.0, 0.085 * width), 0.3 * len(texts) + 0.5), layout="constrained"
    )
    axes = figure.add_subplot()
    largest = max((abs(v) for row in values for v in row), default=0) or 1
    shades = mpl.colormaps["RdBu"]
    for line, (words, row, caption) in enumerate(
        zip(texts, values, captions, strict=True)
    ):
        font: dict[str, Any] = {"family": "monospace", "fontsize": 9, "va": "center"}
        axes.text(0, -line, literal(caption), color="#555555", **font)
        place = front
        for word, value in zip(words, row, strict=True):
            shade = shades(0.5 + 0.4 * value / largest)
            box = {"facecolor": shade, "edgecolor": "none", "pad": 1.5}
            colour = "white" if abs(value) > 0.7 * largest else "black"
            axes.text(place, -line, literal(word), bbox=box, color=colour, **font)
            place += len(word) + 1
    axes.set_xlim(-0.5, width)
    axes.set_ylim(0.7 - len(texts), 0.7)
    axes.set_axis_off()
    if title:
        axes.set_title(literal(title), fontsize=10)
    return figure
