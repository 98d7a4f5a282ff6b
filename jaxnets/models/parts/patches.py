"""The beginning of networks that learn in minutes: whitened patches, pooled early.

Patches are whitened, as Coates, Ng & Lee did before they learned anything ("An analysis
of single-layer networks in unsupervised feature learning", AISTATS 2011,
https://proceedings.mlr.press/v15/coates11a.html, section 3.1), and each component is
kept with both signs (Shang, Sohn, Almeida & Lee, "Understanding and improving
convolutional neural networks via concatenated rectified linear units", 2016,
https://arxiv.org/abs/1603.05201).
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Activation, Conv
from jaxnets.models.parts.norms import Norm
from jaxnets.models.parts.precision import computed
from jaxnets.ops.conv import conv
from jaxnets.ops.pool import ImageSizeError, max_pool
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
        kind = computed(self.dtype, image)
        kernel = found.value.astype(kind)
        both = jnp.concatenate([kernel, -kernel], axis=-1)
        border = ((BORDER, BORDER),) * 2
        return conv(image.astype(kind), both, stride=(EVERY,) * 2, padding=border)


@runtime_checkable
class Beginning(Protocol):
    """A network that begins with whitened patches; see `WhitenedConvNet`."""

    filters: Sequence[int]
    pools: Sequence[int]
    components: int
    norm: Norm | None
    activation: Activation
    dtype: Any


def whitened_maps(
    network: Beginning, image: Float[Array, "b h w c"], *, train: bool
) -> Float[Array, "b ho wo co"]:
    """Whitening, then 3x3 convolution, pool, norm, activation an entry of `filters`.

    Called in a compact method of the network, which gets the layers `whitening`,
    `conv0`, `norm0` and so on.

    Raises:
        ImageSizeError: If the pools leave nothing of the image.
    """
    pools, norm, dtype = network.pools, network.norm, network.dtype
    least = max(PATCH, EVERY * 2 ** len(pools))
    if min(image.shape[1:3]) < least:
        raise ImageSizeError(
            f"{len(pools)} pools after the whitening need images of "
            f"{least}x{least} pixels or more, not {image.shape[1:3]}"
        )
    patches = Whitening(network.components, dtype=dtype, name="whitening")
    x = network.activation(patches(image))
    for index, features in enumerate(network.filters):
        name, bias = f"conv{index}", norm is None
        x = Conv(features, use_bias=bias, dtype=dtype, name=name)(x)
        if index in pools:  # before the norm, which then has a quarter to do
            x = max_pool(x, 2, stride=2)
        if norm is not None:
            x = norm(dtype=dtype, name=f"norm{index}")(x, train=train)
        x = network.activation(x)
    return x


def whitened_field(network: Beginning) -> int:
    """Pixels along the side of what one place of `whitened_maps` sees."""
    seen, apart = PATCH, EVERY
    for index in range(len(network.filters)):
        seen += 2 * apart
        if index in network.pools:
            seen, apart = seen + apart, 2 * apart
    return seen
