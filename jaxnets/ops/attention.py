"""What attention needs beyond products: a softmax over what is there, and positions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def softmax(
    scores: Float[Array, "*b n"], present: Bool[Array, "*b n"] | None = None
) -> Float[Array, "*b n"]:
    """Weights that sum to 1 over the places that are there, and are 0 elsewhere.

    Where no place is there, all weights are 0. Scores of absent places may be anything.

    Args:
        scores: Larger means more attention.
        present: False where there is nothing to attend to; all are by default.
    """
    if present is None:
        return jax.nn.softmax(scores, axis=-1)
    lowest = jnp.finfo(scores.dtype).min
    weights = jax.nn.softmax(jnp.where(present, scores, lowest), axis=-1)
    return jnp.where(present, weights, 0)


def weighted_sum(
    weights: Float[Array, "r n"],
    values: Float[Array, "b n d"],
    present: Bool[Array, "b n"] | None = None,
) -> Float[Array, "r d"]:
    """What is attended to: the context vector. Absent values may be anything.

    Args:
        weights: One row a row of the values; or several, one after the other, so that
            sentences about one image share what is known of it.
        values: What is attended to.
        present: False where there is nothing.
    """
    if present is not None:
        values = jnp.where(present[:, :, None], values, 0)
    apart = weights.astype(values.dtype).reshape(len(values), -1, weights.shape[-1])
    found = jnp.einsum("bkn,bnd->bkd", apart, values)
    return found.reshape(len(weights), values.shape[-1])


def sinusoids(length: int, features: int) -> Float[np.ndarray, "t d"]:
    """Positions as sines (even features) and cosines (odd ones) of many wavelengths.

    Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762,
    section 3.5: wavelengths from 2 pi to 10,000 times 2 pi. Computed in float64.

    Args:
        length: Positions, from 0.
        features: Width; an odd width ends with a sine.
    """
    angle = np.arange(length)[:, None] / 1e4 ** (np.arange(0, features, 2) / features)
    found = np.empty((length, features))
    found[:, 0::2] = np.sin(angle)
    found[:, 1::2] = np.cos(angle[:, : features // 2])
    return found.astype(np.float32)
