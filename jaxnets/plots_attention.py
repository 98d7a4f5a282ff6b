"""Pictures of where a captioner looked; see `jaxnets.plots`."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxnets.plots import literal, named

_PALE = 0.35  # how much of a picture shows where nothing is attended to


def captioned(
    images: np.ndarray, captions: Sequence[str], *, title: str = ""
) -> Figure:
    """Images with sentences below, wrapped.

    Args:
        images: `[n, h, w, c]`, bytes or in [0, 1].
        captions: As many.
        title: Above all.
    """
    columns = max(min(4, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    texts = [
        "\n".join(
            part
            for line in text.split("\n")
            for part in textwrap.wrap(line, 34) or [""]
        )
        for text in captions
    ]
    lines = max((text.count("\n") + 1 for text in texts), default=1)
    size = (2.6 * columns, (2.0 + 0.16 * lines) * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    for index, (image, text) in enumerate(zip(images, texts, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        axes.text(
            0.5,
            -0.03,
            literal(text),
            ha="center",
            va="top",
            fontsize=8,
            transform=axes.transAxes,
        )
    if title:
        figure.suptitle(literal(title), fontsize=10)
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
        plain = _unit(image)
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
    if title:
        figure.suptitle(literal(title), fontsize=10)
    return figure


def enlarged(weights: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A grid of cells as an image of that shape: every pixel has its cell's value."""
    down, across = (
        np.minimum(np.arange(pixels) * cells // pixels, cells - 1)
        for pixels, cells in zip(shape, weights.shape, strict=True)
    )
    return np.asarray(weights, np.float64)[down][:, across]


def _unit(image: np.ndarray) -> np.ndarray:
    return image / 255 if image.dtype == np.uint8 else np.asarray(image, np.float64)


def _panel(
    figure: Figure, rows: int, columns: int, place: int, image: np.ndarray, text: str
) -> None:
    axes = figure.add_subplot(rows, columns, place)
    axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
    axes.set_axis_off()
    if text:
        axes.set_title(text, fontsize=7, pad=2)
