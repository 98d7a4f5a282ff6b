"""What a captioner looks at: a grid of feature vectors, one a part of the image."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Activation, Conv, Unit
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.models.parts.patches import whitened_field, whitened_maps


class GridNet(nn.Module):
    """Strided convolutions, then dense layers in every cell of the grid by itself.

    A cell sees a square of `receptive_field` pixels and nothing else, so that attention
    to a cell is attention to that part of the image. What it sees it puts together with
    where it is, two channels from -1 to 1 (Liu et al., "An intriguing failing of
    convolutional neural networks and the CoordConv solution", 2018,
    https://arxiv.org/abs/1807.03247): a grid that small would not know otherwise, and
    `left of` could not be learned.

    The default has 237,312 parameters, a grid of 8x8 for images of 64x64, and cells
    that see 26x26 pixels.

    Attributes:
        filters: Channels of each convolution.
        kernels: Side of each kernel, in pixels.
        strides: Pixels between outputs of each.
        dense: Channels of the layers after them; the last is the width of the vectors.
        norm: Makes the norms after the convolutions, or None.
        dtype: Of the computation.
    """

    filters: Sequence[int] = (32, 32, 64, 128)
    kernels: Sequence[int] = (4, 3, 4, 4)
    strides: Sequence[int] = (2, 1, 2, 2)
    dense: Sequence[int] = (192, 192)
    norm: Norm | None = BatchNorm
    dtype: Any = jnp.float32

    @property
    def receptive_field(self) -> int:
        """Pixels along the side of what one cell sees."""
        seen, apart = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            seen, apart = seen + (kernel - 1) * apart, apart * stride
        return seen

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b gh gw d"]:
        """Returns the grid; a cell's square is centred on it, zeros outside."""
        x = image
        settings = zip(self.filters, self.kernels, self.strides, strict=True)
        for index, (features, kernel, stride) in enumerate(settings):
            x = Unit(
                features,
                kernel,
                stride=stride,
                # An even kernel of stride 2 is centred between two pixels, as the 2x2
                # square that it stands for is.
                padding=(kernel - 1) // 2,
                norm=self.norm,
                dtype=self.dtype,
                name=f"conv{index}",
            )(x, train=train)
        return _cells(x, self.dense, self.dtype)


class WhitenedGridNet(nn.Module):
    """The beginning of a `WhitenedConvNet`, then dense layers as in a `GridNet`.

    It learns from fewer images than a `GridNet` does: patches are whitened by fixed
    filters, those of the images that it is initialised with, and the strongest answer
    of four places is kept. In return a cell sees more.

    The default has 311,680 parameters, a grid of 8x8 for images of 64x64, and cells
    that see 38x38 pixels.

    Attributes:
        filters: Channels of each 3x3 convolution.
        pools: After which convolutions, counted from 0, a 2x2 max pool halves the maps.
        components: Of the whitened patches.
        dense: Channels of the layers after them; the last is the width of the vectors.
        norm: Makes the norms after the convolutions, or None.
        activation: After whitening, and after every norm; of dense layers it is ReLU.
        dtype: Of the computation.
    """

    filters: Sequence[int] = (64, 128, 128)
    pools: Sequence[int] = (0, 1)
    components: int = 24
    dense: Sequence[int] = (192, 192)
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @property
    def receptive_field(self) -> int:
        """Pixels along the side of what one cell sees."""
        return whitened_field(self)

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b gh gw d"]:
        """Returns the grid; a cell's square is centred on it, zeros outside.

        Raises:
            ImageSizeError: If the pools leave nothing of the image.
        """
        x = whitened_maps(self, image, train=train)
        return _cells(x, self.dense, self.dtype)


def _cells(
    x: Float[Array, "b h w c"], dense: Sequence[int], dtype: Any
) -> Float[Array, "b h w d"]:
    """Every cell by itself: what it sees, with where it is. Called in a compact one."""
    x = jnp.concatenate([x, positions(x)], axis=-1)
    for index, features in enumerate(dense):
        x = nn.relu(Conv(features, 1, dtype=dtype, name=f"dense{index}")(x))
    return x


def positions(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 2"]:
    """Where each cell is: down and right, from -1 to 1."""
    sides = [(2 * jnp.arange(n) + 1) / n - 1 for n in x.shape[1:3]]
    where = jnp.stack(jnp.meshgrid(*sides, indexing="ij"), axis=-1).astype(x.dtype)
    return jnp.broadcast_to(where[None], (x.shape[0], *where.shape))


class LayerOf(nn.Module):
    """What one layer of another network returns: a grid, or a pooled vector.

    In training the network trains along, batch norm and all.

    Attributes:
        network: Any network of the zoo.
        layer: As `functional.features` names it, `"stage4/block2"` say.
    """

    network: nn.Module
    layer: str

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b *grid d"]:
        """Returns the layer's output.

        Raises:
            ValueError: If there is no such layer.
        """
        found: list[Any] = []
        names: list[str] = []
        network = self.network
        start = len(network.path) if network.scope is not None else 0

        def keep(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = next_fun(*args, **kwargs)
            if context.method_name == "__call__":
                path = context.module.path[start:]
                names.append("/".join(path))
                if names[-1] == self.layer:
                    found.append(output)
            return output

        with nn.intercept_methods(keep):
            network(image, train=train)
        if not found:
            raise ValueError(
                f"{type(network).__name__} has no layer {self.layer!r}, only "
                f"{', '.join(name for name in names if name)}"
            )
        return found[0]
