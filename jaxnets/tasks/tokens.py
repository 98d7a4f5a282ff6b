"""Losses and metrics of tokens, for captions, translations and language models.

Only tokens that are there count: `<pad>` and rows of padding do not (`counted`). Where
a loss is NaN the hit is NaN: nothing wrong looks like a success.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.metrics import Mean
from jaxnets.ops.decoding import PAD, UNKNOWN
from jaxnets.ops.norm import widen
from jaxnets.types import Scalar


def token_losses(
    logits: Float[Array, "b t vocabulary"],
    target: Int[Array, "b t"],
    smoothing: Scalar | float | None = None,
) -> Float[Array, "b t"]:
    """The cross-entropy of each token, in nats; NaN where it is not in the vocabulary.

    Args:
        logits: Unnormalised log-probabilities.
        target: Tokens in [0, vocabulary).
        smoothing: Share of the probability spread evenly over the vocabulary, in
            [0, 1]; None: none of it.

    Raises:
        ValueError: If there is not one token a step.
    """
    if logits.shape[:2] != target.shape:
        raise ValueError(
            f"logits of shape {logits.shape} and tokens of shape {target.shape} do not "
            "belong together: one token a step is needed"
        )
    logp = jax.nn.log_softmax(widen(logits), axis=-1)
    known = jnp.where(target < 0, logits.shape[-1], target)  # -1 would be the last
    own = jnp.take_along_axis(
        logp, known[:, :, None], axis=-1, mode="fill", fill_value=jnp.nan
    )[:, :, 0]
    if smoothing is None:
        return -own
    return -(1 - smoothing) * own - smoothing * jnp.mean(logp, axis=-1)


def token_hits(
    logits: Float[Array, "b t vocabulary"], target: Int[Array, "b t"]
) -> Float[Array, "b t"]:
    """1 where the largest logit is the token's, else 0; NaN where its loss is NaN.

    That is where a logit is NaN or infinity, or the token is not in the vocabulary. A
    target that is `<unk>` is never hit: it stands for a word that nobody can read.
    """
    right = (jnp.argmax(logits, axis=-1) == target) & (target != UNKNOWN)
    known = (target >= 0) & (target < logits.shape[-1])
    sound = known & jnp.all(logits < jnp.inf, axis=-1)  # False for NaN
    return jnp.where(sound, right.astype(jnp.float32), jnp.nan)


def counted(target: Int[Array, "b t"], mask: Bool[Array, " b"]) -> Bool[Array, "b t"]:
    """Where a token counts: it is not `<pad>`, and its row is no padding."""
    return (target != PAD) & mask[:, None]


def over_tokens(values: Float[Array, "b t"], counts: Bool[Array, "b t"]) -> Mean:
    """Averages `values` over the tokens that count; elsewhere they may be anything."""
    total = jnp.sum(jnp.where(counts, values, 0.0))
    return Mean(total, jnp.sum(counts, dtype=jnp.int32))
