"""The losses by their formulas, the penalties by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.tasks.adversarial import (
    LOSSES,
    PENALTIES,
    gradient_penalty,
    r1,
    slopes,
)

SCORES = np.array([-3.0, -0.5, 0.0, 0.5, 2.0])
PROBABILITY = 1 / (1 + np.exp(-SCORES))  # of "real"
EXPECTED = {
    "minimax": (
        -np.log(PROBABILITY),
        -np.log(1 - PROBABILITY),
        np.log(1 - PROBABILITY),
    ),
    "non_saturating": (
        -np.log(PROBABILITY),
        -np.log(1 - PROBABILITY),
        -np.log(PROBABILITY),
    ),
    "least_squares": (
        [8.0, 1.125, 0.5, 0.125, 0.5],
        [4.5, 0.125, 0.0, 0.125, 2.0],
        [8.0, 1.125, 0.5, 0.125, 0.5],
    ),
    "hinge": ([4.0, 1.5, 1.0, 0.5, 0.0], [0.0, 0.5, 1.0, 1.5, 3.0], -SCORES),
    "wasserstein": (-SCORES, SCORES, -SCORES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_are_those_of_the_papers(name):
    stakes, score = LOSSES[name], jnp.asarray(SCORES)
    found = stakes.real(score), stakes.fake(score), stakes.sample(score)
    for ours, theirs in zip(found, EXPECTED[name], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_middle_costs_both_verdicts_the_same():
    for stakes in LOSSES.values():
        if stakes.middle is not None:
            at = jnp.array([stakes.middle])
            assert stakes.real(at) == stakes.fake(at)


def test_the_saturating_loss_is_flat_where_the_discriminator_is_sure():
    sure = jnp.array(-20.0)
    slope = {
        n: jax.grad(lambda s, n=n: LOSSES[n].sample(s[None])[0])(sure) for n in LOSSES
    }
    assert abs(slope["minimax"]) < 1e-8
    assert slope["non_saturating"] == pytest.approx(-1)


def critic(params, x):
    """A small smooth network of two layers, a number a row."""
    hidden = jnp.tanh(x.reshape(len(x), -1) @ params["a"] + params["b"][None])
    return (hidden**2) @ params["c"]


@pytest.fixture
def players():
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 6)
        params = {
            "a": jax.random.normal(keys[0], (6, 5)),
            "b": jax.random.normal(keys[1], (5,)),
            "c": jax.random.normal(keys[2], (5,)),
        }
        real, fake = (jax.random.normal(k, (4, 2, 3)) for k in keys[3:5])
        yield params, real, fake, keys[5]


def slopes_by_differences(params, x, step=1e-5):
    found = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        up, down = (critic(params, x.at[index].add(s)) for s in (step, -step))
        found[index] = (up - down)[index[0]] / (2 * step)
    return found


def test_slopes_agree_with_finite_differences(players):
    params, real, _, _ = players
    ours = slopes(lambda x: critic(params, x), real)
    np.testing.assert_allclose(ours, slopes_by_differences(params, real), atol=1e-9)


def test_the_penalties_agree_with_finite_differences(players):
    params, real, fake, key = players
    by_hand = slopes_by_differences(params, real).reshape(4, -1)
    ours = r1(lambda x: critic(params, x), real)
    np.testing.assert_allclose(ours, 0.5 * (by_hand**2).sum(axis=1), rtol=1e-7)
    share = jax.random.uniform(key, (4, 1, 1), jnp.float64)
    between = share * real + (1 - share) * fake
    length = np.linalg.norm(
        slopes_by_differences(params, between).reshape(4, -1), axis=1
    )
    ours = gradient_penalty(lambda x: critic(params, x), real, fake, key)
    np.testing.assert_allclose(ours, (length - 1) ** 2, rtol=1e-6)


@pytest.mark.parametrize("name", ["r1", "gradient_penalty"])
def test_the_gradient_of_a_penalty_agrees_with_finite_differences(name, players):
    params, real, fake, key = players

    @jax.jit
    def paid(params):
        return PENALTIES[name].rows(lambda x: critic(params, x), real, fake, key).sum()

    gradient, step = jax.grad(paid)(params), 1e-5
    for leaf, values in params.items():
        expected = np.zeros(values.shape)
        for index in np.ndindex(*values.shape):
            up, down = (
                paid({**params, leaf: values.at[index].add(s)}) for s in (step, -step)
            )
            expected[index] = (up - down) / (2 * step)
        np.testing.assert_allclose(gradient[leaf], expected, rtol=1e-6, atol=1e-8)


def test_a_flat_critic_pays_one_and_has_a_finite_gradient():
    x, key = jnp.ones((3, 2)), jax.random.key(0)
    flat = lambda w: gradient_penalty(lambda x: x @ w, x, x, key).sum()
    value, gradient = jax.value_and_grad(flat)(jnp.zeros(2))
    assert value == pytest.approx(3, rel=1e-4)
    assert np.isfinite(gradient).all()
