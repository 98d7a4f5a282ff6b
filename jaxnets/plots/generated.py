"""Figures of generative models: sheets of images, drawing steps, codes in the plane."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxnets.plots.parts import (
    GAP,
    frameless,
    mosaic,
    named,
    show,
    single,
    titled,
    unit,
)

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
    rows = -(-len(images) // columns)
    figure, axes = single(0.45 * columns + 0.6, 0.45 * rows + 0.5)
    show(axes, mosaic(unit(images), columns))
    if labels:
        places = (images.shape[1] + GAP) * (np.arange(rows) + 0.5)
        axes.set_axis_on()
        axes.set_yticks(places, [named(n) for n in labels], fontsize=7)
        axes.set_xticks([])
        frameless(axes)
    titled(axes, title, size=9)
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
    inches = 0.62
    figure, axes = single(inches * steps + 0.3, inches * count + 0.5)
    show(axes, mosaic(unit(flat), steps))
    points = 72 * inches / (width + GAP)  # of a pixel
    for row in range(count if windows is not None else 0):
        for step in range(steps):
            y0, x0, y1, x1, thick = np.asarray(windows)[row, step]
            top, left = row * (height + GAP) + GAP, step * (width + GAP) + GAP
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
    titled(axes, title, size=9)
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
    figure, axes = single(6.4, 5.2)
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
    titled(axes, title)
    return figure
