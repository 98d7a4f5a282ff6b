"""The multi-layer perceptron.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
Nature 323, 1986, https://doi.org/10.1038/323533a0. Departure: ReLU and Kaiming's
initialisation instead of the logistic function and small uniform weights; the last
layer's variance is LeCun's 1 / fan_in.
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
    configured,
)
from jaxnets.models.parts.initial import Initializer, kaiming
from jaxnets.models.parts.norms import Norm


class MLP(nn.Module):
    """Dense layers over the flattened input: 535,818 parameters at the defaults, 28x28.

    Attributes:
        classes: How many logits to return.
        widths: Units of each hidden layer; empty for logistic regression.
        norm: Makes the norms after the hidden layers, or None.
        activation: After every hidden layer.
        kernel_init: Draws the hidden layers' weights.
        dtype: Of the computation.
    """

    classes: int = 10
    widths: Sequence[int] = (512, 256)
    norm: Norm | None = None
    activation: Activation = nn.relu
    kernel_init: Initializer = kaiming
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b ..."], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each row.

        Args:
            image: Anything with a batch axis.
            train: Whether batch norm uses the batch, and hidden units are dropped.
            dropout: Probability that a hidden unit is dropped, in [0, 1).
        """
        x = image.reshape(image.shape[0], -1)
        for index, width in enumerate(self.widths, start=1):
            dense = configured(Dense, self)
            x = dense(width, use_bias=self.norm is None, name=f"dense{index}")(x)
            if self.norm is not None:
                x = self.norm(dtype=self.dtype, name=f"norm{index}")(x, train=train)
            x = self.activation(x)
            x = Dropout(name=f"drop{index}")(x, dropout, train=train)
        return Head(self.classes, dtype=self.dtype, name="output")(x)


def mlp(classes: int = 10, **options: Any) -> MLP:
    """Two hidden layers of 512 and 256 units: 535,818 parameters for 10 at 28x28x1.

    `options` are attributes of `MLP`.
    """
    return MLP(classes, **options)
