"""Very deep convolutional networks: stacks of 3x3 convolutions.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image
recognition", 2014, https://arxiv.org/abs/1409.1556, table 1: columns A, B, D and E.

Initial weights, as torch's reference: convolutions normal with variance 2 / fan_out (He
et al., 2015), dense layers normal with deviation 0.01, biases 0. The paper trains the
11 layers from normal weights of variance 0.01 and begins the deeper ones with those; it
adds that weights of Glorot & Bengio, 2010, make that unnecessary (section 3.1).

Departures: the variants with batch norm are torch's, later than the paper; as there,
their convolutions keep a bias whose gradient is zero (the norm takes it out again).
Images of another size than 224 are averaged to the 7x7 grid that `fc6` expects.
"""

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
from jaxnets.models.parts.initial import (
    Initializer,
    kaiming_fan_out,
    scaled_normal,
)
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.pool import adaptive_avg_pool, max_pool


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions and a pool, three dense layers.

    Attributes:
        classes: How many logits to return.
        depths: Convolutions of each block; block 2's first is `conv2_1`.
        widths: Channels of each block.
        grid: Side of the grid that `fc6` sees: 7, as published, for images of 224
            pixels; 1 for 32, where 7 would repeat one pixel 49 times.
        hidden: Units of `fc6` and `fc7`.
        kernel_init: Draws the convolutions' kernels.
        dense_init: Draws the dense layers' kernels.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer but the last.
        dtype: Of the computation.
    """

    classes: int
    depths: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    grid: int = 7
    hidden: int = 4096
    kernel_init: Initializer = kaiming_fan_out
    dense_init: Initializer = scaled_normal(0.01)
    norm: Norm | None = None
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: 32x32 pixels or more.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that a unit of `fc6` or `fc7` is dropped, in [0, 1);
                the paper's is 0.5.

        Raises:
            ValueError: If the pools leave nothing of the image.
        """
        x = image
        plan = zip(self.depths, self.widths, strict=True)
        for block, (depth, width) in enumerate(plan, start=1):
            for layer in range(1, depth + 1):
                unit = configured(Unit, self)
                unit = unit(width, use_bias=True, name=f"conv{block}_{layer}")
                x = unit(x, train=train)
            x = max_pool(x, 2, stride=2)
        x = flatten(adaptive_avg_pool(x, self.grid))
        options = {"kernel_init": self.dense_init, "dtype": self.dtype}
        for name in ("fc6", "fc7"):
            x = self.activation(Dense(self.hidden, **options, name=name)(x))
            x = Dropout(name=f"drop{name[-1]}")(x, dropout, train=train)
        return Head(self.classes, **options, name="fc8")(x)


def vgg11(classes: int = 1000, **options: Any) -> VGG:
    """VGG-11: 132,863,336 parameters for 1000 classes.

    `options`, here and below, are attributes of `VGG`.
    """
    return VGG(classes, (1, 1, 2, 2, 2), **options)


def vgg13(classes: int = 1000, **options: Any) -> VGG:
    """VGG-13: 133,047,848 parameters for 1000 classes."""
    return VGG(classes, (2, 2, 2, 2, 2), **options)


def vgg16(classes: int = 1000, **options: Any) -> VGG:
    """VGG-16: 138,357,544 parameters for 1000 classes."""
    return VGG(classes, (2, 2, 3, 3, 3), **options)


def vgg19(classes: int = 1000, **options: Any) -> VGG:
    """VGG-19: 143,667,240 parameters for 1000 classes."""
    return VGG(classes, (2, 2, 4, 4, 4), **options)


def vgg11_bn(classes: int = 1000, **options: Any) -> VGG:
    """VGG-11 with batch norm: 132,868,840 parameters for 1000 classes."""
    return vgg11(classes, **{"norm": BatchNorm, **options})


def vgg13_bn(classes: int = 1000, **options: Any) -> VGG:
    """VGG-13 with batch norm: 133,053,736 parameters for 1000 classes."""
    return vgg13(classes, **{"norm": BatchNorm, **options})


def vgg16_bn(classes: int = 1000, **options: Any) -> VGG:
    """VGG-16 with batch norm: 138,365,992 parameters for 1000 classes."""
    return vgg16(classes, **{"norm": BatchNorm, **options})


def vgg19_bn(classes: int = 1000, **options: Any) -> VGG:
    """VGG-19 with batch norm: 143,678,248 parameters for 1000 classes."""
    return vgg19(classes, **{"norm": BatchNorm, **options})
