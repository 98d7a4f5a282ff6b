"""What detectors by regions say: of every anchor, and of every region.

- `ProposalHead`: Ren, He, Girshick & Sun, "Faster R-CNN", 2015,
  https://arxiv.org/abs/1506.01497, section 3.1.
- `BoxHead`: two dense layers, as in Lin et al., "Feature pyramid networks", 2017,
  https://arxiv.org/abs/1612.03144, section 4.2.
- `BoxPredictor`: Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083,
  section 2: class 0 is the background, offsets are of each class.
- `MaskHead`: He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017,
  https://arxiv.org/abs/1703.06870, figure 4, right.

Initial weights are those of torch's reference.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Dense, Head, Unit, biased, flatten
from jaxnets.models.parts.initial import (
    Initializer,
    bias_uniform,
    fan_uniform,
    kaiming_fan_out,
    scaled_normal,
)
from jaxnets.models.parts.norms import Norm
from jaxnets.models.parts.precision import computed, float32_or_wider

_PROPOSALS = scaled_normal(0.01)  # Ren et al., section 3.1: all new layers


class ProposalHead(nn.Module):
    """From maps to the logits and offsets of the anchors in each cell.

    Departure: one logit an anchor, as in torch; the paper's two are `logits=2`, of the
    background first.

    Attributes:
        anchors: In each cell.
        features: Channels of the 3x3 convolution; None: those of the map.
        logits: For each anchor.
        dtype: Of the convolution; logits and offsets are float32 or wider.
    """

    anchors: int
    features: int | None = None
    logits: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b anchors _"], Float[Array, "b anchors 4"]]:
        """Returns logits and offsets, cell after cell: rows, columns, anchors."""
        options: dict[str, Any] = {"kernel_init": _PROPOSALS, "activation": None}
        unit = lambda width, side, dtype, name: Unit(
            width, side, dtype=dtype, name=name, **options
        )
        width, wide = self.features or x.shape[-1], float32_or_wider(self.dtype)
        x = nn.relu(unit(width, 3, self.dtype, "conv")(x, train=train))
        logits = unit(self.anchors * self.logits, 1, wide, "logits")(x, train=train)
        offsets = unit(self.anchors * 4, 1, wide, "offsets")(x, train=train)
        rows = x.shape[0], -1
        return logits.reshape(*rows, self.logits), _rows_first(offsets, *rows)


class BoxHead(nn.Module):
    """Two dense layers over the features of a region.

    Attributes:
        features: Units of each.
        dtype: Of the computation.
    """

    features: int = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, regions: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
        """Returns a vector a region."""
        x = flatten(regions)
        for name in ("fc6", "fc7"):
            drawn = {"kernel_init": fan_uniform, "bias_init": bias_uniform}
            x = nn.relu(Dense(self.features, **drawn, dtype=self.dtype, name=name)(x))
        return x


class BoxPredictor(nn.Module):
    """Logits of the background and the classes, and offsets for each of them.

    Attributes:
        classes: Without the background.
        dtype: Of the features; the outputs are float32 or wider.
    """

    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"]
    ) -> tuple[Float[Array, "n _"], Float[Array, "n _ 4"]]:
        """Returns logits `[n, 1 + classes]` and offsets `[n, 1 + classes, 4]`."""
        every = 1 + self.classes
        drawn = {"kernel_init": fan_uniform, "bias_init": bias_uniform}
        logits = Head(every, **drawn, dtype=self.dtype, name="logits")(x)
        offsets = Head(4 * every, **drawn, dtype=self.dtype, name="offsets")(x)
        return logits, _rows_first(offsets, -1, every)


def _rows_first(offsets: Array, *shape: int) -> Array:
    """Offsets as (dy, dx, dh, dw); in the weights, which are torch's, x is first."""
    return offsets.reshape(*shape, 4)[..., jnp.array([1, 0, 3, 2])]


class MaskHead(nn.Module):
    """Convolutions over the features of a region, a mask of twice their side a class.

    Attributes:
        classes: Without the background, which has a mask as well.
        layers: 3x3 convolutions.
        features: Channels of each.
        norm: Makes the norms after them, or None, as published.
        dtype: Of the computation; the logits are float32 or wider.
    """

    classes: int
    layers: int = 4
    features: int = 256
    norm: Norm | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, regions: Float[Array, "n h w c"], *, train: bool
    ) -> Float[Array, "n _ _ _"]:
        """Returns logits `[n, 2 h, 2 w, 1 + classes]` of every pixel."""
        x = regions
        for index in range(self.layers):
            unit = Unit(
                self.features,
                norm=self.norm,
                kernel_init=kaiming_fan_out,
                dtype=self.dtype,
                name=f"conv{index}",
            )
            x = unit(x, train=train)
        x = nn.relu(_Doubled(self.features, dtype=self.dtype, name="doubled")(x))
        wide = float32_or_wider(self.dtype)
        head = Unit(
            1 + self.classes,
            1,
            activation=None,
            kernel_init=kaiming_fan_out,
            bias_init=bias_uniform,
            dtype=wide,
            name="logits",
        )
        return head(x, train=train)


class _Doubled(nn.Module):
    """A transposed 2x2 convolution of stride 2: every cell becomes four.

    Its kernel is `[h, w, out, in]`, so that torch's is its transpose.

    Attributes:
        features: Channels out.
        kernel_init: Draws the kernel.
        dtype: Of the computation.
    """

    features: int
    kernel_init: Initializer = kaiming_fan_out
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo co"]:
        """Returns maps of twice the side."""
        b, h, w, c = x.shape
        shape = (2, 2, self.features, c)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        kind = computed(self.dtype, x)
        x = jnp.einsum("bhwc,ijoc->bhiwjo", x.astype(kind), kernel.astype(kind))
        x = x.reshape(b, 2 * h, 2 * w, self.features)
        return biased(self, x, bias_uniform(4 * self.features))
