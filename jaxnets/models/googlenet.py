"""GoogLeNet: convolutions of several sizes side by side.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich, "Going
deeper with convolutions", 2014, https://arxiv.org/abs/1409.4842, table 1 and section 5.

- `googlenet` is torch's form: batch norm after every convolution, 3x3 where the paper
  says 5x5, a 2x2 `pool4`.
- `googlenet_2014` is the paper's: 5x5 convolutions, local response norm, no batch norm.

Initial weights: `googlenet` as torch's reference, all kernels normal with deviation
0.01 (truncated at 200 deviations there), biases of dense layers uniform between
-1 / sqrt(fan_in) and that. The paper says nothing, and without batch norm those fade
away within 22 layers: `googlenet_2014` draws kernels by Xavier's rule and biases of
0.2, of 0 in the layers that give logits, as the Caffe model zoo's GoogLeNet does (by a
form of the rule that knows fan_in only).

Departures of both: the auxiliary classifiers average over a 4x4 grid of cells (the
paper: 5x5 windows with stride 3, the same grid at 224 pixels); the constants of local
response norm, which the paper does not give, are AlexNet's.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dense,
    Dropout,
    Head,
    Logits,
    Rate,
    Unit,
    configured,
    flatten,
    global_average,
)
from jaxnets.models.parts.initial import (
    BiasInitializer,
    Initializer,
    bias_uniform,
    constant,
    scaled_normal,
    xavier,
    zeros,
)
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.norm import local_response_norm
from jaxnets.ops.pool import adaptive_avg_pool, max_pool

# Table 1: channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTIONS = (
    ("3a", (64, 96, 128, 16, 32, 32)),
    ("3b", (128, 128, 192, 32, 96, 64)),
    ("4a", (192, 96, 208, 16, 48, 64)),
    ("4b", (160, 112, 224, 24, 64, 64)),
    ("4c", (128, 128, 256, 24, 64, 64)),
    ("4d", (112, 144, 288, 32, 64, 64)),
    ("4e", (256, 160, 320, 32, 128, 128)),
    ("5a", (256, 160, 320, 32, 128, 128)),
    ("5b", (384, 192, 384, 48, 128, 128)),
)


def torch_batch_norm(**options: Any) -> BatchNorm:
    """Batch norm with the epsilon of torch's GoogLeNet, 0.001."""
    return BatchNorm(epsilon=1e-3, **options)


class Inception(nn.Module):
    """Four branches over the same maps, concatenated (figure 2b).

    Attributes:
        filters: Channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
        largest: Side of the branch that the paper calls 5x5.
        kernel_init: Draws the kernels.
        bias_init: Draws the biases, where there are any.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    filters: Sequence[int]
    largest: int = 3
    kernel_init: Initializer = scaled_normal(0.01)
    bias_init: BiasInitializer = zeros
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h w co"]:
        """Returns the four branches, one after the other in the channels."""

        def unit(x: Array, features: int, side: int, name: str) -> Array:
            return configured(Unit, self)(features, side, name=name)(x, train=train)

        one, reduce3, three, reduce5, five, pool = self.filters
        branches = [
            unit(x, one, 1, "conv1x1"),
            unit(unit(x, reduce3, 1, "reduce3x3"), three, 3, "conv3x3"),
            unit(unit(x, reduce5, 1, "reduce5x5"), five, self.largest, "conv5x5"),
            unit(max_pool(x, 3, stride=1, padding=1), pool, 1, "pool_proj"),
        ]
        return jnp.concatenate(branches, axis=-1)


class AuxiliaryClassifier(nn.Module):
    """A small classifier on the maps in the middle: it lends them gradient.

    Attributes:
        classes: How many logits to return.
        kernel_init: Draws the kernels.
        bias_init: Draws the biases of all layers but the last.
        last_bias: Draws those of the last.
        norm: Makes the norm after the convolution, or None.
        activation: Of every layer but the last.
        dtype: Of the computation.
    """

    classes: int
    kernel_init: Initializer = scaled_normal(0.01)
    bias_init: BiasInitializer = zeros
    last_bias: BiasInitializer = zeros
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image."""
        unit = configured(Unit, self)(128, 1, name="conv")
        x = flatten(unit(adaptive_avg_pool(x, 4), train=train))
        x = self.activation(configured(Dense, self)(1024, name="fc1")(x))
        x = Dropout(name="drop")(x, dropout, train=train)
        head = configured(Head, self)
        return head(self.classes, bias_init=self.last_bias, name="fc2")(x)


class GoogLeNet(nn.Module):
    """Three convolutions, nine inception modules, one dense layer.

    Attributes:
        classes: How many logits to return.
        auxiliary: Whether there are classifiers on `inception4a` and `inception4d`. The
            call then returns `Logits` in training; weigh the auxiliary losses by 0.3.
        paper: Whether inceptions have a 5x5 branch, `pool4` is 3x3, and local response
            norm follows the first two stages, as in the paper.
        stem: How much the image shrinks before `inception3a`: 8 (as published) for
            images near 224 pixels; 4, 2 and 1 leave out the stride of `conv1`, then
            the pools, for images near 128, 64 and 32.
        rescale: Whether colours that were normalised with ImageNet's means and
            deviations are first brought to [-1, 1]: torch's published weights want it.
        filters: Channels of `conv1`, `conv2_reduce` and `conv2`.
        inceptions: The modules' names and channels; pools follow 3b and 4e, auxiliary
            classifiers 4a and 4d.
        kernel_init: Draws the kernels.
        bias_init: Draws the biases of all layers but those that give logits.
        last_bias: Draws theirs.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer but the last.
        dtype: Of the computation.
    """

    classes: int = 1000
    auxiliary: bool = False
    paper: bool = False
    stem: int = 8
    rescale: bool = False
    filters: Sequence[int] = (64, 64, 192)
    inceptions: Sequence[tuple[str, Sequence[int]]] = INCEPTIONS
    kernel_init: Initializer = scaled_normal(0.01)
    bias_init: BiasInitializer = bias_uniform
    last_bias: BiasInitializer = bias_uniform
    norm: Norm | None = torch_batch_norm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        *,
        train: bool,
        dropout: Rate = 0,
        auxiliary_dropout: Rate = 0,
    ) -> Float[Array, "b classes"] | Logits:
        """Returns the logits of each image, in training with the auxiliary ones.

        Args:
            image: Any size.
            train: Whether batch norm uses the batch, features are dropped, and the
                auxiliary classifiers run.
            dropout: Probability that an averaged feature is dropped, in [0, 1); the
                paper's is 0.4.
            auxiliary_dropout: The same inside the auxiliary classifiers; 0.7.

        Raises:
            ValueError: If `stem` is not 1, 2, 4 or 8.
        """
        x = self._stem(_rescaled(image) if self.rescale else image, train=train)
        auxiliary = []
        for name, filters in self.inceptions:
            side = 5 if self.paper else 3
            inception = configured(Inception, self)
            x = inception(filters, side, name=f"inception{name}")(x, train=train)
            if name == "3b":
                x = max_pool(x, 3, stride=2, ceil=True)
            if name == "4e":
                x = max_pool(x, 3 if self.paper else 2, stride=2, ceil=True)
            runs = self.auxiliary and (train or self.is_initializing())
            if name in ("4a", "4d") and runs:
                head = configured(AuxiliaryClassifier, self)(
                    self.classes,
                    last_bias=self.last_bias,
                    name=f"aux{len(auxiliary) + 1}",
                )
                auxiliary.append(head(x, train=train, dropout=auxiliary_dropout))
        x = Dropout(name="drop")(global_average(x), dropout, train=train)
        last = configured(Head, self)
        logits = last(self.classes, bias_init=self.last_bias, name="output")(x)
        return Logits(logits, tuple(auxiliary)) if train and auxiliary else logits

    def _stem(self, x: Array, *, train: bool) -> Array:
        if self.stem not in (1, 2, 4, 8):
            raise ValueError(f"GoogLeNet's stem is 1, 2, 4 or 8, not {self.stem}")
        one, reduce, two = self.filters
        side, stride = (7, 2) if self.stem == 8 else (3, 1)
        unit = configured(Unit, self)
        x = unit(one, side, stride=stride, name="conv1")(x, train=train)
        if self.stem > 2:
            x = max_pool(x, 3, stride=2, ceil=True)
        if self.paper:
            x = local_response_norm(x)
        x = unit(reduce, 1, name="conv2_reduce")(x, train=train)
        x = unit(two, 3, name="conv2")(x, train=train)
        if self.paper:
            x = local_response_norm(x)
        return max_pool(x, 3, stride=2, ceil=True) if self.stem > 1 else x


def _rescaled(image: Array) -> Array:
    mean = jnp.asarray([0.485, 0.456, 0.406], image.dtype)[None, None, None, :]
    deviation = jnp.asarray([0.229, 0.224, 0.225], image.dtype)[None, None, None, :]
    return (image * deviation + mean - 0.5) / 0.5


def googlenet(classes: int = 1000, **options: Any) -> GoogLeNet:
    """GoogLeNet as torch has it: 6,624,904 parameters for 1000 classes.

    `options` are attributes of `GoogLeNet`: `auxiliary=True` makes it 13,004,888, and
    torch's published weights are for `auxiliary=True, rescale=True`.
    """
    return GoogLeNet(classes, **options)


def googlenet_2014(classes: int = 1000, **options: Any) -> GoogLeNet:
    """The paper's GoogLeNet: 6,998,552 parameters for 1000 classes.

    `options` are attributes of `GoogLeNet`: `auxiliary=True` makes it 13,378,280.
    """
    paper = {
        "paper": True,
        "kernel_init": xavier,
        "bias_init": constant(0.2),
        "last_bias": zeros,
        "norm": None,
    }
    return GoogLeNet(classes, **{**paper, **options})
