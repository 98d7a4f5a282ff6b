"""Figures of attention: alignments, words by value, pictures word by word."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from jaxnets.plots.parts import (
    literal,
    named,
    panels,
    shortened,
    show,
    single,
    titled,
    unit,
)

_PALE = 0.35  # how much of a picture shows where nothing is attended to


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
    words = max((len(t) for row in sources for t in row), default=1) > 1
    wide = max((len(row) for row in sources), default=1)
    tall = max((len(row) for row in outputs), default=1)
    label = 0.065 * max((len(t) for row in sources for t in row), default=1)
    size = (0.22 * wide + 1.0, 0.22 * tall + 0.5 + label)
    figure, places = panels(len(weights), 2, size, narrowest=4)
    examples = zip(places, weights, sources, outputs, strict=True)
    for axes, matrix, source, output in examples:
        shown = np.asarray(matrix, np.float64)[: len(output), : len(source)]
        axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(
            range(len(source)), source, rotation=90 if words else 0, fontsize=8
        )
        axes.set_yticks(range(len(output)), output, fontsize=8)
        axes.tick_params(length=0, top=True, bottom=False, labeltop=True)
        axes.tick_params(labelbottom=False)
        axes.spines[:].set_color("#dddddd")
    titled(figure, title)
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
    figure, axes = single(max(4.0, 0.085 * width), 0.3 * len(texts) + 0.5)
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
    titled(axes, title)
    return figure


def captioned(
    images: np.ndarray, captions: Sequence[str], *, title: str = ""
) -> Figure:
    """Images with sentences below, wrapped.

    Args:
        images: `[n, h, w, c]`, bytes or in [0, 1].
        captions: As many.
        title: Above all.
    """
    texts = [
        "\n".join(
            part
            for line in text.split("\n")
            for part in textwrap.wrap(line, 34) or [""]
        )
        for text in captions
    ]
    lines = max((text.count("\n") + 1 for text in texts), default=1)
    figure, places = panels(len(images), 4, (2.6, 2.0 + 0.16 * lines), extra=0.4)
    for axes, image, text in zip(places, images, texts, strict=True):
        show(axes, image)
        axes.text(
            0.5,
            -0.03,
            literal(text),
            ha="center",
            va="top",
            fontsize=8,
            transform=axes.transAxes,
        )
    titled(figure, title)
    return figure


def looks(
    images: Sequence[np.ndarray],
    sentences: Sequence[Sequence[str]],
    weights: Sequence[np.ndarray],
    *,
    title: str = "",
    columns: int = 10,
) -> Figure:
    """Each word over the picture, lit where the captioner looked before it said it.

    The most attended cell of a word is as bright as the picture; its share of the
    attention stands beside the word.

    Args:
        images: `[h, w, c]` each, bytes or in [0, 1].
        sentences: The words of each.
        weights: Attention before each word, `[t, gh, gw]` each, over the whole image.
        title: Above all.
        columns: Pictures in a row, the plain one included; longer sentences go on in
            another row.
    """
    wide = max(min(columns, 1 + max((len(s) for s in sentences), default=1)), 2)
    each = [max(-(-len(words) // (wide - 1)), 1) for words in sentences]
    rows = max(sum(each), 1)
    figure = Figure(
        figsize=(1.05 * wide, 1.28 * rows + (0.4 if title else 0)), layout="constrained"
    )
    top = 0
    examples = zip(images, sentences, weights, each, strict=True)
    for image, words, seen, height in examples:
        plain = unit(image)
        _panel(figure, rows, wide, top * wide + 1, plain, "")
        for index, word in enumerate(words):
            row, column = divmod(index, wide - 1)
            lit = enlarged(seen[index], plain.shape[:2])
            shade = _PALE + (1 - _PALE) * lit / max(lit.max(), 1e-9)
            shown = 1 - (1 - plain) * shade[..., None]
            place = (top + row) * wide + 2 + column
            text = f"{named(word, 16)} {seen[index].max():.0%}"
            _panel(figure, rows, wide, place, shown, text)
        top += height
    titled(figure, title)
    return figure


def enlarged(weights: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A grid of cells as an image of that shape: every pixel has its cell's value."""
    down, across = (
        np.minimum(np.arange(pixels) * cells // pixels, cells - 1)
        for pixels, cells in zip(shape, weights.shape, strict=True)
    )
    return np.asarray(weights, np.float64)[down][:, across]


def _panel(
    figure: Figure, rows: int, columns: int, place: int, image: np.ndarray, text: str
) -> None:
    axes = figure.add_subplot(rows, columns, place)
    show(axes, image)
    if text:
        axes.set_title(text, fontsize=7, pad=2)
