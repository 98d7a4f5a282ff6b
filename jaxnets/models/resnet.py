"""Residual networks.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015,
https://arxiv.org/abs/1512.03385: table 1 for ImageNet, section 4.2 for CIFAR. Layers
have the names of table 1: the third block of stage conv4_x is `conv4_3`.

Initial weights: the CIFAR networks draw Kaiming's normal (section 3.4, after He et al.,
"Delving deep into rectifiers", 2015, equation 10), those for ImageNet the form of it
that torch's reference has, variance 2 / fan_out (equation 14 there). The last layer of
all is torch's: kernels and biases uniform between -1 / sqrt(fan_in) and that. No norm's
scale begins at zero: that came later (Goyal et al., 2017).

Departure: the stride of a bottleneck is on its 3x3 convolution, as in torch; the
paper's place is `resnet50().clone(block=partial(Bottleneck, stride_first=True))`. With
`drop_path=0.5` in training, `resnet110` is Huang et al.'s network with stochastic depth
(2016, https://arxiv.org/abs/1603.09382).
"""

import functools
from typing import Any

from jaxnets.models.parts.initial import kaiming
from jaxnets.models.parts.residual import BasicBlock, Bottleneck, ResidualNetwork


def resnet18(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNet-18: 11,689,512 parameters for 1000 classes.

    `options`, here and below, are attributes of `ResidualNetwork`.
    """
    return ResidualNetwork(classes, BasicBlock, (2, 2, 2, 2), **options)


def resnet34(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNet-34: 21,797,672 parameters for 1000 classes."""
    return ResidualNetwork(classes, BasicBlock, (3, 4, 6, 3), **options)


def resnet50(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNet-50: 25,557,032 parameters for 1000 classes."""
    return ResidualNetwork(classes, Bottleneck, (3, 4, 6, 3), **options)


def resnet101(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNet-101: 44,549,160 parameters for 1000 classes."""
    return ResidualNetwork(classes, Bottleneck, (3, 4, 23, 3), **options)


def resnet152(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """ResNet-152: 60,192,808 parameters for 1000 classes."""
    return ResidualNetwork(classes, Bottleneck, (3, 8, 36, 3), **options)


def cifar_resnet(
    classes: int, blocks: int, *, projection: bool = False, **options: Any
) -> ResidualNetwork:
    """A CIFAR ResNet of 6 `blocks` + 2 layers: 3 stages of 16, 32 and 64 channels.

    Args:
        classes: How many logits to return.
        blocks: In each stage.
        projection: Whether the two shortcuts between stages are 1x1 convolutions (the
            paper's option B: 2,752 parameters more), or have none (option A).
        **options: Attributes of `ResidualNetwork`.
    """
    block = functools.partial(BasicBlock, projection=projection)
    cifar = {"stem": 1, "stem_features": 16, "widths": (16, 32, 64)}
    options = {"kernel_init": kaiming, **cifar, **options}
    return ResidualNetwork(classes, block, (blocks,) * 3, **options)


def resnet20(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-20 for CIFAR: 269,722 parameters for 10 classes."""
    return cifar_resnet(classes, 3, **options)


def resnet32(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-32 for CIFAR: 464,154 parameters for 10 classes."""
    return cifar_resnet(classes, 5, **options)


def resnet44(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-44 for CIFAR: 658,586 parameters for 10 classes."""
    return cifar_resnet(classes, 7, **options)


def resnet56(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-56 for CIFAR: 853,018 parameters for 10 classes."""
    return cifar_resnet(classes, 9, **options)


def resnet110(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-110 for CIFAR: 1,727,962 parameters for 10 classes."""
    return cifar_resnet(classes, 18, **options)


def resnet1202(classes: int = 10, **options: Any) -> ResidualNetwork:
    """ResNet-1202 for CIFAR: 19,421,274 parameters for 10 classes."""
    return cifar_resnet(classes, 200, **options)
