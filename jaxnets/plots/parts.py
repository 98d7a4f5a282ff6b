"""What all figures share: colours, text, axes, panels, mosaics, and the PNG file.

Figures are built from matplotlib's objects and never with `pyplot`, so there is no
global state and no display: every function returns a `Figure` to save or to show.
"""

import functools
import re
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Shaped
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxnets.errors import UserError

# Okabe & Ito's colours, which most colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GAP = 1  # pixels between two images of a mosaic


class GlyphWarning(UserError, UserWarning):
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


def plain_text() -> AbstractContextManager[None]:
    """Draws text without LaTeX inside `with`, whatever the user's matplotlibrc says.

    LaTeX may be missing, and takes names and captions for commands.
    """
    return mpl.rc_context({"axes.unicode_minus": False, "text.usetex": False})


def single(width: float | int, height: float | int) -> tuple[Figure, Axes]:
    """Returns a figure of that size in inches, and its only axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def panels(
    count: int,
    columns: int,
    size: tuple[float | int, float | int],
    *,
    narrowest: float | int = 0,
    extra: float | int = 0,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with panels in rows, and their axes row by row.

    Args:
        count: Number of panels; 0 gives an empty figure.
        columns: Panels in a row, at most.
        size: Width and height of a panel in inches.
        narrowest: Least width of the figure in inches.
        extra: Height in inches beside the panels, for example of a title.
    """
    columns = max(min(columns, count), 1)
    rows = max(-(-count // columns), 1)
    whole = max(size[0] * columns, narrowest), size[1] * rows + extra
    figure = Figure(figsize=whole, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def titled(shown: Figure | Axes, title: str, *, size: int = 10) -> None:
    """Writes a title above a figure or axes; an empty one takes no room."""
    if title:
        write = shown.suptitle if isinstance(shown, Figure) else shown.set_title
        write(literal(title), fontsize=size)


def quiet(axes: Axes, title: str = "") -> None:
    """Gives axes a pale grid and a frame of two lines, and writes their title."""
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    titled(axes, title)


def frameless(axes: Axes) -> None:
    """Removes frame and tick marks of axes; the labels of the ticks stay."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def unit(images: Shaped[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Returns images in [0, 1], from bytes or from numbers, which are clipped."""
    scaled = images / 255 if images.dtype == np.uint8 else images
    return np.clip(np.asarray(scaled, np.float64), 0, 1)


def show(axes: Axes, image: Shaped[np.ndarray, "h w c"]) -> None:
    """Draws an image, bytes or in [0, 1], without axes; one channel is grey."""
    shown = image[..., 0] if image.shape[-1] == 1 else image
    top = 255 if image.dtype == np.uint8 else 1
    axes.imshow(shown, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
    axes.set_axis_off()


def mosaic(
    images: Shaped[np.ndarray, "n h w c"], columns: int, *, border: bool = True
) -> Shaped[np.ndarray, "hm wm c"]:
    """Returns images in rows as one image, `GAP` grey pixels between them.

    Args:
        images: Bytes, or in [0, 1].
        columns: Images in a row; what is left of the last row is grey.
        border: Whether the grey surrounds the whole, too.
    """
    count, height, width, channels = images.shape
    down, across = height + GAP, width + GAP
    shape = (-(-count // columns) * down + GAP, columns * across + GAP, channels)
    grey = 128 if images.dtype == np.uint8 else 0.5
    whole = np.full(shape, grey, images.dtype)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * down + GAP, column * across + GAP
        whole[top : top + height, left : left + width] = image
    return whole if border else whole[GAP:-GAP, GAP:-GAP]


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
