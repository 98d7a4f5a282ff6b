"""Losses and hits of tokens: by hand, in float64, and what is no number."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from jaxnets.ops.decoding import PAD, UNKNOWN
from jaxnets.tasks.tokens import counted, over_tokens, token_hits, token_losses

LOSSES, HITS = jax.jit(token_losses), jax.jit(token_hits)


def test_the_losses_by_hand():
    logits = np.array([[[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]]], np.float32)
    logp = log_softmax(logits.astype(np.float64), axis=-1)
    target = np.array([[0, 2]])
    expected = [-0.8 * logp[0, 0, 0] - 0.2 * logp[0, 0].mean(), np.log(3)]
    np.testing.assert_allclose(LOSSES(logits, target, 0.2)[0], expected, rtol=1e-6)
    plain = [-logp[0, 0, 0], np.log(3)]
    np.testing.assert_allclose(LOSSES(logits, target)[0], plain, rtol=1e-6)


def test_the_losses_are_as_exact_as_their_logits():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 3, 5)), rng.integers(0, 5, (2, 3))
    with jax.enable_x64(True):
        found = np.asarray(LOSSES(logits, target))
    logp = log_softmax(logits, axis=-1)
    expected = -np.take_along_axis(logp, target[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_loss_and_hit_are_no_numbers_together():
    logits = np.tile(np.float32([0, 1, 2, 3, 9]), (1, 6, 1))
    logits[0, 0, 0], logits[0, 1, 2] = np.nan, np.inf
    logits[0, 2, :3] = -np.inf  # no probability, which is a number
    target = np.array([[4, 4, 4, -1, 5, 4]])
    wrong = [True, True, False, True, True, False]
    for smoothing in (None, 0.1):
        given = () if smoothing is None else (smoothing,)
        losses = LOSSES(np.where(logits == -np.inf, -50, logits), target, *given)
        np.testing.assert_array_equal(np.isnan(losses)[0], wrong)
    np.testing.assert_array_equal(np.isnan(LOSSES(logits, target))[0], wrong)
    found = np.asarray(HITS(logits, target))[0]
    np.testing.assert_array_equal(found, np.where(wrong, np.nan, 1))


def test_unknown_tokens_are_never_hit():
    target = np.array([[1, UNKNOWN, 4]])
    logits = np.eye(5, dtype=np.float32)[target]
    assert np.asarray(HITS(logits, target)).tolist() == [[1, 0, 1]]


def test_what_counts_is_averaged_and_nothing_else():
    target = np.array([[4, PAD, 5], [4, 4, 4]])
    counts = counted(jnp.asarray(target), jnp.array([True, False]))
    assert np.asarray(counts).tolist() == [[True, False, True], [False] * 3]
    values = jnp.array([[1.0, jnp.nan, 4.0], [jnp.nan] * 3])
    found = over_tokens(values, counts)
    assert (float(found.compute()), int(found.weight)) == (2.5, 2)
