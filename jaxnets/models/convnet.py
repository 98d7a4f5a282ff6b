"""A plain convolutional network of any depth: 3x3 convolutions, pools, one dense layer.

The shape that every course starts with: convolution, norm, ReLU, now and then a 2x2 max
pool, and global average pooling (Lin, Chen & Yan, "Network in network", 2013,
https://arxiv.org/abs/1312.4400, section 3.2) before the classifier, so that any image
size gives the same number of parameters.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.blocks import BatchNorm, Conv
from jaxnets.ops.dropout import dropout as drop
from jaxnets.types import Scalar


class ConvNet(nn.Module):
    """One 3x3 convolution an entry of `filters`: 243,978 parameters for colour images.

    Attributes:
        classes: How many logits to return.
        filters: Channels of each convolution.
        pools: After which convolutions, counted from 0, a 2x2 max pool halves the maps.
        batch_norm: Whether each convolution is followed by batch norm (and has no
            bias).
        activation: After every convolution.
    """

    classes: int = 10
    filters: Sequence[int] = (32, 64, 128, 128)
    pools: Sequence[int] = (0, 1, 3)
    batch_norm: bool = True
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        *,
        train: bool,
        dropout: Scalar | float = 0,
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size that the pools leave a pixel of.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that a pooled feature is dropped, in [0, 1).

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
            raise ValueError(
                f"{len(self.pools)} pools leave nothing of images of "
                f"{image.shape[1]}x{image.shape[2]} pixels"
            )
        x = image
        for index, features in enumerate(self.filters):
            x = Conv(features, use_bias=not self.batch_norm, name=f"conv{index}")(x)
            if self.batch_norm:
                x = BatchNorm(name=f"norm{index}")(x, train=train)
            x = self.activation(x)
            if index in self.pools:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = jnp.mean(x, axis=(1, 2))
        if train:
            x = drop(x, dropout, self.make_rng("dropout"))
        return nn.Dense(self.classes, name="output")(x)


def convnet(classes: int = 10) -> ConvNet:
    """Four convolutions with batch norm: 243,402 parameters for 10 classes, grey."""
    return ConvNet(classes)
