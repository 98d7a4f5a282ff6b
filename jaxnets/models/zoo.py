"""Every network that a command line can name. Each is a function of the classes."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from jaxnets.models import (
    alexnet,
    convnet,
    densenet,
    fractalnet,
    googlenet,
    lenet,
    mlp,
    nin,
    preact_resnet,
    resnet,
    resnext,
    squeezenet,
    vgg,
    whitened,
    wide_resnet,
)

ZOO: dict[str, Callable[[int], nn.Module]] = {
    "mlp": mlp.mlp,
    "convnet": convnet.convnet,
    "small_convnet": convnet.small_convnet,
    "whitened_convnet": whitened.whitened_convnet,
    "lenet5": lenet.lenet5,
    "alexnet": alexnet.alexnet,
    "alexnet_2012": alexnet.alexnet_2012,
    "nin": nin.nin,
    "vgg11": vgg.vgg11,
    "vgg13": vgg.vgg13,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "googlenet": googlenet.googlenet,
    "googlenet_2014": googlenet.googlenet_2014,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "resnet20": resnet.resnet20,
    "resnet32": resnet.resnet32,
    "resnet44": resnet.resnet44,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
    "resnet1202": resnet.resnet1202,
    "preact_resnet18": preact_resnet.preact_resnet18,
    "preact_resnet50": preact_resnet.preact_resnet50,
    "preact_resnet101": preact_resnet.preact_resnet101,
    "preact_resnet152": preact_resnet.preact_resnet152,
    "preact_resnet200": preact_resnet.preact_resnet200,
    "preact_resnet20": preact_resnet.preact_resnet20,
    "preact_resnet110": preact_resnet.preact_resnet110,
    "preact_resnet164": preact_resnet.preact_resnet164,
    "preact_resnet1001": preact_resnet.preact_resnet1001,
    "squeezenet1_0": squeezenet.squeezenet1_0,
    "squeezenet1_1": squeezenet.squeezenet1_1,
    "wrn_16_4": wide_resnet.wrn_16_4,
    "wrn_16_8": wide_resnet.wrn_16_8,
    "wrn_28_10": wide_resnet.wrn_28_10,
    "wrn_40_2": wide_resnet.wrn_40_2,
    "wrn_40_4": wide_resnet.wrn_40_4,
    "wide_resnet50_2": wide_resnet.wide_resnet50_2,
    "wide_resnet101_2": wide_resnet.wide_resnet101_2,
    "fractalnet20": fractalnet.fractalnet20,
    "fractalnet40": fractalnet.fractalnet40,
    "densenet121": densenet.densenet121,
    "densenet161": densenet.densenet161,
    "densenet169": densenet.densenet169,
    "densenet201": densenet.densenet201,
    "densenet_40_12": densenet.densenet_40_12,
    "densenet_100_12": densenet.densenet_100_12,
    "densenet_bc_100_12": densenet.densenet_bc_100_12,
    "densenet_bc_190_40": densenet.densenet_bc_190_40,
    "densenet_bc_250_24": densenet.densenet_bc_250_24,
    "resnext50_32x4d": resnext.resnext50_32x4d,
    "resnext101_32x8d": resnext.resnext101_32x8d,
    "resnext101_64x4d": resnext.resnext101_64x4d,
}


def suited(model: nn.Module, size: int) -> nn.Module:
    """`model` for images of `size` x `size` pixels, where it has a choice.

    The stem shrinks the image less, so that 28 pixels or more are left; the grid that
    VGG's dense layers see is no finer than the maps that come.
    """
    changes: dict[str, Any] = {}
    if isinstance(stem := getattr(model, "stem", None), int):
        most = 2 ** max(0, (size // 28).bit_length() - 1)
        changes["stem"] = min(stem, most)
    if isinstance(model, vgg.VGG):
        changes["grid"] = min(model.grid, max(1, size // 32))
    return model.clone(**changes)
