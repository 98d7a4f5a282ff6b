"""Pictures of a data set: their size, where pixels go, their mean and deviation."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxnets.data.dataset import DataError, Dataset

Fit = Literal["crop", "stretch", "pad"]
LARGEST_SIDE = 2**15
LARGEST_IMAGE = 2**26  # pixels: 67 million, below where Pillow begins to warn
# The deviation given to a channel that never varies. A real one is at most 0.5.
CONSTANT = 1.0


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """How `decode` brings an image file to a size, channels and a background.

    Attributes:
        size: Height and width; None keeps the image's own.
        channels: 3 for colour, 1 for grey (Rec. 601 luma).
        fit: How another size is reached: "crop" cuts the longer side's ends off,
            "stretch" changes the aspect ratio, "pad" adds black bars. All interpolate
            with the triangle filter, antialiased.
        oriented: Turn the image as its EXIF tag says. Annotations in pixels usually
            count stored rows, so detection leaves it alone.
        background: Grey level behind what is transparent, 0 to 255.
        limit: The most pixels that are decoded.
    """

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] = 3
    fit: Fit = "crop"
    oriented: bool = True
    background: int = 255
    limit: int = LARGEST_IMAGE


class Placement(NamedTuple):
    """Where an image's points go: y to `y * scale_y + shift_y`, x in the same way."""

    scale_y: float
    scale_x: float
    shift_y: float
    shift_x: float


def height_and_width(size: Sequence[int]) -> tuple[int, int] | None:
    """Height and width that the numbers after `--size` stand for; None without any.

    Args:
        size: Nothing, the side of a square, or height and width, in pixels.

    Raises:
        DataError: If there are more numbers, or one is not 1 to `LARGEST_SIDE`.
    """
    if len(size) > 2 or not all(1 <= side <= LARGEST_SIDE for side in size):
        raise DataError(
            f"--size takes one side or height and width, 1 to {LARGEST_SIDE} pixels, "
            f"not {' '.join(map(str, size))}"
        )
    return (size[0], size[-1]) if size else None


def resized(pixels: UInt8[np.ndarray, "n h w c"], spec: ImageSpec) -> np.ndarray:
    """Images in memory at the spec's size, `[n, height, width, c]`."""
    if spec.size is None:
        return pixels
    made = np.zeros((len(pixels), *spec.size, pixels.shape[3]), np.uint8)
    for row, image in zip(made, pixels, strict=True):
        plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        row[:] = np.asarray(placed(plain, spec)[0]).reshape(row.shape)
    return made


def placed(
    image: Image.Image, spec: ImageSpec, original: tuple[int, int] | None = None
) -> tuple[Image.Image, Placement]:
    """The image at the size asked for, and where its pixels went.

    Args:
        image: Of any size.
        spec: What it becomes.
        original: Height and width of what the image is a smaller copy of, which the
            placement is of; its own by default.
    """
    h, w = original or (image.height, image.width)
    placement = placement_of((h, w), spec)
    if spec.size is None or spec.size == (image.height, image.width):
        return image, placement
    height, width = spec.size
    bilinear = Image.Resampling.BILINEAR
    if spec.fit == "stretch":
        return image.resize((width, height), bilinear), placement
    if spec.fit == "crop":
        left, top, right, bottom = window((h, w), (height, width))
        across, down = image.width / w, image.height / h
        right, bottom = (
            min(right * across, image.width),
            min(bottom * down, image.height),
        )
        box = (left * across, top * down, right, bottom)
        return image.resize((width, height), bilinear, box=box), placement
    inner = round(w * placement.scale_x), round(h * placement.scale_y)
    canvas = Image.new(image.mode, (width, height))
    place = int(placement.shift_x), int(placement.shift_y)
    canvas.paste(image.resize(inner, bilinear), place)
    return canvas, placement


def placement_of(original: tuple[int, int], spec: ImageSpec) -> Placement:
    """Where the pixels of an image go.

    Args:
        original: Its height and width.
        spec: What it becomes.
    """
    h, w = original
    if spec.size is None or spec.size == original:
        return Placement(1, 1, 0, 0)
    height, width = spec.size
    if spec.fit == "stretch":
        return Placement(height / h, width / w, 0, 0)
    if spec.fit == "crop":
        box = window((h, w), (height, width))
        scale = max(height / h, width / w)
        return Placement(scale, scale, -box[1] * scale, -box[0] * scale)
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    return Placement(inner_h / h, inner_w / w, top, left)


def window(
    have: tuple[int, int], wanted: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The largest window in the middle of an image that has another image's shape.

    It is never outside of the image, not even by a rounding error: one side is the
    image's own, and the other is a single division, which rounds to at most the whole.

    Args:
        have: Height and width of the image.
        wanted: Height and width whose ratio the window has.

    Returns:
        Left, top, right and bottom, as Pillow's `resize` takes them.
    """
    (h, w), (height, width) = have, wanted
    if height * w >= width * h:  # all rows
        side = width * h / height
        return (w - side) / 2, 0.0, (w + side) / 2, float(h)
    side = height * w / width
    return 0.0, (h - side) / 2, float(w), (h + side) / 2


def channel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of bytes, on the scale [0, 1].

    Args:
        images: `[n, h, w, c]`, uint8.

    Returns:
        As `moments`: `CONSTANT` is the deviation of a channel that never varies.
    """
    return moments(histogram(images))


def constant_channels(dataset: Dataset) -> str:
    """One line that names the image channels that never vary; empty if all vary."""
    which = [str(i) for i, std in enumerate(dataset.std) if std == CONSTANT]
    if not which:
        return ""
    return (
        f"{dataset.name}: of {len(dataset.std)} image channels, {', '.join(which)} "
        "(counted from 0) never varies in the training split; normalised, it is 0"
    )


def histogram(images: np.ndarray) -> np.ndarray:
    """How often every channel has each of the 256 values, `[c, 256]`.

    Args:
        images: `[n, h, w, c]`, uint8.
    """
    channels = range(images.shape[-1])
    count = lambda c: np.bincount(images[..., c].reshape(-1), minlength=256)
    return np.stack([count(c) for c in channels])


def moments(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel from its `histogram`; exact.

    Args:
        counts: Of each value of each channel, `[c, 256]`.

    Returns:
        On the scale [0, 1]. A channel that never varies has the deviation `CONSTANT`,
        so that dividing by it leaves zeros.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for row in counts:
        share = row / row.sum()
        mean = float(share @ values)
        means.append(mean)
        deviation = float(np.sqrt(share @ (values - mean) ** 2))
        stds.append(deviation if np.count_nonzero(row) > 1 else CONSTANT)
    return tuple(means), tuple(stds)


def moments_of_sums(
    sums: np.ndarray, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, as `moments` gives them; exact.

    Args:
        sums: Of the values of each channel and of their squares, `[c, 2]`, integers.
        pixels: How many values there are of each.
    """
    means, stds = [], []
    for total, squares in sums.tolist():
        spread = pixels * squares - total * total  # whole numbers: 0 where none varies
        means.append(total / (255 * pixels))
        stds.append(math.sqrt(spread) / (255 * pixels) if spread else CONSTANT)
    return tuple(means), tuple(stds)
