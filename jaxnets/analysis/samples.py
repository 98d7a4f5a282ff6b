"""What samples are worth, by the features that a fixed network has of them."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Shaped

from jaxnets.analysis.distances import NEIGHBOURS, quality

Images = Shaped[np.ndarray, "_ h w c"]


LEAST = NEIGHBOURS + 1  # images in each set that `judged` compares


class ImageFeatures(Protocol):
    """What `judged` needs to know of a set of images."""

    @property
    def features(self) -> Float[np.ndarray, "n d"]:
        """Of the last layer but one."""
        ...

    @property
    def shares(self) -> Float[np.ndarray, " classes"]:
        """The share of the images that it takes for each class."""
        ...


def judged(
    look: Callable[[Images], ImageFeatures], fake: Images, test: Images, train: Images
) -> dict[str, dict[str, Any]]:
    """Distances of samples and of training images to the test images, by name.

    The second, `floor`, is what samples as good as the training images would get. It
    is not 0: the sets are finite, and with glyphs the test split has other fonts.

    Args:
        look: Computes the features of images, for example an evaluator.
        fake: Samples, as many as there are test images.
        test: The test images.
        train: Training images; as many of the first as there are test images count.
    """
    sampled, tested, known = look(fake), look(test), look(train[: len(test)])
    shares = sampled.shares
    return {
        "test": quality(tested.features, sampled.features),
        "floor": quality(tested.features, known.features),
        "classes": {"least": shares.min(), "most": shares.max(), "share": shares},
    }
