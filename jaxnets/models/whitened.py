"""A convolutional network for minutes on a CPU: its first layer is computed.

See `jaxnets.models.parts.patches` for that layer. Jordan's fast CIFAR-10 networks begin
that way ("94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024,
https://arxiv.org/abs/2404.00498, section 3.2), and end with a maximum over pixels and
small logits, as this one. It departs from them to be cheap: patches of 4x4 pixels,
every 2, so that no later layer sees more than a quarter of the pixels, and one
convolution a stage.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Activation, Dense, Dropout, Rate
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.models.parts.patches import whitened_maps
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.ops.pool import global_max


class WhitenedConvNet(nn.Module):
    """Whitening, then 3x3 convolution, pool, batch norm, ReLU an entry of `filters`.

    Attributes:
        classes: How many logits to return.
        filters: Channels of each convolution.
        pools: After which convolutions, counted from 0, a 2x2 max pool halves the maps.
        components: Of the whitened patches.
        logit_scale: What the last layer's outputs are multiplied by.
        norm: Makes the norms after the convolutions, or None.
        activation: After whitening, and after every norm.
        dtype: Of the computation.
    """

    classes: int = 10
    filters: Sequence[int] = (48, 96, 192)
    pools: Sequence[int] = (0, 1)
    components: int = 24
    logit_scale: float = 0.125
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size that the pools leave a pixel of.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that a feature before the logits is dropped, in [0, 1).

        Raises:
            ImageSizeError: If the pools leave nothing of the image.
        """
        x = whitened_maps(self, image, train=train)
        wide = float32_or_wider(x.dtype)
        x = Dropout(name="drop")(global_max(x).astype(wide), dropout, train=train)
        return Dense(self.classes, dtype=wide, name="output")(x) * self.logit_scale


def whitened_convnet(classes: int = 10, **options: Any) -> WhitenedConvNet:
    """Three convolutions after the whitening: 230,698 parameters for 10 classes.

    `options` are attributes of `WhitenedConvNet`.
    """
    return WhitenedConvNet(classes, **options)
