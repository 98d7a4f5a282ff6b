"""A plain convolutional network of any depth: 3x3 convolutions, pools, one dense layer.

The shape that every course starts with: convolution, norm, ReLU, now and then a 2x2 max
pool, and global average pooling (Lin, Chen & Yan, "Network in network", 2013,
https://arxiv.org/abs/1312.4400, section 3.2) before the classifier, so that any image
size gives the same number of parameters.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dropout,
    Head,
    Rate,
    Unit,
    configured,
    global_average,
)
from jaxnets.models.parts.initial import Initializer, kaiming
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.pool import ImageSizeError, max_pool


class ConvNet(nn.Module):
    """One 3x3 convolution an entry of `filters`: 242,474 parameters for colour images.

    Attributes:
        classes: How many logits to return.
        filters: Channels of each convolution.
        pools: After which convolutions, counted from 0, a 2x2 max pool halves the maps.
        norm: Makes the norms after the convolutions, or None.
        activation: After every convolution.
        kernel_init: Draws the convolutions' weights.
        dtype: Of the computation.
    """

    classes: int = 10
    filters: Sequence[int] = (32, 64, 128, 128)
    pools: Sequence[int] = (0, 1, 3)
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    kernel_init: Initializer = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size that the pools leave a pixel of.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that an averaged feature is dropped, in [0, 1).

        Raises:
            ValueError: If the pools leave nothing of the image, or name a layer that
                is not there.
        """
        if outside := set(self.pools) - set(range(len(self.filters))):
            raise ValueError(
                f"pools after layers {sorted(outside)}, but the layers are "
                f"0 to {len(self.filters) - 1}"
            )
        if min(image.shape[1:3]) < 2 ** len(self.pools):
            raise ImageSizeError(
                f"{len(self.pools)} pools leave nothing of images of "
                f"{image.shape[1]}x{image.shape[2]} pixels"
            )
        x = image
        for index, features in enumerate(self.filters):
            x = configured(Unit, self)(features, name=f"conv{index}")(x, train=train)
            if index in self.pools:
                x = max_pool(x, 2, stride=2)
        x = Dropout(name="drop")(global_average(x), dropout, train=train)
        return Head(self.classes, dtype=self.dtype, name="output")(x)


def convnet(classes: int = 10, **options: Any) -> ConvNet:
    """Four convolutions with batch norm: 241,898 parameters for 10 classes, grey.

    `options` are attributes of `ConvNet`.
    """
    return ConvNet(classes, **options)


def small_convnet(classes: int = 10, **options: Any) -> ConvNet:
    """Fewer channels: 76,146 parameters for 10 classes, grey.

    `options` are attributes of `ConvNet`.
    """
    return ConvNet(classes, **{"filters": (24, 48, 64, 64), **options})
