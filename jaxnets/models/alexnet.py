"""AlexNet, in the two forms that go by its name.

- `alexnet`, one tower: Krizhevsky, "One weird trick for parallelizing convolutional
  neural networks", 2014, https://arxiv.org/abs/1404.5997, as torch has it.
- `alexnet_2012`, two towers: Krizhevsky, Sutskever & Hinton, "ImageNet classification
  with deep convolutional neural networks", 2012,
  https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks,
  figure 2. The towers are groups of channels; local response norm follows `conv1` and
  `conv2`.

Initial weights: `alexnet_2012` draws the paper's (section 5), all kernels normal with
deviation 0.01, biases of 1 in conv2, conv4, conv5, fc6 and fc7 and of 0 elsewhere; for
`alexnet`, of which its paper says nothing, torch draws kernels and biases uniformly
between -1 / sqrt(fan_in) and that.

Departures: images of 224 pixels are padded by 2, with which the paper's 55x55 maps come
out. Other sizes are averaged to the 6x6 grid that `fc6` expects.
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
    Rate,
    Unit,
    configured,
    flatten,
)
from jaxnets.models.parts.initial import (
    BiasInitializer,
    Initializer,
    bias_uniform,
    constant,
    fan_uniform,
    scaled_normal,
    zeros,
)
from jaxnets.models.parts.norms import Norm
from jaxnets.ops.norm import local_response_norm
from jaxnets.ops.pool import adaptive_avg_pool, max_pool


class AlexNet(nn.Module):
    """Five convolutions and three dense layers.

    Attributes:
        classes: How many logits to return.
        filters: Channels of each convolution.
        groups: Groups of each convolution.
        local_response: Whether `conv1` and `conv2` end in local response norm.
        stem: How much `conv1` and the pool after it shrink the image: 8 (11x11 with
            stride 4, pool) for images near 224 pixels; 4, 2 (5x5 with stride 2 or 1,
            pool), 1 (5x5, no pool) for smaller ones.
        grid: Side of the grid that `fc6` sees.
        hidden: Units of `fc6` and `fc7`.
        ones: Names of the layers whose biases are 1 at first.
        kernel_init: Draws the kernels.
        bias_init: Draws the other biases.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer but the last.
        dtype: Of the computation.
    """

    classes: int = 1000
    filters: Sequence[int] = (64, 192, 384, 256, 256)
    groups: Sequence[int] = (1, 1, 1, 1, 1)
    local_response: bool = False
    stem: int = 8
    grid: int = 6
    hidden: int = 4096
    ones: Sequence[str] = ()
    kernel_init: Initializer = fan_uniform
    bias_init: BiasInitializer = bias_uniform
    norm: Norm | None = None
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: 63x63 pixels or more, or a smaller `stem`.
            train: Whether batch norm uses the batch, and features are dropped.
            dropout: Probability that an input of `fc6` or `fc7` is dropped, in [0, 1);
                the paper's is 0.5.

        Raises:
            ValueError: If `stem` is not 1, 2, 4 or 8, or the pools leave nothing.
        """
        if self.stem not in (1, 2, 4, 8):
            raise ValueError(f"AlexNet's stem is 1, 2, 4 or 8, not {self.stem}")
        kernels = (11 if self.stem == 8 else 5, 5, 3, 3, 3)
        strides = (max(1, self.stem // 2), 1, 1, 1, 1)
        pools = {1: self.stem > 1, 2: True, 5: True}
        unit, dense = configured(Unit, self), configured(Dense, self)
        x = image
        plan = zip(self.filters, kernels, strides, self.groups, strict=True)
        for layer, (features, kernel, stride, groups) in enumerate(plan, start=1):
            x = unit(
                features,
                kernel,
                stride=stride,
                padding=min(2, kernel // 2),
                groups=groups,
                **self._biases(f"conv{layer}"),
                name=f"conv{layer}",
            )(x, train=train)
            if self.local_response and layer <= 2:
                x = local_response_norm(x)
            if pools.get(layer):
                x = max_pool(x, 3, stride=2)
        x = flatten(adaptive_avg_pool(x, self.grid))
        for name in ("fc6", "fc7"):
            x = Dropout(name=f"drop{name[-1]}")(x, dropout, train=train)
            x = self.activation(dense(self.hidden, **self._biases(name), name=name)(x))
        head = configured(Head, self)
        return head(self.classes, **self._biases("fc8"), name="fc8")(x)

    def _biases(self, layer: str) -> dict[str, BiasInitializer]:
        return {"bias_init": constant(1.0)} if layer in self.ones else {}


def alexnet(classes: int = 1000, **options: Any) -> AlexNet:
    """AlexNet in one tower: 61,100,840 parameters for 1000 classes.

    `options` are attributes of `AlexNet`.
    """
    return AlexNet(classes, **options)


def alexnet_2012(classes: int = 1000, **options: Any) -> AlexNet:
    """AlexNet in two towers: 60,965,224 parameters for 1000 classes.

    `options` are attributes of `AlexNet`.
    """
    paper = {
        "filters": (96, 256, 384, 384, 256),
        "groups": (1, 2, 1, 2, 2),
        "local_response": True,
        "ones": ("conv2", "conv4", "conv5", "fc6", "fc7"),
        "kernel_init": scaled_normal(0.01),
        "bias_init": zeros,
    }
    return AlexNet(classes, **{**paper, **options})
