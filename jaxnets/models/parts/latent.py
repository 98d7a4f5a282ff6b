"""What models with a code share: their output, and how a code is drawn.

The noise is an argument of such a model, not something that it draws: it is a
deterministic function of image and noise, in training and in deployment. Whoever calls
it decides how many codes there are of an image, and from which key.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from jaxnets.ops.distributions import Likelihood


class Drawing(NamedTuple):
    """A picture in the making, where a model paints step by step.

    A window is [y0, x0, y1, x1, thickness] in pixels: the centres of the first and last
    filter, where the centre of the first pixel is 0, and the filters' width.
    """

    frames: Float[Array, "*b t h w c"]  # the expected image after each step
    written: Float[Array, "*b t 5"] | None  # the window of each stroke
    read: Float[Array, "*b t 5"] | None  # where it looked before that


class Coded(NamedTuple):
    """What a model makes of `b` images, with `k` codes each.

    Codes have a shape of their own, `*z`; all but the last axis are groups, the steps
    of a drawing say.
    """

    output: Float[Array, "b k h w c"]  # what the likelihood takes
    mean: Float[Array, "b k *z"]  # of the posterior, element by element
    log_scale: Float[Array, "b k *z"]
    code: Float[Array, "b k *z"]  # mean + scale * noise
    drawing: Drawing | None = None  # with axes b, k


class Decoded(NamedTuple):
    """The output of `LatentModel.decode` for given codes."""

    output: Float[Array, "b h w c"]
    drawing: Drawing | None = None


@runtime_checkable
class LatentModel(Protocol):
    """A Flax module `(image, noise, *, train) -> Coded`, where the prior is N(0, I).

    Its method `decode` takes codes `[b, *z]` and returns `Decoded`.
    """

    @property
    def likelihood(self) -> Likelihood:
        """What the output says about pixels."""
        ...

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of one code, `*z`."""
        ...

    def decode(self, code: Any) -> Decoded:
        """Images from codes."""
        ...
