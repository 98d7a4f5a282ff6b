"""Layers whose weights have spectral norm 1: each is 1-Lipschitz.

Miyato, Kataoka, Koyama & Yoshida, "Spectral normalization for generative adversarial
networks", 2018, https://arxiv.org/abs/1802.05957, section 2.1 and algorithm 1: a weight
is divided by its largest singular value, which one power iteration a step follows. The
weights move slowly, and so the estimate keeps up. A convolution's kernel counts as the
matrix from all the inputs that one output sees to the channels, as in the paper.

The left vector lies in the buffers, under `spectral`: a call in training renews it, in
deployment nothing moves. As in torch, a fresh one has been through 15 iterations.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Conv, Dense, biased
from jaxnets.models.parts.initial import Initializer, kaiming
from jaxnets.models.parts.precision import computed
from jaxnets.ops.conv import conv

_WARM = 15  # iterations before the first step
_TINY = 1e-12  # what a length is at least, where it divides


def power_iteration(
    matrix: Float[Array, "n m"], left: Float[Array, " m"]
) -> tuple[Float[Array, ""], Float[Array, " m"]]:
    """The largest singular value as one more iteration has it, and the vector.

    The gradient of the value is that of left . matrix^T right with both vectors fixed,
    which is exact where they have converged (the paper's equation 10).
    """
    right = _unit(matrix @ left)
    left = _unit(right @ matrix)
    right, left = jax.lax.stop_gradient((right, left))
    return right @ matrix @ left, left


class SpectralConv(nn.Module):
    """As `blocks.Conv`, with a kernel of spectral norm 1.

    Attributes:
        features: Channels out.
        kernel_size: Side of the square kernel, in pixels.
        stride: Pixels between outputs.
        padding: Pixels of zeros on every side, or `"SAME"`.
        kernel_init: Draws the kernel; its scale does not matter.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | str = "SAME"
    kernel_init: Initializer = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b ho wo co"]:
        """Returns the feature maps of `x`."""
        side, pad = self.kernel_size, self.padding
        kernel = _kernel(self, (side, side, x.shape[-1], self.features), train=train)
        x = conv(
            x.astype(computed(self.dtype, x)),
            kernel,
            stride=(self.stride,) * 2,
            padding=pad if isinstance(pad, str) else ((pad, pad),) * 2,
        )
        return biased(self, x)


class SpectralDense(nn.Module):
    """A dense layer with a kernel of spectral norm 1.

    Attributes:
        features: How many out.
        use_bias: Whether a bias is added.
        kernel_init: Draws the kernel; its scale does not matter.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool) -> Float[Array, "b do"]:
        """Returns `x` times the kernel, and the bias."""
        kernel = _kernel(self, (x.shape[-1], self.features), train=train)
        kind = computed(self.dtype, x)
        x = x.astype(kind) @ kernel.astype(kind)
        return biased(self, x) if self.use_bias else x


def convolution(
    module: Any,
    x: Float[Array, "b h w c"],
    features: int,
    size: int,
    drawn: Initializer,
    name: str,
    *,
    train: bool,
    **options: Any,
) -> Float[Array, "b ho wo co"]:
    """A convolution inside `module`: `SpectralConv` where it is `spectral`, or `Conv`.

    Args:
        module: With attributes `spectral` and `dtype`.
        x: Feature maps.
        features: Channels out.
        size: Side of the square kernel.
        drawn: Draws the kernel.
        name: Of the layer.
        train: Whether the spectral vector moves.
        **options: Other attributes of the layer.
    """
    options |= {"kernel_init": drawn, "dtype": module.dtype, "name": name}
    if not module.spectral:
        return Conv(features, size, **options)(x)
    options.pop("use_bias", None)  # no norm follows
    return SpectralConv(features, size, **options)(x, train=train)


def dense(
    module: Any,
    x: Float[Array, "b d"],
    features: int,
    name: str,
    drawn: Initializer,
    *,
    train: bool,
    use_bias: bool = True,
) -> Float[Array, "b do"]:
    """A dense layer inside `module`, likewise; it computes in the type of `x`."""
    options: dict[str, Any] = {"kernel_init": drawn, "dtype": x.dtype, "name": name}
    if module.spectral:
        layer = SpectralDense(features, use_bias, **options)
        return layer(x, train=train)
    return Dense(features, use_bias, **options)(x)


def _kernel(module: Any, shape: tuple[int, ...], *, train: bool) -> Array:
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32)
    matrix = kernel.reshape(-1, shape[-1])

    def fresh() -> Array:
        left = jax.random.normal(module.make_rng("params"), shape[-1:], matrix.dtype)
        for _ in range(_WARM):
            _, left = power_iteration(matrix, left)
        return left

    stored = module.variable("spectral", "left", fresh)
    value, left = power_iteration(matrix, stored.value)
    if train:
        stored.value = left
    return kernel / value


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), _TINY)
