"""Figures of a generator's samples, at the end and through training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.figure import Figure
from PIL import Image

from jaxnets.plots.parts import (
    COLOURS,
    GAP,
    frameless,
    literal,
    mosaic,
    named,
    panels,
    show,
    single,
    titled,
)


def tiles(
    images: Shaped[np.ndarray, "n h w c"], columns: int, *, scale: int = 1
) -> UInt8[np.ndarray, "hs ws c"]:
    """Returns images in rows as one array of bytes, a grey line between them.

    Args:
        images: Bytes, or in [0, 1].
        columns: Images in a row.
        scale: Pixels along each edge that one of theirs becomes.
    """
    if images.dtype != np.uint8:
        images = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    whole = mosaic(images, columns, border=False)
    return whole.repeat(scale, axis=0).repeat(scale, axis=1)


def samples(images: Shaped[np.ndarray, "n h w c"], *, title: str = "") -> Figure:
    """Samples in a square, as they are: none chosen.

    Args:
        images: Bytes, or in [0, 1].
        title: Above all.
    """
    return _shown(tiles(images, max(round(len(images) ** 0.5), 1)), 4.6, title)


def strip(
    frames: Mapping[int, Shaped[np.ndarray, "n h w c"]],
    *,
    title: str = "",
    columns: int = 12,
) -> Figure:
    """The same noise through training: a row a moment, a column a noise.

    Args:
        frames: Steps to images.
        title: Above all.
        columns: How many of the images of each step, the first ones.
    """
    rows = [images[:columns] for images in frames.values()]
    whole = tiles(np.concatenate(rows), len(rows[0]))
    figure = _shown(whole, 6.4, title)
    axes = figure.axes[0]
    axes.set_axis_on()
    places = (np.arange(len(rows)) + 0.5) * (whole.shape[0] + GAP) / len(rows)
    axes.set_yticks(places, [f"{step:,}" for step in frames], fontsize=8)
    axes.set_xticks([])
    axes.set_ylabel("step", fontsize=8)
    frameless(axes)
    return figure


def gif(
    frames: Sequence[UInt8[np.ndarray, "h w c"]], file: Any, *, milliseconds: int = 200
) -> None:
    """Writes an animation that goes round for ever and rests on its last frame.

    Args:
        frames: Bytes; one channel is grey.
        file: A file name, or a binary file open for writing.
        milliseconds: Of each frame but the last, which stays ten times as long.
    """
    first, *others = [
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
        for frame in frames
    ]
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[milliseconds] * len(others) + [10 * milliseconds],
        loop=0,
    )


def shares(
    values: Float[np.ndarray, " classes"], classes: Sequence[str], *, title: str = ""
) -> Figure:
    """How many of the samples a judge takes for each class.

    Args:
        values: Shares that add up to 1.
        classes: Their names.
        title: Above.
    """
    figure, axes = single(max(4.0, 0.16 * len(classes) + 1), 3.0)
    axes.bar(range(len(classes)), 100 * values, color=COLOURS[0])
    axes.axhline(100 / len(classes), color="#555555", linewidth=1, linestyle=":")
    names = [named(name) for name in classes]
    wide = max(map(len, names), default=0) > 2
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=40 if wide else 0)
    if wide:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_ylabel("share of the samples, %")
    axes.spines[["top", "right"]].set_visible(False)
    titled(axes, title)
    return figure


def clouds(
    groups: Mapping[str, Float[np.ndarray, "n 2"]],
    real: Float[np.ndarray, "m 2"],
    *,
    title: str = "",
    columns: int = 3,
) -> Figure:
    """Samples in the plane, a panel a group, over the data in grey.

    Args:
        groups: Name to samples.
        real: The data; its extent decides what is shown.
        title: Above all.
        columns: Panels in a row.
    """
    columns = max(min(columns, len(groups)), 1)
    figure, places = panels(len(groups), columns, (2.1, 2.2), extra=0.3)
    reach = 1.3 * float(np.abs(real).max())
    for index, (axes, name) in enumerate(zip(places, groups, strict=True)):
        colour = COLOURS[index // columns % len(COLOURS)]
        axes.plot(*real.T, ".", color="#bbbbbb", markersize=2)
        axes.plot(*groups[name].T, ".", color=colour, markersize=1.5)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        axes.set_aspect("equal")
        axes.set_title(literal(name), fontsize=8)
    titled(figure, title)
    return figure


def _shown(image: UInt8[np.ndarray, "h w c"], width: float, title: str) -> Figure:
    height = width * image.shape[0] / image.shape[1] + (0.35 if title else 0)
    figure, axes = single(width, height)
    show(axes, image)
    titled(axes, title)
    return figure
