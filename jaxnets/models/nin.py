"""Network in network: 1x1 convolutions between the others, and no dense layer.

Lin, Chen & Yan, "Network in network", 2013, https://arxiv.org/abs/1312.4400: sections
3.1 (mlpconv layers), 3.2 (global average pooling) and 4.2 (CIFAR-10), with the filters
of the authors' published configuration.

Initial weights: normal with deviation 0.05, biases 0, as in that configuration; the
paper says no more than that they were set by hand (section 4.1).
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
from jaxnets.models.parts.initial import Initializer, scaled_normal
from jaxnets.models.parts.norms import Norm
from jaxnets.ops.pool import max_pool


class NIN(nn.Module):
    """Three mlpconv layers, each a convolution and two 1x1 convolutions after it.

    Attributes:
        classes: How many logits to return: the last 1x1 convolution's maps, averaged.
        filters: Channels of each convolution but the last.
        kernel_sizes: Side of each mlpconv layer's first kernel.
        stem: How much the first convolution shrinks the image: 1 for images near 32
            pixels; 2 or 4 for larger ones.
        kernel_init: Draws the kernels.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer, the last one too.
        dtype: Of the computation.
    """

    classes: int = 10
    filters: Sequence[int] = (192, 160, 96, 192, 192, 192, 192, 192)
    kernel_sizes: Sequence[int] = (5, 5, 3)
    stem: int = 1
    kernel_init: Initializer = scaled_normal(0.05)
    norm: Norm | None = None
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that a pooled feature is dropped, in [0, 1); the
                paper's is 0.5.
        """
        x = image
        filters = (*self.filters, self.classes)
        for layer, side in enumerate(self.kernel_sizes):
            for index in range(3):
                last = layer * 3 + index == len(filters) - 1
                x = configured(Unit, self)(
                    filters[layer * 3 + index],
                    kernel_size=1 if index else side,
                    stride=self.stem if layer == index == 0 else 1,
                    norm=None if last else self.norm,
                    name=f"mlpconv{layer + 1}_{index + 1}",
                )(x, train=train)
            if layer < len(self.kernel_sizes) - 1:
                x = max_pool(x, 3, stride=2, ceil=True)
                x = Dropout(name=f"drop{layer + 1}")(x, dropout, train=train)
        return global_average(x)


def nin(classes: int = 10, **options: Any) -> NIN:
    """Network in network for CIFAR: 966,986 parameters for 10 classes.

    `options` are attributes of `NIN`.
    """
    return NIN(classes, **options)
