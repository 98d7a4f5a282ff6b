"""A convolutional network for minutes on a CPU: its first layer is computed.

Patches are whitened, as Coates, Ng & Lee did before they learned anything ("An analysis
of single-layer networks in unsupervised feature learning", AISTATS 2011,
https://proceedings.mlr.press/v15/coates11a.html, section 3.1), and each component is
kept with both signs (Shang, Sohn, Almeida & Lee, "Understanding and improving
convolutional neural networks via concatenated rectified linear units", 2016,
https://arxiv.org/abs/1603.05201). Jordan's fast CIFAR-10 networks begin that way ("94%
on CIFAR-10 in 3.29 seconds on a single GPU", 2024, https://arxiv.org/abs/2404.00498,
section 3.2), and end with a maximum over pixels and small logits, as this one.
It departs from them to be cheap: patches of 4x4 pixels, every 2, so that no later layer
sees more than a quarter of the pixels, and one convolution a stage.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.blocks import (
    Activation,
    BatchNorm,
    Conv,
    Dropout,
    Norm,
    Rate,
    float32_or_wider,
)
from jaxnets.ops.conv import conv
from jaxnets.ops.pool import ImageSizeError, global_max, max_pool
from jaxnets.ops.whitening import whitening_filters

PATCH, EVERY, BORDER = 4, 2, 1  # pixels


class Whitening(nn.Module):
    """What whitening filters, and the same turned over, say to patches of 4x4 pixels.

    The filters are those of the images that the network is initialised with: give
    `init` a batch of real ones. They are a buffer: no gradient, no weight decay.

    Attributes:
        components: At most so many; small grey patches have fewer. Channels are twice
            as many.
        dtype: Of the computation; the filters stay float32.
    """

    components: int = 24
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b ho wo co"]:
        """Returns maps of half the size."""
        count = min(self.components, PATCH * PATCH * image.shape[-1])
        found = self.variable(
            "filters",
            "kernel",
            lambda: whitening_filters(image, PATCH, count).astype(jnp.float32),
        )
        kernel = found.value.astype(self.dtype)
        both = jnp.concatenate([kernel, -kernel], axis=-1)
        border = ((BORDER, BORDER),) * 2
        return conv(image.astype(self.dtype), both, stride=(EVERY,) * 2, padding=border)


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
            ValueError: If the pools leave nothing of the image.
        """
        least = max(PATCH, EVERY * 2 ** len(self.pools))
        if min(image.shape[1:3]) < least:
            raise ImageSizeError(
                f"{len(self.pools)} pools after the whitening need images of "
                f"{least}x{least} pixels or more, not {image.shape[1:3]}"
            )
        patches = Whitening(self.components, dtype=self.dtype, name="whitening")
        x = self.activation(patches(image))
        for index, features in enumerate(self.filters):
            name, bias = f"conv{index}", self.norm is None
            x = Conv(features, use_bias=bias, dtype=self.dtype, name=name)(x)
            if index in self.pools:  # before the norm, which then has a quarter to do
                x = max_pool(x, 2, stride=2)
            if self.norm is not None:
                x = self.norm(dtype=self.dtype, name=f"norm{index}")(x, train=train)
            x = self.activation(x)
        wide = float32_or_wider(self.dtype)
        x = Dropout(name="drop")(global_max(x).astype(wide), dropout, train=train)
        return nn.Dense(self.classes, dtype=wide, name="output")(x) * self.logit_scale


def whitened_convnet(classes: int = 10, **options: Any) -> WhitenedConvNet:
    """Three convolutions after the whitening: 230,698 parameters for 10 classes.

    `options` are attributes of `WhitenedConvNet`.
    """
    return WhitenedConvNet(classes, **options)
