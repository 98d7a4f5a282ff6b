"""Normalisation layers, under the names that a network takes them by."""

from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.precision import computed
from jaxnets.ops import norm as norms

Norm: TypeAlias = Callable[..., nn.Module]


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last.

    Ioffe & Szegedy, "Batch normalization", 2015, https://arxiv.org/abs/1502.03167,
    algorithms 1 and 2. As in torch, and in the paper's algorithm 2, the running
    variance is the unbiased one (n - 1); Flax keeps the biased one. Padding rows would
    be seen: train on full batches.

    Attributes:
        momentum: How much of a running average one step keeps; torch's is 1 minus this.
        epsilon: Added to the variance.
        dtype: Of the output; the statistics are always float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], *, train: bool
    ) -> Float[Array, "b ..."]:
        """Returns `x` with mean 0 and variance 1 a channel, then scaled and shifted.

        Raises:
            ValueError: In training, if there is one value a channel: its variance is 0.
        """
        scale, bias = _affine(self, x.shape[-1])
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, bias.shape, jnp.float32
        )
        running_var = self.variable(
            "batch_stats", "var", jnp.ones, bias.shape, jnp.float32
        )
        if train:
            count = x.size // x.shape[-1]
            if count < 2:
                raise ValueError(
                    "batch norm needs two values a channel or more to train on, got "
                    f"images of shape {x.shape}: use a larger batch, or another norm"
                )
            mean, var = norms.batch_statistics(x)
            keep, unbiased = self.momentum, var * (count / (count - 1))
            for running, seen in ((running_mean, mean), (running_var, unbiased)):
                old = running.value
                running.value = (keep * old + (1 - keep) * seen).astype(old.dtype)
        else:
            mean, var = running_mean.value, running_var.value
        kind = computed(self.dtype, x)
        x = norms.batch_norm(x, scale, bias, mean, var, epsilon=self.epsilon)
        return x.astype(kind)


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics, scale and bias never change: all are buffers.

    Detectors that begin with published weights train on a few images a step, too few
    for statistics (He et al., "Mask R-CNN", 2017, https://arxiv.org/abs/1703.06870,
    section 3.1, after ResNet's).

    Attributes:
        epsilon: Added to the variance. Torch's first published detectors were trained
            with 0.
        dtype: Of the output; the statistics are always float32.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], *, train: bool = False
    ) -> Float[Array, "b ..."]:
        """Returns `x` normalised, scaled and shifted. `train` changes nothing here."""
        del train
        ones, none = jnp.ones, jnp.zeros
        drawn = {"scale": ones, "bias": none, "mean": none, "var": ones}
        buffers = {
            name: self.variable("batch_stats", name, draw, x.shape[-1:], jnp.float32)
            for name, draw in drawn.items()
        }
        values = {name: buffer.value for name, buffer in buffers.items()}
        kind = computed(self.dtype, x)
        return norms.batch_norm(x, **values, epsilon=self.epsilon).astype(kind)


class GroupNorm(nn.Module):
    """Group normalisation: the statistics of an image's own groups of channels.

    Wu & He, "Group normalization", 2018, https://arxiv.org/abs/1803.08494. Departure:
    where the channels do not allow `groups` groups of two or more, the next smaller
    number that divides them is taken.

    Attributes:
        groups: At most so many groups; the paper's 32.
        epsilon: Added to the variance.
        dtype: Of the output; the statistics are always float32.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False
    ) -> Float[Array, "b ... c"]:
        """Returns the normalised `x`. `train` changes nothing here."""
        del train
        return _group_norm(self, x, group_count(x.shape[-1], self.groups))


def group_count(channels: int, most: int) -> int:
    """The largest number of equal groups of two channels or more, at most `most`."""
    largest = max(1, min(most, channels // 2))
    return next(groups for groups in range(largest, 0, -1) if channels % groups == 0)


class LayerNorm(nn.Module):
    """Layer normalisation: one group, the statistics of all features of an image.

    Ba, Kiros & Hinton, "Layer normalization", 2016, https://arxiv.org/abs/1607.06450.
    Departure: scale and bias are one a channel, not one a pixel, so that any image size
    will do; `torch.nn.GroupNorm(1, c)` is the same.

    Attributes:
        epsilon: Added to the variance.
        dtype: Of the output; the statistics are always float32.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False
    ) -> Float[Array, "b ... c"]:
        """Returns the normalised `x`. `train` changes nothing here."""
        del train
        return _group_norm(self, x, 1)


class InstanceNorm(nn.Module):
    """Instance normalisation: each channel of each image is a group.

    Ulyanov, Vedaldi & Lempitsky, "Instance normalization", 2016,
    https://arxiv.org/abs/1607.08022. Departure: scale and bias are learned.

    Attributes:
        epsilon: Added to the variance.
        dtype: Of the output; the statistics are always float32.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False
    ) -> Float[Array, "b ... c"]:
        """Returns the normalised `x`. `train` changes nothing here.

        Raises:
            ValueError: If a map has one pixel: nothing would be left of it.
        """
        del train
        if x.size == x.shape[0] * x.shape[-1]:
            raise ValueError(
                f"instance norm of one pixel a channel is zero, got shape {x.shape}: "
                "use larger images, a stem that shrinks less, or another norm"
            )
        return _group_norm(self, x, x.shape[-1])


NORMS: dict[str, Norm | None] = {
    "batch": BatchNorm,
    "group": GroupNorm,
    "layer": LayerNorm,
    "instance": InstanceNorm,
    "none": None,
}


def _affine(module: nn.Module, channels: int) -> tuple[Array, Array]:
    ones, none = nn.initializers.ones, nn.initializers.zeros
    scale = module.param("scale", ones, (channels,), jnp.float32)
    return scale, module.param("bias", none, (channels,), jnp.float32)


def _group_norm(module: Any, x: Array, groups: int) -> Array:
    scale, bias = _affine(module, x.shape[-1])
    kind = computed(module.dtype, x)
    x = norms.group_norm(x, scale, bias, groups=groups, epsilon=module.epsilon)
    return x.astype(kind)
