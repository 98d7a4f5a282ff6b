"""A small member of every family, for what must hold of all of them."""

import pytest

from jaxnets.models.alexnet import AlexNet
from jaxnets.models.convnet import ConvNet
from jaxnets.models.densenet import DenseNet
from jaxnets.models.fractalnet import FractalNet
from jaxnets.models.googlenet import GoogLeNet
from jaxnets.models.lenet import LeNet5
from jaxnets.models.mlp import MLP
from jaxnets.models.nin import NIN
from jaxnets.models.parts.residual import (
    BasicBlock,
    Bottleneck,
    PreactBlock,
    PreactBottleneck,
    ResidualNetwork,
)
from jaxnets.models.squeezenet import SqueezeNet
from jaxnets.models.vgg import VGG
from jaxnets.models.whitened import WhitenedConvNet

# Two kinds of first block, and one after another.
TINY = {"depths": (1, 2), "widths": (8, 16), "stem": 1, "stem_features": 8}

FAMILIES = {
    "mlp": MLP(widths=(12, 8)),
    "convnet": ConvNet(filters=(6, 8), pools=(0, 1)),
    "whitened": WhitenedConvNet(filters=(6, 8), pools=(0,), components=5),
    "lenet": LeNet5(),
    "alexnet": AlexNet(10, (8, 8, 8, 8, 8), (1, 2, 1, 2, 2), stem=1, grid=1, hidden=24),
    "nin": NIN(filters=(8,) * 8),
    "vgg": VGG(10, (1, 1, 2, 1, 1), widths=(8,) * 5, grid=1, hidden=24),
    "googlenet": GoogLeNet(
        10,
        stem=1,
        filters=(8, 8, 8),
        # A pool follows 3b and 4e, an auxiliary classifier 4a and 4d.
        inceptions=tuple((name, (4,) * 6) for name in ("3b", "4a", "4d", "4e")),
    ),
    "resnet": ResidualNetwork(10, BasicBlock, **TINY),
    "bottleneck": ResidualNetwork(10, Bottleneck, **TINY),
    "preact": ResidualNetwork(10, PreactBlock, preactivated=True, **TINY),
    "preact_bottleneck": ResidualNetwork(
        10, PreactBottleneck, preactivated=True, **TINY
    ),
    "squeezenet": SqueezeNet(10, 8, stem=1, squeezes=(4, 4, 8, 8, 8, 8, 8, 8)),
    "fractalnet": FractalNet(10, columns=3, filters=(6, 8)),
    "densenet": DenseNet(10, (2, 2), growth=4, stem_features=8, stem=1),
}

# Pixels of a side, where 16 are not what a test wants.
SIZES = {"lenet": 32, "vgg": 32, "nin": 16, "alexnet": 32}


def rest_as_campaign(names, default):
    """Parameters of a test; those that are not in `default` run as a campaign only."""
    return [
        pytest.param(name, marks=() if name in default else pytest.mark.campaign)
        for name in names
    ]
