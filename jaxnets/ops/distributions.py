"""Densities of images and of codes, in nats, and what they are compared with.

- Kingma & Welling, "Auto-encoding variational Bayes", 2013,
  https://arxiv.org/abs/1312.6114, appendices B (the divergence of two normal
  distributions) and C (Bernoulli and normal images).
- Salimans, Karpathy, Chen & Kingma, "PixelCNN++", 2017,
  https://arxiv.org/abs/1701.05517, section 2.1, equation 2 with one component: the
  discretised logistic.
- Theis, van den Oord & Bethge, "A note on the evaluation of generative models", 2015,
  https://arxiv.org/abs/1511.01844, section 3.1: bytes with uniform noise, so that a
  density may be compared with probabilities.

Pixels are in [0, 1]. A scale is kept as its logarithm, of the standard deviation for a
normal distribution. Log-likelihoods are summed over the pixels of an image.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.types import Scalar

BYTES = 256  # values of a pixel
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_density(
    x: Float[Array, "*shape"],
    mean: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The log-density of each element under its own normal distribution."""
    standard = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * standard**2 - log_scale - _HALF_LOG_TWO_PI


def standard_log_density(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The log-density of each element under N(0, 1)."""
    return -0.5 * x**2 - _HALF_LOG_TWO_PI


def gaussian_kl(
    mean: Float[Array, "*shape"], log_scale: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """KL(N(mean, scale^2) || N(0, 1)) of each element, in closed form (appendix B)."""
    # expm1: the difference of two nearly equal numbers, where both are nearly the same.
    return 0.5 * (mean**2 + jnp.expm1(2 * log_scale)) - log_scale


def sampled_kl(
    code: Float[Array, "*shape"],
    mean: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """An unbiased estimate of the same from one draw: log q(code) - log p(code)."""
    return gaussian_log_density(code, mean, log_scale) - standard_log_density(code)


def reparameterised(
    mean: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
    noise: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The draw that standard normal noise makes; its gradient is that of the path."""
    return mean + jnp.exp(log_scale) * noise


def bernoulli(
    logits: Float[Array, "*b h w c"], image: Float[Array, "*b h w c"]
) -> Float[Array, "*b"]:
    """The log-probability of an image of pixels that are 0 or 1, from logits."""
    each = image * logits - jax.nn.softplus(logits)
    return jnp.sum(each, axis=(-3, -2, -1))


def gaussian(
    output: Float[Array, "*b h w c2"], image: Float[Array, "*b h w c"]
) -> Float[Array, "*b"]:
    """The log-density of an image, from means and log-scales of its channels."""
    mean, log_scale = jnp.split(output, 2, axis=-1)
    return jnp.sum(gaussian_log_density(image, mean, log_scale), axis=(-3, -2, -1))


def discretised_logistic(
    output: Float[Array, "*b h w c2"], image: Float[Array, "*b h w c"]
) -> Float[Array, "*b"]:
    """The log-probability of an image of bytes over 255, from means and log-scales.

    A byte has the logistic's probability of half a byte to either side of it; 0 has all
    of it below as well, and 255 all above. So the 256 of them sum to 1 to the last bit
    of rounding: sigma(a) - sigma(b) is computed as sigma(a) sigma(-b) (1 - e^(b - a)),
    which holds exactly and never cancels.
    """
    mean, log_scale = jnp.split(output, 2, axis=-1)
    sharp, half = jnp.exp(-log_scale), 0.5 / (BYTES - 1)
    above = (image - mean + half) * sharp
    below = (image - mean - half) * sharp
    up_to = jax.nn.log_sigmoid(above)  # log P(at most this byte)
    from_it = jax.nn.log_sigmoid(-below)  # log P(at least this byte)
    inside = up_to + from_it + jnp.log(-jnp.expm1(-2 * half * sharp))
    each = jnp.where(image < half, up_to, jnp.where(image > 1 - half, from_it, inside))
    return jnp.sum(each, axis=(-3, -2, -1))


class Likelihood(NamedTuple):
    """What a decoder's output says about the pixels.

    Attributes:
        name: On the command line.
        outputs: Numbers of the output for each channel of the image.
        log_prob: From output and image to nats per image; those of a density, per unit
            of pixel brightness, where `density` says so.
        mean: From output to the expected image.
        density: Whether it is one; bytes must then be dequantised.
        binary: Whether pixels must be 0 or 1.
    """

    name: str
    outputs: int
    log_prob: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    density: bool
    binary: bool


def _first_half(output: Float[Array, "*b h w c2"]) -> Float[Array, "*b h w c"]:
    return output[..., : output.shape[-1] // 2]


BERNOULLI = Likelihood("bernoulli", 1, bernoulli, jax.nn.sigmoid, False, True)  # noqa: FBT003
GAUSSIAN = Likelihood("gaussian", 2, gaussian, _first_half, True, False)  # noqa: FBT003
LOGISTIC = Likelihood("logistic", 2, discretised_logistic, _first_half, False, False)  # noqa: FBT003
LIKELIHOODS = {kind.name: kind for kind in (BERNOULLI, GAUSSIAN, LOGISTIC)}


def bits_per_dimension(nats: Any, dimensions: int, *, density: bool = False) -> Any:
    """What an image costs in bits for each of its numbers.

    Args:
        nats: Its negative log-likelihood, or a bound of that; an array, or a number.
        dimensions: Numbers in an image, h w c.
        density: Whether it was of dequantised bytes over 256: one byte then takes
            1 / 256 of the unit, which is 8 bits more (Theis et al., section 3.1: an
            upper bound of what the bytes cost).
    """
    bits = nats / (dimensions * math.log(2))
    return bits + math.log2(BYTES) if density else bits


def importance_bound(log_weights: Float[Array, "b k"]) -> Float[Array, " b"]:
    """The log of the mean weight, a lower bound of log p(x): higher with more samples.

    Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519, equation 8.

    Args:
        log_weights: log p(x, z) - log q(z | x) of `k` draws of z from q.
    """
    return jax.nn.logsumexp(log_weights, axis=1) - math.log(log_weights.shape[1])


def streamed_bound(
    log_weights: Callable[[Array], Array], samples: int, chunk: int, rows: int
) -> Float[Array, " b"]:
    """`importance_bound` of any number of samples, in the memory of a chunk.

    Args:
        log_weights: From the numbers of some samples, `[chunk]`, to their log-weights
            `[b, chunk]`. A sample's weight must follow from its number.
        samples: How many there are.
        chunk: How many are computed at once.
        rows: `b`.
    """
    chunk = min(chunk, samples)

    def body(so_far: Array, start: Array) -> tuple[Array, None]:
        number = start + jnp.arange(chunk)
        found = jnp.where(number[None, :] < samples, log_weights(number), -jnp.inf)
        return jnp.logaddexp(so_far, jax.nn.logsumexp(found, axis=1)), None

    begun = jnp.full(rows, -jnp.inf)
    total, _ = jax.lax.scan(body, begun, jnp.arange(0, samples, chunk))
    return total - math.log(samples)


def free(kl: Float[Array, " g"], nats: Scalar | float) -> Float[Array, " g"]:
    """What the divergence of each group costs when `nats` of it are free.

    Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, "Improving variational
    inference with inverse autoregressive flow", 2016, https://arxiv.org/abs/1606.04934,
    appendix C.8: max(lambda, KL), where the KL is the mean over the batch.
    """
    return jnp.maximum(kl, nats)
