"""LeNet-5, the convolutional network that read cheques.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, https://doi.org/10.1109/5.726791, figure 2.
"""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from jaxnets.models.blocks import Conv


class LeNet5(nn.Module):
    """Two convolutions and three dense layers: 61,706 parameters at 32x32x1.

    Departs from the paper in four places: C3 sees every S2 map (the paper's table I
    connects a subset), pooling has no coefficients, ReLU replaces the scaled tanh, and
    a linear layer replaces the Gaussian connections of the output. Images of 28x28 are
    padded to the 32x32 of the paper.

    Attributes:
        classes: How many logits to return.
        activation: After every layer but the last.
    """

    classes: int = 10
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image. `train` changes nothing in this model.

        Raises:
            ValueError: If the images are smaller than 12 pixels: nothing is left of
                them after two convolutions and two poolings.
        """
        del train
        if min(image.shape[1:3]) < 12:
            raise ValueError(
                f"LeNet-5 needs images of 12x12 pixels or more, not {image.shape[1:3]}"
            )
        border = 2 if image.shape[1] == 28 else 0
        x = Conv(6, 5, padding=border, name="c1")(image)
        x = nn.avg_pool(self.activation(x), (2, 2), strides=(2, 2))
        x = Conv(16, 5, padding=0, name="c3")(x)
        x = nn.avg_pool(self.activation(x), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        x = self.activation(nn.Dense(120, name="c5")(x))
        x = self.activation(nn.Dense(84, name="f6")(x))
        return nn.Dense(self.classes, name="output")(x)


def lenet5(classes: int = 10) -> LeNet5:
    """LeNet-5 for `classes` classes: 61,706 parameters for 10 at 32x32x1."""
    return LeNet5(classes)
