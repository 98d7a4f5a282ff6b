"""Layers that more than one architecture is built from.

Three attributes mean the same in every architecture:

- `norm` makes the normalisation layers: `BatchNorm`, `GroupNorm`, `LayerNorm` or
  `InstanceNorm` of `norms`, one of them with other constants (`functools.partial`), or
  None. A convolution has a bias where no norm follows it.
- `activation` is a function of arrays.
- `dtype` is the type of the computation, such as `jax.numpy.bfloat16`. Parameters,
  statistics and logits stay float32. The default, float32, gives way to a wider input:
  with `jax_enable_x64`, what is given float64 computes in float64. Networks of tokens
  have no such input: they are told, `dtype=jax.numpy.float64`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.initial import (
    BiasInitializer,
    Initializer,
    kaiming,
    lecun,
    zeros,
)
from jaxnets.models.parts.norms import Norm
from jaxnets.models.parts.precision import computed, float32_or_wider
from jaxnets.ops import norm as norms
from jaxnets.ops.conv import conv
from jaxnets.ops.dropout import dropout
from jaxnets.types import Scalar

Activation: TypeAlias = Callable[[Array], Array]
Layer = TypeVar("Layer")
Rate: TypeAlias = Scalar | float | int


class Logits(NamedTuple):
    """What a network with auxiliary classifiers returns in training."""

    main: Float[Array, "b classes"]
    auxiliary: tuple[Float[Array, "b classes"], ...]


_NONE = zeros(0)
_INHERITED = ("norm", "activation", "kernel_init", "bias_init", "dtype")


def configured(layer: Callable[..., Layer], network: nn.Module) -> Callable[..., Layer]:
    """Returns `layer` with the options of the network that it is part of as defaults.

    The options are those of `norm`, `activation`, `kernel_init`, `bias_init` and
    `dtype` that the network has as attributes, and the layer as well if it is a class.

    Args:
        layer: A class of modules, or a function that makes one and takes every option
            that the network has.
        network: The module that the layers are part of.
    """
    names = {field.name for field in dataclasses.fields(network)}
    if isinstance(layer, type):
        names &= {field.name for field in dataclasses.fields(layer)}
    options = {name: getattr(network, name) for name in _INHERITED if name in names}
    return functools.partial(layer, **options)


def off(rate: Rate) -> bool:
    """Whether `rate` is the plain number 0: nothing needs to be drawn."""
    return isinstance(rate, int | float) and rate == 0


def flatten(x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
    """One row an image, channel by channel as torch has it, so that weights carry."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def global_average(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The mean of each map, in float32 or wider."""
    return jnp.mean(norms.widen(x), axis=(1, 2))


def biased(
    module: nn.Module, x: Float[Array, "*b c"], drawn: Initializer = _NONE
) -> Float[Array, "*b c"]:
    """`x` and the module's parameter `bias`, a number for each channel; 0 at first."""
    bias = module.param("bias", drawn, (x.shape[-1],), jnp.float32)
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Conv(nn.Module):
    """A convolution over images, channels last, with torch's explicit padding.

    Attributes:
        features: Channels out.
        kernel_size: Side of the square kernel, in pixels.
        stride: Pixels between outputs.
        padding: Pixels of zeros on every side, or `"SAME"`.
        dilation: Pixels between the taps of the kernel.
        groups: Number of groups that the channels are split into.
        use_bias: Whether a bias is added. Leave it out before a norm: there its
            gradient is zero in mathematics and noise in practice.
        kernel_init: Draws the kernel; Kaiming's normal by default.
        bias_init: Draws the bias, given the number of inputs that one output sees.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | str = "SAME"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = kaiming
    bias_init: BiasInitializer = zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo co"]:
        """Returns the feature maps of `x`.

        Raises:
            ValueError: If the channels do not divide into the groups.
        """
        channels, side, pad = x.shape[-1], self.kernel_size, self.padding
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{channels} channels in and {self.features} out do not divide into "
                f"{self.groups} groups"
            )
        shape = (side, side, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x = conv(
            x.astype(computed(self.dtype, x)),
            kernel,
            stride=(self.stride,) * 2,
            padding=pad if isinstance(pad, str) else ((pad, pad),) * 2,
            dilation=(self.dilation,) * 2,
            groups=self.groups,
        )
        drawn = self.bias_init(math.prod(shape[:3]))
        return biased(self, x, drawn) if self.use_bias else x


class Dense(nn.Module):
    """A dense layer: `x` times a kernel `[in, out]`, and a bias.

    Flax's own, but that its bias may be drawn by the number of inputs, and that float64
    stays float64.

    Attributes:
        features: How many out.
        use_bias: Whether a bias is added.
        kernel_init: Draws the kernel; LeCun's normal by default.
        bias_init: Draws the bias, given the number of inputs.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = lecun
    bias_init: BiasInitializer = zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b do"]:
        """Returns `x` times the kernel, and the bias."""
        kind, inputs = computed(self._dtype(), x), x.shape[-1]
        shape = inputs, self.features
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x = x.astype(kind) @ kernel.astype(kind)
        return biased(self, x, self.bias_init(inputs)) if self.use_bias else x

    def _dtype(self) -> Any:
        return self.dtype


class Head(Dense):
    """The dense layer that gives logits, computed in float32 or wider."""

    def _dtype(self) -> Any:
        return float32_or_wider(self.dtype)


class Unit(nn.Module):
    """Convolution, norm, activation: `conv` and `norm` inside the unit's own name.

    Attributes:
        features: Channels out.
        kernel_size: Side of the square kernel, in pixels.
        stride: Pixels between outputs.
        padding: Pixels of zeros on every side; None keeps the size at stride 1.
        groups: Number of groups that the channels are split into.
        norm: Makes the norm, or None.
        activation: Or None.
        use_bias: Whether the convolution has a bias; None: where no norm follows.
        kernel_init: Draws the kernel.
        bias_init: Draws the bias, given the number of inputs that one output sees.
        dtype: Of the computation.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    norm: Norm | None = None
    activation: Activation | None = nn.relu
    use_bias: bool | None = None
    kernel_init: Initializer = kaiming
    bias_init: BiasInitializer = zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b ho wo co"]:
        """Returns the feature maps of `x`."""
        x = Conv(
            self.features,
            self.kernel_size,
            stride=self.stride,
            padding=self.kernel_size // 2 if self.padding is None else self.padding,
            groups=self.groups,
            use_bias=self.norm is None if self.use_bias is None else self.use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name="norm")(x, train=train)
        return x if self.activation is None else self.activation(x)


class Dropout(nn.Module):
    """Drops features in training, at a rate given to the call."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], rate: Rate, *, train: bool
    ) -> Float[Array, "b ..."]:
        """Returns `x`, each element zeroed with probability `rate`, in [0, 1)."""
        if not train or off(rate):
            return x
        return dropout(x, rate, self.make_rng("dropout"))
