"""Feature pyramids: maps of several scales that all know what the coarsest knows.

Lin, Dollár, Girshick, He, Hariharan & Belongie, "Feature pyramid networks for object
detection", 2017, https://arxiv.org/abs/1612.03144, section 3. Initial weights are those
of torch's reference: uniform of variance 1 / fan_in, biases 0.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Conv, configured
from jaxnets.models.parts.initial import Initializer, unit_uniform
from jaxnets.models.parts.norms import Norm

Maps = Sequence[Float[Array, "b _ _ _"]]


class FeaturePyramid(nn.Module):
    """From maps of a network, fine to coarse, to maps of as many channels each.

    A 1x1 convolution brings a map to `features` channels (`inner0`, the finest), the
    coarser one is added, each of its cells repeated, and a 3x3 convolution smooths the
    sum (`layer0`).

    Attributes:
        features: Channels of all maps.
        extra: Whether a coarser level is added, every other cell of the coarsest: of
            proposals for the largest objects.
        levels: How many come back, the finest ones; None: all.
        norm: Makes a norm after each convolution, or None: biases, as published.
        kernel_init: Draws the kernels.
        dtype: Of the computation.
    """

    features: int = 256
    extra: bool = True
    levels: int | None = None
    norm: Norm | None = None
    kernel_init: Initializer = unit_uniform
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> tuple[Array, ...]:
        """Returns the levels, fine to coarse."""
        inner = [
            self._conv(x, 1, f"inner{level}", train=train)
            for level, x in enumerate(maps)
        ]
        levels, above = [], None
        for level, x in reversed(list(enumerate(inner))):
            above = x if above is None else x + enlarged(above, x.shape[1:3])
            if self.levels is None or level < self.levels:
                levels.append(self._conv(above, 3, f"layer{level}", train=train))
        levels.reverse()
        if self.extra:
            levels.append(levels[-1][:, ::2, ::2])
        return tuple(levels)

    def _conv(self, x: Array, side: int, name: str, *, train: bool) -> Array:
        conv = configured(Conv, self)
        bias = self.norm is None
        x = conv(self.features, side, padding=side // 2, use_bias=bias, name=name)(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train)
        return x


def enlarged(x: Float[Array, "b h w c"], size: tuple[int, ...]) -> Array:
    """The map with its cells repeated up to a height and width: nearest neighbours."""
    rows, columns = (
        jnp.arange(new) * old // new
        for new, old in zip(size, x.shape[1:3], strict=True)
    )
    return x[:, rows][:, :, columns]
