"""Every network that a command line can name. Each is a function of the classes."""

from collections.abc import Callable

import flax.linen as nn

from jaxnets.models.convnet import convnet
from jaxnets.models.lenet import lenet5
from jaxnets.models.mlp import mlp

ZOO: dict[str, Callable[[int], nn.Module]] = {
    "convnet": convnet,
    "lenet5": lenet5,
    "mlp": mlp,
}
