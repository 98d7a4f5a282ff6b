"""Residual blocks, and the network they stack into.

What He et al.'s two papers, ResNeXt, Wide ResNet and stochastic depth share; each names
its own variants in its own file.

- He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015,
  https://arxiv.org/abs/1512.03385: `BasicBlock`, `Bottleneck` (figure 5).
- He, Zhang, Ren & Sun, "Identity mappings in deep residual networks", 2016,
  https://arxiv.org/abs/1603.05027: `PreactBlock`, `PreactBottleneck` (figure 4e).
- Huang, Sun, Liu, Sedra & Weinberger, "Deep networks with stochastic depth", 2016,
  https://arxiv.org/abs/1603.09382: the rate `drop_path`, with linear decay.

Every block is called as `block(x, train=, key=, drop_path=, dropout=)`: its key and its
rates come from outside, so that a row of identical blocks can be scanned.
"""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Conv,
    Head,
    Rate,
    Unit,
    configured,
    global_average,
    off,
)
from jaxnets.models.parts.initial import (
    Initializer,
    bias_uniform,
    fan_uniform,
    kaiming,
    kaiming_fan_out,
)
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.drop_path import drop_path as drop_whole
from jaxnets.ops.drop_path import linear_decay
from jaxnets.ops.dropout import dropout as drop
from jaxnets.ops.pool import max_pool
from jaxnets.types import Key


class Block(nn.Module):
    """What the four residual blocks have in common.

    Attributes:
        features: Channels of the 3x3 convolutions.
        stride: Pixels between outputs.
        first: Whether this is the network's first block (pre-activation minds).
        kernel_init: Draws the kernels.
        norm: Makes the norms, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    features: int
    stride: int = 1
    first: bool = False
    kernel_init: Initializer = kaiming
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    def unit(self, features: int, kernel_size: int = 3, **options: Any) -> Unit:
        """A convolution with the block's norm and activation, if not said otherwise."""
        return configured(Unit, self)(features, kernel_size, **options)

    def activated(
        self, x: Float[Array, "b h w c"], name: str, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Norm, then activation: what comes before a convolution in pre-activation."""
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name=name)(x, train=train)
        return self.activation(x)

    def conv(self, features: int, kernel_size: int = 3, **options: Any) -> Conv:
        """A bare convolution, its padding as torch's."""
        pad, bias = kernel_size // 2, self.norm is None
        conv = configured(Conv, self)
        return conv(features, kernel_size, padding=pad, use_bias=bias, **options)


class BasicBlock(Block):
    """Two 3x3 convolutions around a shortcut.

    Attributes:
        projection: Whether a shortcut between different shapes is a 1x1 convolution
            (the paper's option B), or takes every other pixel and pads the channels
            with zeros, half of them on either side (option A).
    """

    projection: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key | None = None,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b ho wo co"]:
        """Returns the block's features; `key` decides what is dropped in training."""
        y = self.unit(self.features, stride=self.stride, name="conv1")(x, train=train)
        y = _drop(y, dropout, key, whole=False)
        y = self.unit(self.features, activation=None, name="conv2")(y, train=train)
        if x.shape != y.shape and self.projection:
            shortcut = self.unit(
                self.features, 1, stride=self.stride, activation=None, name="shortcut"
            )
            x = shortcut(x, train=train)
        elif x.shape != y.shape:
            extra = self.features - x.shape[-1]
            ends = ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2))
            x = jnp.pad(x[:, :: self.stride, :: self.stride], ends).astype(y.dtype)
        return self.activation(x + _drop(y, drop_path, key, whole=True))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; four times `features` come out.

    Attributes:
        groups: Of the 3x3 convolution (ResNeXt's cardinality).
        width: Channels of the 3x3 convolution for each 64 of `features`, a group.
        stride_first: Whether the stride is on the 1x1 convolution as in the paper, or
            on the 3x3 as in torch, which sees every pixel.
    """

    groups: int = 1
    width: int = 64
    stride_first: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key | None = None,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b ho wo co"]:
        """Returns the block's features; `key` decides what is dropped in training."""
        narrow, wide = self.features * self.width // 64 * self.groups, 4 * self.features
        one, two = (self.stride, 1) if self.stride_first else (1, self.stride)
        y = self.unit(narrow, 1, stride=one, name="conv1")(x, train=train)
        y = self.unit(narrow, stride=two, groups=self.groups, name="conv2")(
            y, train=train
        )
        y = _drop(y, dropout, key, whole=False)
        y = self.unit(wide, 1, activation=None, name="conv3")(y, train=train)
        if x.shape != y.shape:
            shortcut = self.unit(
                wide, 1, stride=self.stride, activation=None, name="shortcut"
            )
            x = shortcut(x, train=train)
        return self.activation(x + _drop(y, drop_path, key, whole=True))


class PreactBlock(Block):
    """Two 3x3 convolutions, each after its norm and activation; nothing after the sum.

    The activation comes before the split where the shortcut is a projection, and in the
    network's first block (the paper's appendix).
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key | None = None,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b ho wo co"]:
        """Returns the block's features; `key` decides what is dropped in training."""
        y = self.activated(x, "norm1", train=train)
        if x.shape[-1] != self.features or self.stride != 1:
            x = self.conv(self.features, 1, stride=self.stride, name="shortcut")(y)
        elif self.first:
            x = y
        y = self.conv(self.features, stride=self.stride, name="conv1")(y)
        y = _drop(self.activated(y, "norm2", train=train), dropout, key, whole=False)
        y = self.conv(self.features, name="conv2")(y)
        return x + _drop(y, drop_path, key, whole=True)


class PreactBottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, each after its norm and activation."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key | None = None,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b ho wo co"]:
        """Returns the block's features; `key` decides what is dropped in training."""
        y = self.activated(x, "norm1", train=train)
        if x.shape[-1] != 4 * self.features or self.stride != 1:
            x = self.conv(4 * self.features, 1, stride=self.stride, name="shortcut")(y)
        elif self.first:
            x = y
        y = self.conv(self.features, 1, name="conv1")(y)
        y = self.activated(y, "norm2", train=train)
        y = self.conv(self.features, stride=self.stride, name="conv2")(y)
        y = _drop(self.activated(y, "norm3", train=train), dropout, key, whole=False)
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        return x + _drop(y, drop_path, key, whole=True)


class ResidualNetwork(nn.Module):
    """A stem, stages of residual blocks, global average pooling, one dense layer.

    Attributes:
        classes: How many logits to return.
        block: Makes a block from `features`, `stride`, `first`, `kernel_init`, `norm`,
            `activation`, `dtype` and `name`.
        depths: Blocks of each stage. The first block of every later stage halves the
            maps.
        widths: The `features` of each stage's blocks.
        stem: How much the stem shrinks the image: 4 (7x7 convolution with stride 2, and
            a pool) for images near 224 pixels, 2 (3x3 convolution and a pool) near 64,
            1 (3x3 convolution) near 32.
        stem_features: Channels of the stem.
        preactivated: Whether norm and activation come before the convolutions: none
            after the stem's, but once more after the last block.
        kernel_init: Draws the convolutions' kernels: by default with variance
            2 / fan_out, as torch does; the last layer is torch's as well.
        norm: Makes the norms, or None (the sums then grow with depth).
        activation: Of every layer.
        dtype: Of the computation.
        scan: Whether the identical blocks of a stage are one loop, which compiles
            faster; parameters and numbers stay the same, and so do the features, which
            are taken without it. On CPU a loop's convolutions have slow gradients.
    """

    classes: int
    block: Callable[..., nn.Module]
    depths: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512)
    stem: int = 4
    stem_features: int = 64
    preactivated: bool = False
    kernel_init: Initializer = kaiming_fan_out
    # By a factory: Flax's bridge takes a layer for a method where the class has an
    # attribute of its name, as it would with the last layer `norm` and a plain default.
    norm: Norm | None = dataclasses.field(default_factory=lambda: BatchNorm)
    activation: Activation = nn.relu
    dtype: Any = jnp.float32
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        *,
        train: bool,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size.
            train: Whether batch norm uses the batch, and rates count.
            drop_path: Probability that an image skips the last block, in [0, 1]; the
                earlier blocks' fall linearly with depth (stochastic depth).
            dropout: Probability that a feature is dropped before the last convolution
                of each block, in [0, 1) (Wide ResNet).

        Raises:
            ValueError: If `stem` is not 1, 2 or 4.
        """
        if self.stem not in (1, 2, 4):
            raise ValueError(f"a residual network's stem is 1, 2 or 4, not {self.stem}")
        x = configured(Unit, self)(
            self.stem_features,
            kernel_size=7 if self.stem == 4 else 3,
            stride=2 if self.stem == 4 else 1,
            norm=None if self.preactivated else self.norm,
            activation=None if self.preactivated else self.activation,
            use_bias=self.norm is None,
            name="conv1",
        )(image, train=train)
        if self.stem > 1:
            x = max_pool(x, 3, stride=2, padding=1)
        x = self._stages(x, train=train, drop_path=drop_path, dropout=dropout)
        if self.preactivated and self.norm is not None:
            x = self.norm(dtype=self.dtype, name="norm")(x, train=train)
        if self.preactivated:
            x = self.activation(x)
        drawn = {"kernel_init": fan_uniform, "bias_init": bias_uniform}
        head = Head(self.classes, **drawn, dtype=self.dtype, name="output")
        return head(global_average(x))

    def _stages(
        self, x: Array, *, train: bool, drop_path: Rate, dropout: Rate
    ) -> Array:
        each: dict[str, Array] = {}  # a row a block
        shared: dict[str, Any] = {"train": train, "scan": self.scan}
        total, done = sum(self.depths), 0
        if train and not (off(drop_path) and off(dropout)):
            each["key"] = jax.random.split(self.make_rng("dropout"), total)
            shared["dropout"] = dropout
            if not off(drop_path):
                each["drop_path"] = linear_decay(drop_path, total)
        block = configured(self.block, self)
        plan = zip(self.depths, self.widths, strict=True)
        for stage, (depth, width) in enumerate(plan):
            names = [f"conv{stage + 2}_{index + 1}" for index in range(depth)]
            stride, first = 2 if stage else 1, stage == 0
            head = block(width, stride, first=first, name=names[0])
            tail = [block(width, name=name) for name in names[1:]]
            for blocks in ([head], tail):
                end = done + len(blocks)
                rows = {name: values[done:end] for name, values in each.items()}
                x, done = chain(blocks, x, rows, **shared), end
        return x


def chain(
    blocks: Sequence[nn.Module],
    x: Float[Array, "b h w c"],
    each: dict[str, Array],
    *,
    scan: bool,
    **shared: Any,
) -> Float[Array, "b ho wo co"]:
    """Applies bound modules one after the other, if asked as one compiled loop.

    The loop stacks the variables that the modules hold anyway, so that nothing but the
    program depends on `scan`. Where intermediates are collected, all of theirs are.

    Args:
        blocks: Modules of the caller; identical but for their names if `scan`.
        x: What the first is called on.
        each: Keyword arguments with a leading axis, a row a block.
        scan: Whether to loop.
        **shared: Keyword arguments that all blocks receive.
    """
    if not scan or len(blocks) < 2 or blocks[0].is_initializing():
        for index, block in enumerate(blocks):
            row = {name: rows[index] for name, rows in each.items()}
            x = block(x, **row, **shared)
        return x
    variables = [block.variables for block in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)
    mutable = [name for name in stacked if blocks[0].is_mutable_collection(name)]
    free = blocks[0].clone(parent=None)
    captured = blocks[0].is_mutable_collection("intermediates")
    if captured:
        mutable.append("intermediates")
    paths: list[tuple[str, ...]] = []  # in the order of the calls, which a scan forgets

    def body(x: Array, inputs: tuple[Any, dict[str, Array]]) -> tuple[Array, Any]:
        x, updated = free.apply(
            inputs[0],
            x,
            **inputs[1],
            **shared,
            mutable=mutable,
            capture_intermediates=captured,
        )
        flat = flatten_dict(updated)
        paths[:] = flat
        return x, list(flat.values())

    x, updated = jax.lax.scan(body, x, (stacked, each))
    for index, block in enumerate(blocks):
        row = jax.tree.map(operator.itemgetter(index), updated)
        own = unflatten_dict(dict(zip(paths, row, strict=True)))
        for collection, values in own.items():
            for name, value in values.items():
                block.put_variable(collection, name, value)
    return x


def _drop(x: Array, rate: Rate, key: Key | None, *, whole: bool) -> Array:
    if key is None or off(rate):
        return x
    drop_here = drop_whole if whole else drop
    return drop_here(x, rate, jax.random.fold_in(key, int(whole)))
