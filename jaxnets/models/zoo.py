"""Every published classifier: a function that takes the number of classes.

    from jaxnets.models.zoo import alexnet, resnet50

`ZOO` maps the names that a command line accepts to these functions. Networks that
generate images take a shape instead: `gan.NETWORKS`, `vae.VAES` and `draw.draw`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from jaxnets.models.alexnet import alexnet, alexnet_2012
from jaxnets.models.convnet import convnet, small_convnet
from jaxnets.models.densenet import (
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_40_12,
    densenet_100_12,
    densenet_bc_100_12,
    densenet_bc_190_40,
    densenet_bc_250_24,
)
from jaxnets.models.fractalnet import fractalnet20, fractalnet40
from jaxnets.models.googlenet import googlenet, googlenet_2014
from jaxnets.models.lenet import lenet5
from jaxnets.models.mlp import mlp
from jaxnets.models.nin import nin
from jaxnets.models.preact_resnet import (
    preact_resnet18,
    preact_resnet20,
    preact_resnet50,
    preact_resnet101,
    preact_resnet110,
    preact_resnet152,
    preact_resnet164,
    preact_resnet200,
    preact_resnet1001,
)
from jaxnets.models.resnet import (
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    resnet1202,
)
from jaxnets.models.resnext import resnext50_32x4d, resnext101_32x8d, resnext101_64x4d
from jaxnets.models.squeezenet import squeezenet1_0, squeezenet1_1
from jaxnets.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from jaxnets.models.whitened import whitened_convnet
from jaxnets.models.wide_resnet import (
    wide_resnet50_2,
    wide_resnet101_2,
    wrn_16_4,
    wrn_16_8,
    wrn_28_10,
    wrn_40_2,
    wrn_40_4,
)

ZOO: dict[str, Callable[[int], nn.Module]] = {
    "mlp": mlp,
    "convnet": convnet,
    "small_convnet": small_convnet,
    "whitened_convnet": whitened_convnet,
    "lenet5": lenet5,
    "alexnet": alexnet,
    "alexnet_2012": alexnet_2012,
    "nin": nin,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg11_bn": vgg11_bn,
    "vgg13_bn": vgg13_bn,
    "vgg16_bn": vgg16_bn,
    "vgg19_bn": vgg19_bn,
    "googlenet": googlenet,
    "googlenet_2014": googlenet_2014,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet1202": resnet1202,
    "preact_resnet18": preact_resnet18,
    "preact_resnet50": preact_resnet50,
    "preact_resnet101": preact_resnet101,
    "preact_resnet152": preact_resnet152,
    "preact_resnet200": preact_resnet200,
    "preact_resnet20": preact_resnet20,
    "preact_resnet110": preact_resnet110,
    "preact_resnet164": preact_resnet164,
    "preact_resnet1001": preact_resnet1001,
    "squeezenet1_0": squeezenet1_0,
    "squeezenet1_1": squeezenet1_1,
    "wrn_16_4": wrn_16_4,
    "wrn_16_8": wrn_16_8,
    "wrn_28_10": wrn_28_10,
    "wrn_40_2": wrn_40_2,
    "wrn_40_4": wrn_40_4,
    "wide_resnet50_2": wide_resnet50_2,
    "wide_resnet101_2": wide_resnet101_2,
    "fractalnet20": fractalnet20,
    "fractalnet40": fractalnet40,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "densenet_40_12": densenet_40_12,
    "densenet_100_12": densenet_100_12,
    "densenet_bc_100_12": densenet_bc_100_12,
    "densenet_bc_190_40": densenet_bc_190_40,
    "densenet_bc_250_24": densenet_bc_250_24,
    "resnext50_32x4d": resnext50_32x4d,
    "resnext101_32x8d": resnext101_32x8d,
    "resnext101_64x4d": resnext101_64x4d,
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
    if isinstance(model, VGG):
        changes["grid"] = min(model.grid, max(1, size // 32))
    return model.clone(**changes)
