"""Wide residual networks.

Zagoruyko & Komodakis, "Wide residual networks", 2016, https://arxiv.org/abs/1605.07146:
table 1 for CIFAR, where WRN-28-10 has 28 layers and 10 times the channels, dropout
between the convolutions of a block (figure 1d); table 8 for ImageNet.

Initial weights: the CIFAR networks draw Kaiming's normal, as their authors' code does,
those for ImageNet what torch's reference draws; see `jaxnets.models.resnet`.
"""

import functools
from typing import Any

from jaxnets.models.parts.initial import kaiming
from jaxnets.models.parts.residual import Bottleneck, PreactBlock, ResidualNetwork


def wrn(classes: int, depth: int, widen: int, **options: Any) -> ResidualNetwork:
    """A CIFAR network of `depth` layers and `widen` times the channels of a ResNet.

    Args:
        classes: How many logits to return.
        depth: Convolutions on the longest path, 6 n + 4 (the shortcuts' counted, as the
            paper does).
        widen: The paper's k.
        **options: Attributes of `ResidualNetwork`.

    Raises:
        ValueError: If `depth` is not 6 n + 4.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"a wide ResNet has 10, 16, 22, ... layers, not {depth}")
    widths = (16 * widen, 32 * widen, 64 * widen)
    cifar = {"stem": 1, "stem_features": 16, "widths": widths}
    options = {"preactivated": True, "kernel_init": kaiming, **cifar, **options}
    return ResidualNetwork(classes, PreactBlock, ((depth - 4) // 6,) * 3, **options)


def wrn_16_4(classes: int = 10, **options: Any) -> ResidualNetwork:
    """WRN-16-4: 2,748,890 parameters for 10 classes."""
    return wrn(classes, 16, 4, **options)


def wrn_16_8(classes: int = 10, **options: Any) -> ResidualNetwork:
    """WRN-16-8: 10,961,370 parameters for 10 classes."""
    return wrn(classes, 16, 8, **options)


def wrn_28_10(classes: int = 10, **options: Any) -> ResidualNetwork:
    """WRN-28-10: 36,479,194 parameters for 10 classes."""
    return wrn(classes, 28, 10, **options)


def wrn_40_2(classes: int = 10, **options: Any) -> ResidualNetwork:
    """WRN-40-2: 2,243,546 parameters for 10 classes."""
    return wrn(classes, 40, 2, **options)


def wrn_40_4(classes: int = 10, **options: Any) -> ResidualNetwork:
    """WRN-40-4: 8,949,210 parameters for 10 classes."""
    return wrn(classes, 40, 4, **options)


def wide_resnet50_2(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """WRN-50-2-bottleneck: 68,883,240 parameters for 1000 classes.

    A ResNet-50 whose 3x3 convolutions have twice the channels.
    """
    block = functools.partial(Bottleneck, width=128)
    return ResidualNetwork(classes, block, (3, 4, 6, 3), **options)


def wide_resnet101_2(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """WRN-101-2-bottleneck: 126,886,696 parameters for 1000 classes.

    A ResNet-101 whose 3x3 convolutions have twice the channels.
    """
    block = functools.partial(Bottleneck, width=128)
    return ResidualNetwork(classes, block, (3, 4, 23, 3), **options)
