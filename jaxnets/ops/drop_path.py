"""Dropping whole paths of a network, at rates that may be traced.

- Huang, Sun, Liu, Sedra & Weinberger, "Deep networks with stochastic depth", 2016,
  https://arxiv.org/abs/1603.09382, section 3: `drop_path`, `linear_decay`.
- Larsson, Maire & Shakhnarovich, "FractalNet: ultra-deep neural networks without
  residuals", 2016, https://arxiv.org/abs/1605.07648, section 3: `join`.

Departures: a path is dropped for an image, not for the whole mini-batch; and what is
kept is scaled up in training, instead of down in testing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnets.types import Key, Scalar


def drop_path(
    x: Float[Array, "b ..."], rate: Scalar | float, key: Key
) -> Float[Array, "b ..."]:
    """Zeroes all of an image's features with probability `rate`; scales the others.

    The expectation is `x`. A rate of 1 gives zeros, in value and in gradient.

    Args:
        x: The output of a path, one row an image.
        rate: Probability that an image skips the path, in [0, 1]; may be traced.
        key: Decides which.
    """
    keep = 1.0 - jnp.asarray(rate, x.dtype)
    rows = (x.shape[0],) + (1,) * (x.ndim - 1)
    kept = jax.random.uniform(key, rows) < keep.astype(jnp.float32)
    return jnp.where(kept, x / jnp.maximum(keep, jnp.finfo(x.dtype).tiny), 0)


def linear_decay(rate: Scalar | float, blocks: int) -> Float[Array, " blocks"]:
    """Rates that grow linearly with depth, to `rate` at the last block (equation 4)."""
    return rate * jnp.arange(1, blocks + 1, dtype=jnp.float32) / blocks


def survivors(
    key: Key, rate: Scalar | float, inputs: int, images: int
) -> Bool[Array, "inputs images"]:
    """Local drop path: each input lives with probability 1 - rate, at least one does.

    Where all would be dropped, one of them, drawn uniformly, lives.
    """
    draw = jax.random.uniform(key, (inputs, images))
    # The largest draw lives in any case: given that all lie below the rate, each is the
    # largest equally often.
    return (draw >= rate) | (draw == jnp.max(draw, axis=0, keepdims=True))


def join(
    paths: Float[Array, "inputs b ..."], alive: Bool[Array, "inputs b"]
) -> Float[Array, "b ..."]:
    """The mean of the living inputs of each image; zeros where none lives."""
    mask = alive.reshape(alive.shape + (1,) * (paths.ndim - 2))
    count = jnp.maximum(jnp.sum(mask, axis=0), 1).astype(paths.dtype)
    return jnp.sum(jnp.where(mask, paths, 0), axis=0) / count
