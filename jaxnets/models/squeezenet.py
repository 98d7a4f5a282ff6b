"""SqueezeNet: AlexNet's accuracy with a fiftieth of the parameters.

Iandola, Han, Moskewicz, Ashraf, Dally & Keutzer, "SqueezeNet: AlexNet-level accuracy
with 50x fewer parameters and <0.5MB model size", 2016,
https://arxiv.org/abs/1602.07360: table 1 for version 1.0, without bypass. Version 1.1
is the authors' later release: pools come earlier, for 2.4 times less computation.

Initial weights, of which the paper says nothing, as torch's reference: uniform with
Kaiming's variance 2 / fan_in, the last convolution normal with deviation 0.01, biases
0.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dropout,
    Rate,
    Unit,
    configured,
    global_average,
)
from jaxnets.models.parts.initial import Initializer, kaiming_uniform, scaled_normal
from jaxnets.models.parts.norms import Norm
from jaxnets.ops.pool import max_pool


class Fire(nn.Module):
    """A 1x1 convolution squeezes the channels, 1x1 and 3x3 ones side by side expand.

    Attributes:
        squeeze: Channels of the squeeze.
        expand: Channels of each expansion.
        kernel_init: Draws the kernels.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    squeeze: int
    expand: int
    kernel_init: Initializer = kaiming_uniform
    norm: Norm | None = None
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h w co"]:
        """Returns both expansions, one after the other in the channels."""
        unit = configured(Unit, self)
        x = unit(self.squeeze, 1, name="squeeze1x1")(x, train=train)
        one = unit(self.expand, 1, name="expand1x1")(x, train=train)
        three = unit(self.expand, 3, name="expand3x3")(x, train=train)
        return jnp.concatenate([one, three], axis=-1)


class SqueezeNet(nn.Module):
    """A convolution, eight fire modules, a 1x1 convolution to the classes, their means.

    Attributes:
        classes: How many logits to return.
        filters: Channels of `conv1`.
        kernel_size: Side of `conv1`'s kernel.
        pools: After which fire modules, `fire2` to `fire9`, there is a pool.
        squeezes: Channels of each fire module's squeeze; four times as many come out
            of each expansion.
        stem: How much `conv1` and the pool after it shrink the image: 4 for images near
            224 pixels; 2 (3x3 convolution, pool) near 64, 1 (3x3 convolution) near 32.
        kernel_init: Draws the kernels of all layers but the last.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    classes: int = 1000
    filters: int = 96
    kernel_size: int = 7
    pools: Sequence[int] = (4, 8)
    squeezes: Sequence[int] = (16, 16, 32, 32, 48, 48, 64, 64)
    stem: int = 4
    kernel_init: Initializer = kaiming_uniform
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
            dropout: Probability that an input of `conv10` is dropped, in [0, 1); the
                paper's is 0.5.

        Raises:
            ValueError: If `stem` is not 1, 2 or 4, or the pools leave nothing.
        """
        if self.stem not in (1, 2, 4):
            raise ValueError(f"SqueezeNet's stem is 1, 2 or 4, not {self.stem}")
        unit, fire = configured(Unit, self), configured(Fire, self)
        published = {"kernel_size": self.kernel_size, "stride": 2, "padding": 0}
        shape = published if self.stem == 4 else {"kernel_size": 3}
        x = unit(self.filters, **shape, name="conv1")(image, train=train)
        if self.stem > 1:
            x = max_pool(x, 3, stride=2, ceil=True)
        for index, squeeze in enumerate(self.squeezes, start=2):
            x = fire(squeeze, 4 * squeeze, name=f"fire{index}")(x, train=train)
            if index in self.pools:
                x = max_pool(x, 3, stride=2, ceil=True)
        x = Dropout(name="drop9")(x, dropout, train=train)
        last = {"norm": None, "kernel_init": scaled_normal(0.01)}
        x = unit(self.classes, 1, **last, name="conv10")(x, train=train)
        return global_average(x)


def squeezenet1_0(classes: int = 1000, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.0: 1,248,424 parameters for 1000 classes.

    `options` are attributes of `SqueezeNet`.
    """
    return SqueezeNet(classes, **options)


def squeezenet1_1(classes: int = 1000, **options: Any) -> SqueezeNet:
    """SqueezeNet 1.1: 1,235,496 parameters for 1000 classes.

    `options` are attributes of `SqueezeNet`.
    """
    return SqueezeNet(classes, 64, 3, (3, 5), **options)
