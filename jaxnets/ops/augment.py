"""Random changes of a batch of images that keep what they show.

Each constructor returns a transform `(key, batch) -> batch`: pure in the key, static in
its shapes, every example drawn by itself, made to be traced into the training step.
Composition is calling: `chain(padded_crop(4), horizontal_flip(), normalize(mean,
std))`.

A batch is any `NamedTuple` with a field `image`, `[b, h, w, c]` floats. Its `boxes`,
`masks` and `present`, where it has them, follow every geometric change; the module
`jaxnets.ops.geometry` says what they are.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxnets.ops import geometry
from jaxnets.ops.geometry import Fill, Number
from jaxnets.types import Key

Transform = Callable[[Key, Any], Any]  # (key, batch) -> batch, traced

# Rec. 601 luma, and the colour-difference axes of the NTSC system (YIQ).
_LUMA = (0.299, 0.587, 0.114)
_YIQ = (
    _LUMA,
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)


class SoftImageBatch(NamedTuple):
    """`b` images whose target is a distribution; what `mixup` makes of an ImageBatch.

    A loss that finds a field `target` takes the cross-entropy against it; `label` stays
    the class that weighs most, so that accuracy goes on meaning something.
    """

    image: Float[Array, "b h w c"]
    label: Int[Array, " b"]  # of the larger share, in [0, classes)
    target: Float[Array, "b classes"]  # rows sum to 1
    mask: Bool[Array, " b"]  # False marks padding


def chain(*transforms: Transform) -> Transform:
    """One after the other, each with a key of its own.

    The key of a transform depends on its position only: adding one at the end does not
    change what those before it draw.
    """

    def apply(key: Key, batch: Any) -> Any:
        for position, transform in enumerate(transforms):
            batch = transform(jax.random.fold_in(key, position), batch)
        return batch

    return apply


def normalize(mean: Sequence[Number], std: Sequence[Number]) -> Transform:
    """Subtracts `mean` and divides by `std`, channel by channel; draws nothing.

    Args:
        mean: Of every channel, in the unit of the image.
        std: Likewise; positive.

    Raises:
        ValueError: If the two differ in length or a deviation is not positive.
    """
    if len(mean) != len(std) or not all(s > 0 for s in std):
        raise ValueError(f"one positive std a channel is needed, not {mean} and {std}")

    def apply(key: Key, batch: Any) -> Any:
        del key
        if batch.image.shape[-1] != len(mean):
            raise ValueError(
                f"the images have {batch.image.shape[-1]} channels, mean and std "
                f"{len(mean)}"
            )
        centre, scale = (
            jnp.asarray(v, batch.image.dtype).reshape(1, 1, 1, -1) for v in (mean, std)
        )
        return batch._replace(image=(batch.image - centre) / scale)

    return apply


def horizontal_flip(probability: Number = 0.5) -> Transform:
    """Mirrors left and right with this probability.

    Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional
    neural networks", NeurIPS 2012, section 4.1.
    """
    return _flip(probability, vertical=False)


def vertical_flip(probability: Number = 0.5) -> Transform:
    """Mirrors top and bottom with this probability: for images without an up."""
    return _flip(probability, vertical=True)


def _flip(probability: Number, *, vertical: bool) -> Transform:
    _check_share(probability, "probability")

    def apply(key: Key, batch: Any) -> Any:
        which = jax.random.bernoulli(key, probability, (len(batch.image),))
        return geometry.flipped(batch, which, vertical=vertical)

    return apply


def padded_crop(
    pad: int, *, size: tuple[int, int] | None = None, fill: Fill = 0.0
) -> Transform:
    """Pads by `pad` pixels on all sides, then cuts a window at a random place.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015,
    https://arxiv.org/abs/1512.03385, section 4.2: 4 pixels, 32x32 windows. With pad 0
    and a `size`, a plain random crop (Krizhevsky et al. 2012, section 4.1).

    Args:
        pad: Pixels, 0 or more.
        size: Height and width of the window; the picture's own by default.
        fill: Value of the padding, of all channels or of each: 0 is black before
            `normalize` and the mean after it.
    """
    if pad < 0:
        raise ValueError(f"cannot pad by {pad} pixels")

    def apply(key: Key, batch: Any) -> Any:
        b, h, w, _ = batch.image.shape
        height, width = size or (h, w)
        room = jnp.array([[h + 2 * pad - height + 1, w + 2 * pad - width + 1]])
        corner = jax.random.randint(key, (b, 2), 0, room)
        return geometry.cropped(batch, corner, (height, width), pad=pad, fill=fill)

    return apply


def central_crop(size: tuple[int, int] | float) -> Transform:
    """Cuts the window in the middle of every image; draws nothing.

    Krizhevsky et al. 2012, section 4.1, without the four corners.

    Args:
        size: Height and width of the window, or its share of those of the image.
    """

    def apply(key: Key, batch: Any) -> Any:
        del key
        b, h, w, _ = batch.image.shape
        height, width = _extent(size, h, w)
        corner = jnp.tile(jnp.array([[(h - height) // 2, (w - width) // 2]]), (b, 1))
        return geometry.cropped(batch, corner, (height, width))

    return apply


def random_resized_crop(
    size: tuple[int, int] | float = 1.0,
    *,
    area: tuple[Number, Number] = (0.08, 1.0),
    ratio: tuple[Number, Number] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Transform:
    """Cuts a window of random area and shape at a random place and resizes it.

    Szegedy et al., "Going deeper with convolutions", 2014,
    https://arxiv.org/abs/1409.4842, section 6: area even between 8 % and 100 %, aspect
    ratio between 3/4 and 4/3. What the paper leaves open: the ratio is even in its
    logarithm; a window that does not fit is drawn again, `attempts` times, then it is
    the largest central one of an allowed ratio.

    Args:
        size: Height and width of the result, or its share of those of the picture.
        area: Smallest and largest share of the picture.
        ratio: Smallest and largest width / height.
        attempts: How many windows are drawn at once for each example.
    """
    if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1] or attempts < 1:
        raise ValueError(f"area {area} or ratio {ratio} is no range that can be cut")

    def apply(key: Key, batch: Any) -> Any:
        b, h, w, _ = batch.image.shape
        windows = _random_windows(key, (b, h, w), area, ratio, attempts)
        return geometry.resized(batch, windows, _extent(size, h, w))

    return apply


def _extent(size: tuple[int, int] | float, h: int, w: int) -> tuple[int, int]:
    """Height and width that a size stands for, of an image of `h` by `w` pixels."""
    if isinstance(size, tuple):
        return size
    return max(1, round(h * size)), max(1, round(w * size))


def _random_windows(
    key: Key,
    shape: tuple[int, int, int],
    area: tuple[Number, Number],
    ratio: tuple[Number, Number],
    attempts: int,
) -> Int[Array, "b 4"]:
    """[y0, x0, y1, x1] of whole pixels; see `random_resized_crop`."""
    b, h, w = shape
    key_area, key_ratio, key_place = jax.random.split(key, 3)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    drawn = (b, attempts)
    shares = jax.random.uniform(key_area, drawn, minval=area[0], maxval=area[1])
    logs = jax.random.uniform(key_ratio, drawn, minval=low, maxval=high)
    ratios = jnp.exp(logs)
    heights = jnp.round(jnp.sqrt(shares * (h * w) / ratios)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(shares * (h * w) * ratios)).astype(jnp.int32)
    fits = (heights <= h) & (widths <= w) & (heights > 0) & (widths > 0)
    first, some = jnp.argmax(fits, 1)[:, None], fits.any(1)

    def chosen(sizes: Array, otherwise: int) -> Array:
        found = jnp.take_along_axis(sizes, first, 1, mode="clip")[:, 0]
        return jnp.where(some, found, otherwise)

    spare = min(h, round(w / ratio[0])), min(w, round(h * ratio[1]))
    sizes = jnp.stack([chosen(heights, spare[0]), chosen(widths, spare[1])], -1)
    room = jnp.array([[h, w]]) - sizes
    corner = jax.random.randint(key_place, (b, 2), 0, room + 1)
    corner = jnp.where(some[:, None], corner, room // 2)
    return jnp.concatenate([corner, corner + sizes], -1)


def rotation(degrees: Number, *, fill: Fill = 0.0) -> Transform:
    """Turns about the centre by an angle even in [-degrees, degrees].

    See `affine`, which this is a case of.
    """
    return affine(degrees=degrees, fill=fill)


def affine(
    *,
    degrees: Number = 0.0,
    scale: tuple[Number, Number] = (1.0, 1.0),
    shift: Number | tuple[Number, Number] = 0.0,
    shear: Number = 0.0,
    fill: Fill = 0.0,
) -> Transform:
    """A random rotation, size, shear and shift about the centre, bilinear.

    Simard, Steinkraus & Platt, "Best practices for convolutional neural networks
    applied to visual document analysis", ICDAR 2003, section 2. Mild ones suit small
    glyphs: `affine(degrees=10, scale=(0.9, 1.1), shift=1)` for 8x8 digits.

    Args:
        degrees: Largest angle either way.
        scale: Smallest and largest magnification, even in the logarithm.
        shift: Largest shift either way in pixels, of both axes or of (y, x).
        shear: Largest slant either way, in degrees below 90.
        fill: What comes in from outside, of all channels or of each.
    """
    if not 0 < scale[0] <= scale[1] or not abs(shear) < 90:
        raise ValueError(f"scale {scale} or shear {shear} does not allow an affine map")
    reach = (shift, shift) if isinstance(shift, float | int) else shift
    limits = (math.radians(degrees), math.radians(shear), *reach)

    def apply(key: Key, batch: Any) -> Any:
        b, h, w, _ = batch.image.shape
        draws = jax.random.uniform(key, (b, 5), minval=-1.0)
        angle, slant, down, right = (
            draws[:, i] * limit for i, limit in enumerate(limits)
        )
        low, high = math.log(scale[0]), math.log(scale[1])
        zoom = jnp.exp(low + (high - low) * (draws[:, 4] + 1) / 2)
        cos, sin, tan = jnp.cos(angle), jnp.sin(angle), jnp.tan(slant)
        # Of points (y, x) with y downwards: slant along x, then turn, then magnify.
        turn = [[cos - sin * tan, -sin], [sin + cos * tan, cos]]
        linear = jnp.stack([jnp.stack(row, -1) for row in turn], 1)
        linear = linear * zoom[:, None, None]
        centre = jnp.array([h / 2, w / 2]).reshape(1, 1, 2)
        moved = centre[:, 0] - (linear * centre).sum(-1) + jnp.stack([down, right], -1)
        matrix = jnp.concatenate([linear, moved[..., None]], -1)
        return geometry.warped(batch, matrix, fill=fill)

    return apply


def colour_jitter(
    *,
    brightness: Number = 0.0,
    contrast: Number = 0.0,
    saturation: Number = 0.0,
    hue: Number = 0.0,
) -> Transform:
    """Random brightness, contrast, saturation and hue of images in [0, 1].

    Howard, "Some improvements on deep convolutional neural network based image
    classification", 2013, https://arxiv.org/abs/1312.5402, section 2. Departure: always
    in this order. Factors are even in [1 - value, 1 + value]; 0 leaves the image alone,
    to the bit. Use it before `normalize`: the result is cut to [0, 1].

    Args:
        brightness: All channels times a factor; at most 1.
        contrast: Distance to the picture's mean grey times a factor; at most 1.
        saturation: Distance to each pixel's grey times a factor; at most 1.
        hue: Turn of the chromatic plane of YIQ, which keeps luma; in turns, at most
            0.5.

    Raises:
        ValueError: If a strength is out of range, or colours are to be changed of
            images that do not have three channels.
    """
    for name, value in (("brightness", brightness), ("contrast", contrast)):
        _check_share(value, name)
    _check_share(saturation, "saturation")
    _check_share(2 * hue, "twice the hue")

    def apply(key: Key, batch: Any) -> Any:
        image = batch.image
        if image.shape[-1] != 3 and (saturation or hue):
            raise ValueError(
                f"saturation and hue need 3 channels, not {image.shape[-1]}"
            )
        draws = jax.random.uniform(key, (len(image), 4), minval=-1.0)
        factors = [draws[:, i].reshape(-1, 1, 1, 1) for i in range(4)]
        if brightness:
            image = jnp.clip(image * (1 + brightness * factors[0]), 0, 1)
        if contrast:
            grey = luma(image).mean((1, 2, 3), keepdims=True)
            image = _blend(image, grey, 1 + contrast * factors[1])
        if saturation:
            image = _blend(image, luma(image), 1 + saturation * factors[2])
        if hue:
            turns = 2 * math.pi * hue * draws[:, 3]
            image = jnp.clip(_hue_turned(image, turns), 0, 1)
        return batch._replace(image=image)

    return apply


def luma(image: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """The grey of every pixel: Rec. 601 of three channels, else the channels' mean."""
    if image.shape[-1] != 3:
        return image.mean(-1, keepdims=True)
    weights = jnp.array(_LUMA, image.dtype).reshape(1, 1, 1, 3)
    return (image * weights).sum(-1, keepdims=True)


def _blend(image: Array, towards: Array, factor: Array) -> Array:
    return jnp.clip(towards + (image - towards) * factor, 0, 1)


def _hue_turned(image: Array, turns: Array) -> Array:
    to_yiq, back = jnp.array(_YIQ, image.dtype), np.linalg.inv(np.array(_YIQ))
    cos, sin = jnp.cos(turns), jnp.sin(turns)
    one, zero = jnp.ones_like(cos), jnp.zeros_like(cos)
    rows = [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    turn = jnp.stack([jnp.stack(row, -1) for row in rows], 1)
    exact = jax.lax.Precision.HIGHEST
    matrix = jnp.einsum(
        "ij,bjk,kl->bil", back.astype(image.dtype), turn, to_yiq, precision=exact
    )
    return jnp.einsum("bil,bhwl->bhwi", matrix, image, precision=exact)


def cutout(size: int, *, fill: Fill = 0.0) -> Transform:
    """Blanks a square at a random place, which may stick out of the picture.

    DeVries & Taylor, "Improved regularization of convolutional neural networks with
    cutout", 2017, https://arxiv.org/abs/1708.04552, section 3.2; 16 pixels for
    CIFAR-10. The centre is any pixel with equal probability. Boxes and masks stay.

    Args:
        size: Side of the square in pixels.
        fill: Value of the square: 0 is the mean after `normalize`.
    """
    if size < 0:
        raise ValueError(f"cannot cut out a square of {size} pixels")

    def apply(key: Key, batch: Any) -> Any:
        b, h, w, c = batch.image.shape
        centre = jax.random.randint(key, (b, 2), 0, jnp.array([[h, w]]))
        start = centre - size // 2

        def inside(axis: int, length: int) -> Array:
            at = jnp.arange(length)[None, :] - start[:, axis, None]
            return (at >= 0) & (at < size)

        hole = inside(0, h)[:, :, None, None] & inside(1, w)[:, None, :, None]
        value = jnp.asarray(fill, batch.image.dtype).reshape(1, 1, 1, -1)
        value = jnp.broadcast_to(value, (1, 1, 1, c))
        return batch._replace(image=jnp.where(hole, value, batch.image))

    return apply


def mixup(classes: int, alpha: Number = 0.2) -> Transform:
    """Blends every image and its target with those of another one of the batch.

    Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: beyond empirical risk minimization",
    2017, https://arxiv.org/abs/1710.09412, equation of section 2: shares from
    Beta(alpha, alpha), partners from a permutation. Departure: a share an example,
    where the paper's code draws one a batch. Padding rows are neither changed nor
    mixed in.

    The result is a `SoftImageBatch`, whose `target` a loss uses: last in a chain.

    Args:
        classes: Number of classes: the width of a target.
        alpha: Strength; 0.1 to 0.4 for ImageNet, 1 for CIFAR-10.
    """
    if alpha <= 0:
        raise ValueError(
            f"alpha must be positive, not {alpha}: leave mixup out instead"
        )

    def apply(key: Key, batch: Any) -> SoftImageBatch:
        b = len(batch.image)
        key_share, key_partner = jax.random.split(key)
        partner = jax.random.permutation(key_partner, b)
        share = jax.random.beta(key_share, alpha, alpha, (b,))

        def of_partner(rows: Array) -> Array:
            return rows.at[partner].get(mode="promise_in_bounds")

        alone = ~(batch.mask & of_partner(batch.mask))
        share = jnp.where(alone, 1.0, share)
        other = jnp.where(alone.reshape(-1, 1, 1, 1), 0, of_partner(batch.image))
        weight = share.reshape(-1, 1, 1, 1).astype(batch.image.dtype)
        mine = jax.nn.one_hot(batch.label, classes)
        target = share[:, None] * mine + (1 - share)[:, None] * of_partner(mine)
        return SoftImageBatch(
            image=weight * batch.image + (1 - weight) * other,
            label=jnp.where(share >= 0.5, batch.label, of_partner(batch.label)),
            target=target,
            mask=batch.mask,
        )

    return apply


def _check_share(value: Number, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], not {value}")


# Of the side of an image, what the network sees, for choices that cut from larger ones:
# 224 of 256 pixels, as Krizhevsky et al. 2012, section 2 and 4.1. In evaluation that is
# the middle. The usual recipe cuts from the original file: these crops are of the image
# as it was loaded, so small ones have less detail, and none shows what loading cut off.
SHARES: dict[str, float] = {"imagenet": 7 / 8}

# For command lines: name to a function of the images' side in pixels.
CHOICES: dict[str, Callable[[int], tuple[Transform, ...]]] = {
    "none": lambda side: (),
    "affine": lambda side: (affine(degrees=10, scale=(0.9, 1.1), shift=0.09 * side),),
    "mirrors": lambda side: (horizontal_flip(),),
    "crops": lambda side: (padded_crop(side // 8),),
    "flips": lambda side: (padded_crop(side // 8), horizontal_flip()),
    "resized": lambda side: (random_resized_crop(), horizontal_flip()),
    "imagenet": lambda side: (
        random_resized_crop(SHARES["imagenet"]),
        horizontal_flip(),
    ),
}
