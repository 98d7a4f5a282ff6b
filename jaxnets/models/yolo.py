"""Detection in one look: every cell of a grid says what is centred in it, and where.

Redmon, Divvala, Girshick & Farhadi, "You only look once: unified, real-time object
detection", 2016, https://arxiv.org/abs/1506.02640: section 2 and figure 3. A network
maps an image to S x S cells of 5 B + K numbers: B boxes (x and y in the cell, square
roots of width and height as shares of the image, confidence), then K class scores.
`jaxnets.tasks.detection.yolo` says what they mean.

Initial weights: the paper says nothing; convolutions are Kaiming's normal (He et al.,
2015), which fits the leaky ReLU of slope 0.1 but for a factor of 1.005, dense layers
normal with deviation 0.01, so that a box begins near the middle of the range.

Checkable: the paper's network for 20 classes has 271,703,550 parameters, and maps
448 x 448 pixels to 7 x 7 x 30 numbers.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dense,
    Dropout,
    Head,
    Rate,
    Unit,
    configured,
    flatten,
)
from jaxnets.models.parts.initial import Initializer, kaiming, scaled_normal
from jaxnets.models.parts.norms import GroupNorm, Norm
from jaxnets.ops.pool import max_pool

leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)  # equation 2
_DENSE = scaled_normal(0.01)

# Figure 3: side and channels of each convolution, and where maps are halved: by a pool,
# or by the convolution itself ("/2").
_FOUR = (("1", 256), ("3", 512)) * 4
_TWO = (("1", 512), ("3", 1024)) * 2
PAPER: tuple[tuple[str, int], ...] = (
    *(("7/2", 64), ("pool", 0), ("3", 192), ("pool", 0)),
    *(("1", 128), ("3", 256), ("1", 256), ("3", 512), ("pool", 0)),
    *(*_FOUR, ("1", 512), ("3", 1024), ("pool", 0)),
    *(*_TWO, ("3", 1024), ("3/2", 1024), ("3", 1024), ("3", 1024)),
)


class YOLO(nn.Module):
    """Convolutions, and what is said of each cell of the last map.

    Attributes:
        classes: K.
        boxes: B, of each cell.
        layers: Of the convolutions, as in `PAPER`.
        hidden: Units of the dense layer that sees all cells; None: each cell is judged
            by its own features, and any image size will do.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer but the last.
        kernel_init: Draws the convolutions' kernels.
        dtype: Of the computation; the output is float32 or wider.
    """

    classes: int
    boxes: int = 2
    layers: Sequence[tuple[str, int]] = PAPER
    hidden: int | None = 4096
    # By a factory: see `ResidualNetwork`.
    norm: Norm | None = dataclasses.field(default_factory=lambda: None)
    activation: Activation = leaky
    kernel_init: Initializer = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b s s _"]:
        """Returns 5 B + K numbers for each cell.

        Args:
            image: Of a side that the halvings divide.
            train: Whether features are dropped.
            dropout: Probability that a unit of the dense layer is dropped, in [0, 1);
                the paper's is 0.5.
        """
        x, index = image, 0
        for layer, width in self.layers:
            if layer == "pool":
                x = max_pool(x, 2, stride=2)
                continue
            side, _, stride = layer.partition("/")
            index += 1
            unit = configured(Unit, self)
            conv = unit(width, int(side), stride=int(stride or 1), name=f"conv{index}")
            x = conv(x, train=train)
        cells, numbers = x.shape[1:3], 5 * self.boxes + self.classes
        options = {"kernel_init": _DENSE, "dtype": self.dtype}
        if self.hidden is None:
            return Head(numbers, **options, name="output")(x)
        x = self.activation(Dense(self.hidden, **options, name="dense")(flatten(x)))
        x = Dropout(name="drop")(x, dropout, train=train)
        x = Head(cells[0] * cells[1] * numbers, **options, name="output")(x)
        return x.reshape(-1, *cells, numbers)


def yolo(classes: int = 20, **options: Any) -> YOLO:
    """The paper's network: 271,703,550 parameters for 20 classes.

    `options`, here and below, are attributes of `YOLO`.
    """
    return YOLO(classes, **options)


def small_yolo(classes: int, **options: Any) -> YOLO:
    """A network for images near 64 pixels, which it shrinks by 8: 8 x 8 cells.

    Ten convolutions with group norm, and no dense layer that would have to learn every
    class at every place: 758,898 parameters for 8 classes.
    """
    layers = (
        *(("3", 32), ("3", 32), ("pool", 0), ("3", 64), ("3", 64), ("pool", 0)),
        *(("3", 128), ("3", 128), ("pool", 0), ("3", 192), ("1", 128), ("3", 192)),
    )
    return YOLO(
        classes, **{"layers": layers, "hidden": None, "norm": GroupNorm, **options}
    )
