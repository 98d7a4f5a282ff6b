"""Densely connected networks: every layer sees all earlier maps of its block.

Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks",
2016, https://arxiv.org/abs/1608.06993: table 1 for ImageNet, section 3 for CIFAR, where
B stands for bottleneck layers and C for compression between the blocks.

Initial weights: Kaiming's normal (section 4.2, after He et al., 2015); of the last
layer, as in torch's reference, kernels uniform between -1 / sqrt(fan_in) and that,
biases 0.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Conv,
    Dropout,
    Head,
    Rate,
    configured,
    global_average,
)
from jaxnets.models.parts.initial import Initializer, fan_uniform, kaiming
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.pool import avg_pool, max_pool


class Layers(nn.Module):
    """Norm, activation, convolution, as many times as there are kernels.

    Attributes:
        filters: Channels of each convolution.
        kernel_sizes: Side of each kernel.
        numbered: Whether the names end in the number of the convolution, from 1.
        kernel_init: Draws the convolutions' kernels.
        norm: Makes the norms, or None.
        activation: Before every convolution.
        dtype: Of the computation.
    """

    filters: Sequence[int]
    kernel_sizes: Sequence[int]
    numbered: bool = True
    kernel_init: Initializer = kaiming
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b h w co"]:
        """Returns the last convolution's maps, dropped at the rate `dropout`."""
        plan = zip(self.filters, self.kernel_sizes, strict=True)
        for index, (features, side) in enumerate(plan, start=1):
            end = str(index) if self.numbered else ""
            if self.norm is not None:
                x = self.norm(dtype=self.dtype, name=f"norm{end}")(x, train=train)
            shape = {"padding": side // 2, "use_bias": self.norm is None}
            conv = configured(Conv, self)(features, side, **shape, name=f"conv{end}")
            x = conv(self.activation(x))
        return Dropout(name="drop")(x, dropout, train=train)


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, one dense layer.

    Attributes:
        classes: How many logits to return.
        depths: Layers of each dense block.
        growth: Channels that each layer adds, the paper's k.
        stem_features: Channels of the stem.
        bottleneck: Whether a 1x1 convolution to 4 k channels precedes each 3x3.
        compression: Channels that a transition keeps, of those that come.
        stem: How much the stem shrinks the image: 4 (7x7 convolution with stride 2,
            norm, activation, pool) for images near 224 pixels, 2 (3x3 convolution and
            the rest) near 64, 1 (nothing but a 3x3 convolution, as the paper has for
            CIFAR) near 32.
        kernel_init: Draws the convolutions' kernels.
        norm: Makes the norms, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    classes: int
    depths: Sequence[int]
    growth: int = 32
    stem_features: int = 64
    bottleneck: bool = True
    compression: float = 0.5
    stem: int = 4
    kernel_init: Initializer = kaiming
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size that the transitions leave a pixel of.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that an output of a layer is dropped, in [0, 1); the
                paper's is 0.2 where images are not augmented.

        Raises:
            ValueError: If `stem` is not 1, 2 or 4, or nothing is left of the image.
        """
        if self.stem not in (1, 2, 4):
            raise ValueError(f"a DenseNet's stem is 1, 2 or 4, not {self.stem}")
        conv, layers = configured(Conv, self), configured(Layers, self)
        side, stride = (7, 2) if self.stem == 4 else (3, 1)
        shape = {"stride": stride, "padding": side // 2, "use_bias": self.norm is None}
        x = conv(self.stem_features, side, **shape, name="conv0")(image)
        if self.stem > 1:
            x = max_pool(self._active(x, "norm0", train=train), 3, stride=2, padding=1)
        filters = (4 * self.growth, self.growth) if self.bottleneck else (self.growth,)
        kernels = (1, 3) if self.bottleneck else (3,)
        for block, depth in enumerate(self.depths, start=1):
            for index in range(1, depth + 1):
                name = f"denseblock{block}_layer{index}"
                layer = layers(filters, kernels, name=name)
                x = jnp.concatenate([x, layer(x, train=train, dropout=dropout)], -1)
            if block < len(self.depths):
                kept = int(x.shape[-1] * self.compression)
                name = f"transition{block}"
                shrink = layers((kept,), (1,), numbered=False, name=name)
                x = avg_pool(shrink(x, train=train), 2, stride=2)
        x = global_average(self._active(x, f"norm{len(self.depths) + 1}", train=train))
        head = configured(Head, self)
        return head(self.classes, kernel_init=fan_uniform, name="output")(x)

    def _active(self, x: Array, name: str, *, train: bool) -> Array:
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name=name)(x, train=train)
        return self.activation(x)


def densenet121(classes: int = 1000, **options: Any) -> DenseNet:
    """DenseNet-121: 7,978,856 parameters for 1000 classes.

    `options`, here and below, are attributes of `DenseNet`.
    """
    return DenseNet(classes, (6, 12, 24, 16), **options)


def densenet161(classes: int = 1000, **options: Any) -> DenseNet:
    """DenseNet-161: 28,681,000 parameters for 1000 classes."""
    return DenseNet(classes, (6, 12, 36, 24), growth=48, stem_features=96, **options)


def densenet169(classes: int = 1000, **options: Any) -> DenseNet:
    """DenseNet-169: 14,149,480 parameters for 1000 classes."""
    return DenseNet(classes, (6, 12, 32, 32), **options)


def densenet201(classes: int = 1000, **options: Any) -> DenseNet:
    """DenseNet-201: 20,013,928 parameters for 1000 classes."""
    return DenseNet(classes, (6, 12, 48, 32), **options)


def cifar_densenet(
    classes: int, depth: int, growth: int, *, bc: bool, **options: Any
) -> DenseNet:
    """A CIFAR network of three equal dense blocks.

    Args:
        classes: How many logits to return.
        depth: Layers, the paper's L: 3 n + 4, with bottlenecks 6 n + 4.
        growth: Channels that each layer adds, the paper's k.
        bc: Whether layers have bottlenecks, and transitions halve the channels.
        **options: Attributes of `DenseNet`.

    Raises:
        ValueError: If the layers do not divide into the blocks.
    """
    each = 6 if bc else 3
    if depth <= 4 or (depth - 4) % each:
        raise ValueError(f"a CIFAR DenseNet has {each} n + 4 layers, not {depth}")
    return DenseNet(
        classes,
        ((depth - 4) // each,) * 3,
        growth,
        stem_features=2 * growth if bc else 16,
        bottleneck=bc,
        compression=0.5 if bc else 1.0,
        **{"stem": 1, **options},
    )


def densenet_40_12(classes: int = 10, **options: Any) -> DenseNet:
    """DenseNet for CIFAR, L = 40, k = 12: 1,019,722 parameters for 10."""
    return cifar_densenet(classes, 40, 12, bc=False, **options)


def densenet_100_12(classes: int = 10, **options: Any) -> DenseNet:
    """DenseNet for CIFAR, L = 100, k = 12: 6,979,642 parameters for 10."""
    return cifar_densenet(classes, 100, 12, bc=False, **options)


def densenet_bc_100_12(classes: int = 10, **options: Any) -> DenseNet:
    """DenseNet-BC for CIFAR, L = 100, k = 12: 769,162 parameters for 10."""
    return cifar_densenet(classes, 100, 12, bc=True, **options)


def densenet_bc_190_40(classes: int = 10, **options: Any) -> DenseNet:
    """DenseNet-BC for CIFAR, L = 190, k = 40: 25,624,430 parameters for 10."""
    return cifar_densenet(classes, 190, 40, bc=True, **options)


def densenet_bc_250_24(classes: int = 10, **options: Any) -> DenseNet:
    """DenseNet-BC for CIFAR, L = 250, k = 24: 15,324,406 parameters for 10."""
    return cifar_densenet(classes, 250, 24, bc=True, **options)
