"""LeNet-5, the convolutional network that read cheques.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, https://doi.org/10.1109/5.726791, figure 2.

Initial weights: uniform between -2.4 / fan_in and that, biases with them (appendix A).
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dense,
    Head,
    Unit,
    configured,
    flatten,
)
from jaxnets.models.parts.initial import BiasInitializer, Initializer
from jaxnets.models.parts.norms import Norm
from jaxnets.ops.pool import ImageSizeError, avg_pool


def _small(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    bound = 2.4 / math.prod(shape[:-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _small_bias(fan_in: int) -> Initializer:
    bound = 2.4 / fan_in
    return functools.partial(jax.random.uniform, minval=-bound, maxval=bound)


class LeNet5(nn.Module):
    """Two convolutions and three dense layers: 61,706 parameters at 32x32x1.

    Departs from the paper in four places: C3 sees every S2 map (the paper's table I
    connects a subset), pooling has no coefficients, ReLU replaces the scaled tanh, and
    a linear layer replaces the Gaussian connections of the output. Images of 28x28 are
    padded to the 32x32 of the paper.

    Attributes:
        classes: How many logits to return.
        kernel_init: Draws the kernels.
        bias_init: Draws the biases.
        norm: Makes the norms after the convolutions, or None.
        activation: After every layer but the last.
        dtype: Of the computation.
    """

    classes: int = 10
    kernel_init: Initializer = _small
    bias_init: BiasInitializer = _small_bias
    norm: Norm | None = None
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image. Only a batch norm minds `train`.

        Raises:
            ValueError: If the images are smaller than 12 pixels: nothing is left of
                them after two convolutions and two poolings.
        """
        if min(image.shape[1:3]) < 12:
            raise ImageSizeError(
                f"LeNet-5 needs images of 12x12 pixels or more, not {image.shape[1:3]}"
            )
        unit, dense = configured(Unit, self), configured(Dense, self)
        border = 2 if image.shape[1] == 28 else 0
        x = unit(6, 5, padding=border, name="c1")(image, train=train)
        x = avg_pool(x, 2, stride=2)
        x = unit(16, 5, padding=0, name="c3")(x, train=train)
        x = flatten(avg_pool(x, 2, stride=2))
        x = self.activation(dense(120, name="c5")(x))
        x = self.activation(dense(84, name="f6")(x))
        return configured(Head, self)(self.classes, name="output")(x)


def lenet5(classes: int = 10, **options: Any) -> LeNet5:
    """LeNet-5 for `classes` classes: 61,706 parameters for 10 at 32x32x1.

    `options` are attributes of `LeNet5`.
    """
    return LeNet5(classes, **options)
