"""Pre-activation residual networks.

He, Zhang, Ren & Sun, "Identity mappings in deep residual networks", 2016,
https://arxiv.org/abs/1603.05027: figure 4e, tables 2 to 5. Norm and activation come
before each convolution, so that nothing stands between one sum and the next.

Initial weights: Kaiming's normal (the paper's appendix, after He et al., "Delving deep
into rectifiers", 2015, equation 10); of the last layer, of which it says nothing, as in
torch's residual networks, kernels and biases uniform between -1 / sqrt(fan_in) and
that. No norm's scale begins at zero: the paper has none.

Departure: shortcuts between stages are 1x1 convolutions of the activated features in
all variants.
"""

from typing import Any

from jaxnets.models.parts.initial import kaiming
from jaxnets.models.parts.residual import PreactBlock, PreactBottleneck, ResidualNetwork


def cifar_preact_resnet(
    classes: int, blocks: int, *, bottleneck: bool = False, **options: Any
) -> ResidualNetwork:
    """A CIFAR network of 6 (basic) or 9 (bottleneck) `blocks` + 2 layers.

    Args:
        classes: How many logits to return.
        blocks: In each of the three stages.
        bottleneck: Whether blocks are bottlenecks.
        **options: Attributes of `ResidualNetwork`.
    """
    block = PreactBottleneck if bottleneck else PreactBlock
    cifar = {"stem": 1, "stem_features": 16, "widths": (16, 32, 64)}
    options = {"preactivated": True, "kernel_init": kaiming, **cifar, **options}
    return ResidualNetwork(classes, block, (blocks,) * 3, **options)


def preact_resnet20(classes: int = 10, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-20 for CIFAR: 272,282 parameters for 10."""
    return cifar_preact_resnet(classes, 3, **options)


def preact_resnet110(classes: int = 10, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-110 for CIFAR: 1,730,522 parameters for 10."""
    return cifar_preact_resnet(classes, 18, **options)


def preact_resnet164(classes: int = 10, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-164 for CIFAR: 1,703,258 parameters for 10."""
    return cifar_preact_resnet(classes, 18, bottleneck=True, **options)


def preact_resnet1001(classes: int = 10, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-1001 for CIFAR: 10,327,706 parameters for 10."""
    return cifar_preact_resnet(classes, 111, bottleneck=True, **options)


def preact_resnet18(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-18: 11,687,720 parameters for 1000 classes."""
    options = {"preactivated": True, "kernel_init": kaiming, **options}
    return ResidualNetwork(classes, PreactBlock, (2, 2, 2, 2), **options)


def preact_resnet50(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-50: 25,549,352 parameters for 1000 classes."""
    options = {"preactivated": True, "kernel_init": kaiming, **options}
    return ResidualNetwork(classes, PreactBottleneck, (3, 4, 6, 3), **options)


def preact_resnet101(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-101: 44,541,480 parameters for 1000 classes."""
    options = {"preactivated": True, "kernel_init": kaiming, **options}
    return ResidualNetwork(classes, PreactBottleneck, (3, 4, 23, 3), **options)


def preact_resnet152(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-152: 60,185,128 parameters for 1000 classes."""
    options = {"preactivated": True, "kernel_init": kaiming, **options}
    return ResidualNetwork(classes, PreactBottleneck, (3, 8, 36, 3), **options)


def preact_resnet200(classes: int = 1000, **options: Any) -> ResidualNetwork:
    """Pre-activation ResNet-200: 64,666,152 parameters for 1000 classes."""
    options = {"preactivated": True, "kernel_init": kaiming, **options}
    return ResidualNetwork(classes, PreactBottleneck, (3, 24, 36, 3), **options)
