"""Likelihood by a bound: variational autoencoders, whatever they look like inside.

- Kingma & Welling, "Auto-encoding variational Bayes", 2013,
  https://arxiv.org/abs/1312.6114, equations 3, 7 and 10: the evidence lower bound.
- Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2015,
  https://arxiv.org/abs/1509.00519, equation 8: the bound of `k` samples.
- Higgins et al., "beta-VAE", 2017, https://openreview.net/forum?id=Sy2fzU9gl, equation
  4: beta times the divergence.
"""

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from jaxnets.metrics import Mean, Metrics, mean
from jaxnets.models import functional
from jaxnets.models.parts.latent import Coded, Drawing, LatentModel
from jaxnets.ops.distributions import (
    bits_per_dimension,
    free,
    gaussian_kl,
    importance_bound,
    sampled_kl,
    streamed_bound,
)
from jaxnets.tasks.base import Task, Trivial
from jaxnets.tasks.hyper import Reads
from jaxnets.types import CodeBatch, ImageBatch, Key, Scalar, Variables

# Nats of each number of the code, on average: a posterior mean whose variance over the
# data is 0.01, where Burda et al., section 5, draw the line, is worth half of that.
COLLAPSED = 0.01

_ODD = np.uint32(2654435761)  # Knuth's: 2^32 over the golden ratio

Divergence: TypeAlias = Literal["closed", "sampled"]


class Judged(NamedTuple):
    """What a model makes of images, a row each."""

    image: Float[Array, "b h w c"]  # expected, of a code that is the posterior's mean
    code: Float[Array, " b *z"]  # that code
    elbo: Float[Array, " b"]  # nats, of one draw
    reconstruction: Float[Array, " b"]  # its part log p(x | z)
    kl: Float[Array, " b"]  # its other part
    bound: Float[Array, " b"]  # nats, of many draws
    drawing: Drawing | None  # of the code above


class Imagined(NamedTuple):
    """What a model makes of codes, a row each."""

    image: Float[Array, "b h w c"]  # expected
    drawing: Drawing | None


def variational(
    model: nn.Module,
    *,
    samples: int = 1,
    divergence: Divergence = "closed",
    bound_samples: int = 1,
    chunk: int = 50,
) -> Task:
    """The negative evidence lower bound, in nats per image.

    With one sample `loss` is -log p(x | z) + `hyper.beta` KL(q(z | x) || p(z)), where
    `hyper.free_nats` of each group's mean divergence are free (see
    `distributions.free`): a group is one number of a flat code, or one step of a code
    that has steps. With more samples it is the importance-weighted bound, in which the
    divergence is sampled, times `hyper.beta` as well; nothing is free there.

    Whatever it was trained with, `evaluate` reports the bound itself, beta 1 and
    nothing free, of one draw: `loss`, its parts `reconstruction` and `kl`, and
    `bits_per_dimension`. An image's noise follows from the key and from its own pixels,
    so that how images are batched changes nothing.

    `predict` returns `Judged` for images, with the bound of `bound_samples` draws, and
    for a `CodeBatch` what its codes decode to, `Imagined`.

    Args:
        model: A `LatentModel`: image and noise in, `Coded` out; it knows its
            likelihood. The prior is N(0, I).
        samples: Codes of each image in training.
        divergence: In closed form, where the posterior of each group is normal given
            those before it; or estimated from the sample that there is.
        bound_samples: Draws of the bound in `predict`.
        chunk: How many of them are computed at once.

    Raises:
        ValueError: If `model` is no `LatentModel`.
    """
    if not isinstance(model, LatentModel):
        raise ValueError(f"{type(model).__name__} is no LatentModel")
    likelihood, shape = model.likelihood, model.code_shape

    def terms(
        coded: Coded, image: Float[Array, "b h w c"], kind: Divergence
    ) -> tuple[Float[Array, "b k"], Float[Array, "b k g"]]:
        """The likelihood log p(x | z), and the divergence by groups."""
        count = coded.output.shape[1]
        every = jnp.broadcast_to(image[:, None], (len(image), count, *image.shape[1:]))
        log_prob = likelihood.log_prob(coded.output, every)
        if kind == "closed":
            each = gaussian_kl(coded.mean, coded.log_scale)
        else:
            each = sampled_kl(coded.code, coded.mean, coded.log_scale)
        return log_prob, each if each.ndim == 3 else jnp.sum(each, axis=-1)

    def init(key: Key, batch: ImageBatch) -> Variables:
        noise = jnp.zeros((len(batch.image), 1, *shape))
        return functional.init(model, key, batch.image, noise)

    def loss(
        variables: Variables, batch: ImageBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[Any, Metrics]]:
        noise = jax.random.normal(key, (len(batch.image), samples, *shape))
        # The noise is the only thing that is drawn; the model itself uses no key.
        coded, buffers = functional.forward(model, variables, key, batch.image, noise)
        kind = divergence if samples == 1 else "sampled"
        log_prob, kl = terms(coded, batch.image, kind)
        parts = {
            "reconstruction": mean(-jnp.mean(log_prob, axis=1), batch.mask),
            "kl": mean(jnp.mean(jnp.sum(kl, axis=2), axis=1), batch.mask),
        }
        if samples > 1:
            weights = log_prob - hyper.beta * jnp.sum(kl, axis=2)
            objective = mean(-importance_bound(weights), batch.mask)
            value = objective.total / objective.weight
        else:
            groups = mean(kl[:, 0], batch.mask)
            paid = free(groups.total / groups.weight, hyper.free_nats)
            missed, weight = parts["reconstruction"]
            value = missed / weight + hyper.beta * jnp.sum(paid)
            objective = Mean(value * weight, weight)
        return value, (buffers, {"loss": objective, **parts})

    def evaluate(variables: Variables, batch: ImageBatch, key: Key) -> Metrics:
        noise = row_noise(key, batch.image, jnp.zeros(1, jnp.int32), shape)
        coded = functional.predict(model, variables, batch.image, noise)
        log_prob, kl = (x[:, 0] for x in terms(coded, batch.image, divergence))
        kl = jnp.sum(kl, axis=1)
        dimensions = batch.image[0].size
        bits = bits_per_dimension(kl - log_prob, dimensions, density=likelihood.density)
        found = {
            "loss": kl - log_prob,
            "reconstruction": -log_prob,
            "kl": kl,
            "bits_per_dimension": bits,
        }
        return {name: mean(values, batch.mask) for name, values in found.items()}

    def imagine(variables: Variables, code: Float[Array, " b *z"]) -> Imagined:
        decoded = functional.method(model, variables, "decode", code)
        return Imagined(likelihood.mean(decoded.output), decoded.drawing)

    def predict(
        variables: Variables, batch: ImageBatch | CodeBatch, key: Key
    ) -> Judged | Imagined:
        if isinstance(batch, CodeBatch):
            return imagine(variables, batch.code)
        image = batch.image

        def log_weights(number: Array) -> Float[Array, "b k"]:
            noise = row_noise(key, image, number, shape)
            coded = functional.predict(model, variables, image, noise)
            log_prob, kl = terms(coded, image, "sampled")
            return log_prob - jnp.sum(kl, axis=2)

        # One pass for both, a draw and the mean: a second one would be compiled again.
        drawn = row_noise(key, image, jnp.zeros(1, jnp.int32), shape)
        noise = jnp.concatenate([drawn, jnp.zeros_like(drawn)], axis=1)
        coded = functional.predict(model, variables, image, noise)
        log_prob, kl = (x[:, 0] for x in terms(coded, image, divergence))
        kl = jnp.sum(kl, axis=1)
        bound = streamed_bound(log_weights, bound_samples, chunk, len(image))
        expected, code = likelihood.mean(coded.output[:, 1]), coded.code[:, 1]
        drawing = jax.tree.map(lambda x: x[:, 1], coded.drawing)
        return Judged(expected, code, log_prob - kl, log_prob, kl, bound, drawing)

    most = COLLAPSED * math.prod(shape)
    meaning = (
        f"with less than {COLLAPSED:g} nats for each number the code tells nothing of "
        "the image (posterior collapse)"
    )
    trivial = Trivial("kl", -math.inf, most, meaning)
    factors = ("beta", "free_nats") if samples == 1 else ("beta",)
    reads = Reads("variational", factors)
    return Task(init, loss, evaluate, predict, (trivial,), reads)


def row_noise(
    key: Key,
    image: Float[Array, "b h w c"],
    number: Array,
    shape: tuple[int, ...],
) -> Float[Array, "b k *z"]:
    """Standard normal noise that follows from the key, an image's pixels, a number.

    Args:
        key: Of the evaluation.
        image: Rows that are judged one by one; equal ones get equal noise.
        number: Of the draws, `[k]`.
        shape: Of one draw.
    """

    def one(word: Array) -> Array:
        own = jax.random.fold_in(key, word)
        draw = lambda index: jax.random.normal(jax.random.fold_in(own, index), shape)
        return jax.vmap(draw)(number)

    return jax.vmap(one)(_hashed(image))


def _hashed(image: Float[Array, "b h w c"]) -> UInt32[Array, " b"]:
    """A number of each row that depends on all its bits; in any order of summation."""
    words = jax.lax.bitcast_convert_type(image.astype(jnp.float32), jnp.uint32)
    words = words.reshape(len(image), -1)
    # What stands where matters: every place has an odd factor of its own.
    place = (jnp.arange(words.shape[1], dtype=jnp.uint32) * _ODD) | jnp.uint32(1)
    mixed = (words ^ (words >> 16)) * _ODD
    mixed = (mixed ^ (mixed >> 15)) * place[None, :]
    return jnp.sum(mixed, axis=1, dtype=jnp.uint32)
