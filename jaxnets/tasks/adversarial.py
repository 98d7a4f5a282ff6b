"""What two networks play for: the losses of generative adversarial networks.

A discriminator gives each image a number, large for real; a generator makes images that
get large numbers. Every loss is a mean over rows of functions of those numbers:

- minimax and non-saturating: Goodfellow et al., "Generative adversarial nets", 2014,
  https://arxiv.org/abs/1406.2661, equation 1 and the end of section 3. The number is
  the logit of "real".
- least squares: Mao et al., "Least squares generative adversarial networks", 2016,
  https://arxiv.org/abs/1611.04076, equation 9: targets 1, 0 and, of the generator, 1.
- hinge: Lim & Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894, equation 12;
  Miyato et al., 2018, https://arxiv.org/abs/1802.05957, equations 16 and 17.
- Wasserstein: Arjovsky, Chintala & Bottou, "Wasserstein GAN", 2017,
  https://arxiv.org/abs/1701.07875, equations 2 and 4.

Two penalties on the gradient of the number by the image go with them:

- R1: Mescheder, Geiger & Nowozin, "Which training methods for GANs do actually
  converge?", 2018, https://arxiv.org/abs/1801.04406, equation 9.
- gradient penalty: Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville, "Improved training
  of Wasserstein GANs", 2017, https://arxiv.org/abs/1704.00028, equation 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.types import Key

Scores: TypeAlias = Float[Array, " b"]
Critic: TypeAlias = Callable[[Float[Array, "b ..."]], Scores]

_TINY = 1e-12  # under the root, whose slope at 0 is infinite


class Stakes(NamedTuple):
    """What each player loses on a row.

    Attributes:
        real: The discriminator, on what it says of a real image.
        fake: The discriminator, on what it says of a sample.
        sample: The generator, on what the discriminator says of a sample.
        middle: Between what is taken for a sample and what for real; None where only
            differences have a meaning.
    """

    real: Callable[[Scores], Scores]
    fake: Callable[[Scores], Scores]
    sample: Callable[[Scores], Scores]
    middle: float | None = 0.0


MINIMAX = Stakes(
    real=lambda score: jax.nn.softplus(-score),  # -log D
    fake=jax.nn.softplus,  # -log(1 - D)
    sample=lambda score: -jax.nn.softplus(score),  # log(1 - D): flat where D is sure
)
NON_SATURATING = MINIMAX._replace(sample=lambda score: jax.nn.softplus(-score))
LEAST_SQUARES = Stakes(
    real=lambda score: 0.5 * (score - 1) ** 2,
    fake=lambda score: 0.5 * score**2,
    sample=lambda score: 0.5 * (score - 1) ** 2,
    middle=0.5,
)
HINGE = Stakes(
    real=lambda score: jax.nn.relu(1 - score),
    fake=lambda score: jax.nn.relu(1 + score),
    sample=lambda score: -score,
)
WASSERSTEIN = Stakes(
    real=lambda score: -score,
    fake=lambda score: score,
    sample=lambda score: -score,
    middle=None,
)
LOSSES: dict[str, Stakes] = {
    "minimax": MINIMAX,
    "non_saturating": NON_SATURATING,
    "least_squares": LEAST_SQUARES,
    "hinge": HINGE,
    "wasserstein": WASSERSTEIN,
}


class Penalty(NamedTuple):
    """What the discriminator pays for its slope, beside its loss.

    Attributes:
        rows: From a critic, real rows, samples and a key to one number a row. The
            critic must judge each row alone: no batch norm.
        weight: The hyperparameter that it is multiplied by.
    """

    rows: Callable[[Critic, Any, Any, Key], Scores]
    weight: str


def slopes(critic: Critic, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """The gradient of each row's score by that row."""
    return jax.grad(lambda x: jnp.sum(critic(x)))(x)


def r1(
    critic: Critic, real: Float[Array, "b ..."], fake: Any = None, key: Any = None
) -> Scores:
    """Half the squared slope at each real row."""
    del fake, key
    return 0.5 * _squares(slopes(critic, real))


def gradient_penalty(
    critic: Critic, real: Float[Array, "b ..."], fake: Float[Array, "b ..."], key: Key
) -> Scores:
    """How far the length of the slope is from 1, squared, at a point between rows.

    The point is drawn evenly from the line between a real row and a sample.
    """
    shape = (len(real), *(1 for _ in real.shape[1:]))
    share = jax.random.uniform(key, shape, real.dtype)
    between = share * real + (1 - share) * fake
    return (jnp.sqrt(_squares(slopes(critic, between)) + _TINY) - 1) ** 2


R1 = Penalty(r1, "r1")
GRADIENT_PENALTY = Penalty(gradient_penalty, "gradient_penalty")
PENALTIES: dict[str, Penalty | None] = {
    "none": None,
    "r1": R1,
    "gradient_penalty": GRADIENT_PENALTY,
}


def _squares(rows: Array) -> Scores:
    return jnp.sum(rows.reshape(len(rows), -1) ** 2, axis=1)
