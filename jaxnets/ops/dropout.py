"""Inverted dropout with a rate that may be traced.

Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout: a simple way to
prevent neural networks from overfitting", JMLR 15, 2014,
https://jmlr.org/papers/v15/srivastava14a.html, section 4. Departure: the kept units are
scaled by 1 / (1 - rate) in training instead of the weights by (1 - rate) in testing
(section 10 of the paper).

`flax.linen.Dropout` branches on its rate in Python, so a sweep over rates would compile
once a rate.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.types import Key, Scalar


def dropout(
    x: Float[Array, "*shape"], rate: Scalar | float, key: Key
) -> Float[Array, "*shape"]:
    """Zeroes each element with probability `rate` and scales the others to match.

    The expectation is `x`. Two in a row with rates p and q act as one with
    1 - (1 - p)(1 - q). A rate of 1 gives zeros, in value and in gradient.

    Args:
        x: Any array of floats.
        rate: Probability that an element is dropped, in [0, 1]; may be traced.
        key: Decides which.
    """
    keep = 1.0 - jnp.asarray(rate, x.dtype)
    kept = jax.random.uniform(key, x.shape) < keep.astype(jnp.float32)
    return jnp.where(kept, x / jnp.maximum(keep, jnp.finfo(x.dtype).tiny), 0)
