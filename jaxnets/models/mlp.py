"""The multi-layer perceptron.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
Nature 323, 1986, https://doi.org/10.1038/323533a0. Departure: ReLU and Kaiming's
initialisation instead of the logistic function and small uniform weights.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
from jaxtyping import Array, Float

from jaxnets.models.blocks import kaiming
from jaxnets.ops.dropout import dropout as drop
from jaxnets.types import Scalar


class MLP(nn.Module):
    """Dense layers over the flattened input: 535,818 parameters at the defaults, 28x28.

    Attributes:
        classes: How many logits to return.
        widths: Units of each hidden layer; empty for logistic regression.
        activation: After every hidden layer.
    """

    classes: int = 10
    widths: Sequence[int] = (512, 256)
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b ..."],
        *,
        train: bool,
        dropout: Scalar | float = 0,
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each row.

        Args:
            image: Anything with a batch axis.
            train: Whether hidden units are dropped.
            dropout: Probability that a hidden unit is dropped, in [0, 1).
        """
        x = image.reshape(image.shape[0], -1)
        for index, width in enumerate(self.widths, start=1):
            x = nn.Dense(width, kernel_init=kaiming, name=f"dense{index}")(x)
            x = self.activation(x)
            if train:
                x = drop(x, dropout, self.make_rng("dropout"))
        return nn.Dense(self.classes, name="output")(x)


def mlp(classes: int = 10) -> MLP:
    """Two hidden layers of 512 and 256 units: 535,818 parameters for 10 at 28x28x1."""
    return MLP(classes)
