"""Aggregated residual transformations.

Xie, Girshick, Dollár, Tu & He, "Aggregated residual transformations for deep neural
networks", 2016, https://arxiv.org/abs/1611.05431: figure 3c, table 1. The bottleneck's
3x3 convolution is split into groups, as many as the cardinality.

Initial weights: as torch's reference; see `jaxnets.models.resnet`.
"""

import functools
from typing import Any

from jaxnets.models.parts.residual import Bottleneck, ResidualNetwork


def resnext50_32x4d(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNeXt-50, 32 groups of 4 channels: 25,028,904 parameters for 1000."""
    block = functools.partial(Bottleneck, groups=32, width=4)
    return ResidualNetwork(classes, block, (3, 4, 6, 3), **options)


def resnext101_32x8d(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNeXt-101, 32 groups of 8 channels: 88,791,336 parameters for 1000."""
    block = functools.partial(Bottleneck, groups=32, width=8)
    return ResidualNetwork(classes, block, (3, 4, 23, 3), **options)


def resnext101_64x4d(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNeXt-101, 64 groups of 4 channels: 83,455,272 parameters for 1000."""
    block = functools.partial(Bottleneck, groups=64, width=4)
    return ResidualNetwork(classes, block, (3, 4, 23, 3), **options)
