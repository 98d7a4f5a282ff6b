"""Pictures of what a generative model makes; see `jaxnets.plots`."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxnets.plots import literal, named

_GAP = 1  # pixels between two images
_PAPER = 0.5  # the grey between them
_TOLD_APART = 10  # classes that have a colour each


def sheet(
    images: np.ndarray, columns: int, *, title: str = "", labels: Sequence[str] = ()
) -> Figure:
    """Images as one mosaic, row by row.

    Args:
        images: `[n, h, w, c]`, bytes or in [0, 1]; outside of that they are cut off.
        columns: Images in a row.
        title: Above.
        labels: Of the rows, to their left.
    """
    mosaic, pitch = _mosaic(_unit(images), columns)
    rows = -(-len(images) // columns)
    figure = Figure(
        figsize=(0.45 * columns + 0.6, 0.45 * rows + 0.5), layout="constrained"
    )
    axes = figure.add_subplot()
    _show(axes, mosaic)
    if labels:
        places = pitch[0] * (np.arange(rows) + 0.5)
        axes.set_axis_on()
        axes.set_yticks(places, [named(n) for n in labels], fontsize=7)
        axes.set_xticks([])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    if title:
        axes.set_title(literal(title), fontsize=9)
    return figure


def strips(
    frames: np.ndarray,
    windows: np.ndarray | None = None,
    *,
    title: str = "",
    colour: str = "#D55E00",
) -> Figure:
    """Pictures in the making, one a row, with the window of each step over them.

    A window is as wide as its outer filters' centres are apart, and its line as thick
    as the filters (Gregor et al., 2015, https://arxiv.org/abs/1502.04623, figure 1).

    Args:
        frames: `[n, t, h, w, c]`, in [0, 1].
        windows: `[n, t, 5]`: [y0, x0, y1, x1, thickness] in pixels; or none.
        title: Above.
        colour: Of the windows.
    """
    count, steps, height, width = frames.shape[:4]
    flat = frames.reshape(-1, *frames.shape[2:])
    mosaic, pitch = _mosaic(_unit(flat), steps)
    inches = 0.62
    figure = Figure(
        figsize=(inches * steps + 0.3, inches * count + 0.5), layout="constrained"
    )
    axes = figure.add_subplot()
    _show(axes, mosaic)
    points = 72 * inches / pitch[1]  # of a pixel
    for row in range(count if windows is not None else 0):
        for step in range(steps):
            y0, x0, y1, x1, thick = np.asarray(windows)[row, step]
            top, left = row * pitch[0] + _GAP, step * pitch[1] + _GAP
            rectangle = Rectangle(
                (left + x0, top + y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=colour,
                linewidth=float(np.clip(thick * points, 0.4, 2.5)),
                clip_on=True,
            )
            axes.add_patch(rectangle)
            # What lies outside of its own frame would be drawn over another one.
            frame = Rectangle((left - 0.5, top - 0.5), width, height)
            frame.set_transform(axes.transData)
            rectangle.set_clip_path(frame)
    if title:
        axes.set_title(literal(title), fontsize=9)
    return figure


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Points in the plane, coloured by class; many classes are written out instead.

    Args:
        points: `[n, 2]`.
        labels: `[n]`.
        classes: Their names; of more than ten, each point shows its own.
        title: Above.
    """
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    few = len(classes) <= _TOLD_APART
    colours = mpl.colormaps["tab10" if few else "turbo"]
    for index, name in enumerate(classes):
        mine = points[labels == index]
        place = index if few else index / (len(classes) - 1)
        if few:
            dot: Any = {"color": colours(place), "markersize": 3}
            axes.plot(*mine.T, "o", label=named(name), **dot)
            continue
        axes.plot(*mine.T, ",", color=colours(place))
        for x, y in mine:
            axes.annotate(
                named(name[:1]),
                (x, y),
                color=colours(place),
                fontsize=7,
                ha="center",
                va="center",
            )
    if few:
        axes.legend(
            fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(literal(title), fontsize=10)
    return figure


def _mosaic(images: np.ndarray, columns: int) -> tuple[np.ndarray, tuple[int, int]]:
    """One image of many, and the pixels from each to the next, down and across."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    pitch = height + _GAP, width + _GAP
    shape = (rows * pitch[0] + _GAP, columns * pitch[1] + _GAP, channels)
    mosaic = np.full(shape, _PAPER)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * pitch[0] + _GAP, column * pitch[1] + _GAP
        mosaic[top : top + height, left : left + width] = image
    return mosaic, pitch


def _show(axes: Any, mosaic: np.ndarray) -> None:
    shown = mosaic[..., 0] if mosaic.shape[-1] == 1 else mosaic
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def _unit(images: np.ndarray) -> np.ndarray:
    scaled = images / 255 if images.dtype == np.uint8 else images
    return np.clip(np.asarray(scaled, np.float64), 0, 1)
