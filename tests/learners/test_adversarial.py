"""Two players in one state: who moves, who does not, and that a run is a run."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data.feeds.base import shuffled
from jaxnets.data.generated.digits import digits
from jaxnets.learners.adversarial import Game, adams, adversarial, moves
from jaxnets.learners.averaged import averaged
from jaxnets.learners.population import population
from jaxnets.models.gan import DCGANDiscriminator, DCGANGenerator
from jaxnets.models.mlp import MLP
from jaxnets.tasks.adversarial import (
    GRADIENT_PENALTY,
    HINGE,
    LEAST_SQUARES,
    NON_SATURATING,
    R1,
    WASSERSTEIN,
)
from jaxnets.testing.comparing import on_host, same
from jaxnets.testing.learners import check_learner
from jaxnets.types import ImageBatch


class Hyper(NamedTuple):
    learning_rate: float = 2e-3
    ratio: float = 1.5
    beta1: float = 0.5
    beta2: float = 0.9
    r1: float = 0.1
    gradient_penalty: float = 2.0
    average_decay: float = 0.5


KEY = jax.random.key(0)
CLASSES = 10
FEED = shuffled(digits().train, ImageBatch, batch_size=12, seed=0)
GENERATOR = DCGANGenerator(16, 1, 4, CLASSES)
CONDITIONAL = Game(
    GENERATOR,
    DCGANDiscriminator(4, CLASSES, spectral=True),
    HINGE,
    noise=5,
    told="label",
)
SMALL = Game(
    MLP(256, (8,), activation=jnp.tanh),
    MLP(1, (8,), activation=jnp.tanh),
    NON_SATURATING,
    R1,
    noise=3,
    reads="image",
)


def flat(batch):
    return batch._replace(image=batch.image.reshape(len(batch.mask), -1))


@functools.cache
def images():
    drawn = FEED(0)
    edge = ((0, 0), (4, 4), (4, 4), (0, 0))  # room for two layers
    image = 2 * np.asarray(drawn.image) - 1
    return drawn._replace(image=np.pad(image, edge, constant_values=-1))


@pytest.fixture
def batch():
    return images()


GAMES = {
    "spectral": CONDITIONAL,
    "batch norm": CONDITIONAL._replace(
        discriminator=DCGANDiscriminator(4, CLASSES), stakes=LEAST_SQUARES
    ),
    "penalised": CONDITIONAL._replace(
        discriminator=DCGANDiscriminator(4, CLASSES, norm=None),
        stakes=WASSERSTEIN,
        penalty=GRADIENT_PENALTY,
    ),
}


@functools.cache
def begun(name):
    """A state before the first step; spectral norms take long to compile."""
    return jax.jit(moves(GAMES[name], adams()).init)(KEY, Hyper(), images())


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.one_python
def test_a_half_of_a_step_leaves_the_other_player_as_it_is(name, batch):
    """To the bit, buffers and optimizer included; and it does move its own."""
    halves = moves(GAMES[name], adams())

    @jax.jit
    def moved(state, batch):
        second, _ = halves.discriminator(state, batch, KEY)
        return second, halves.generator(second, batch, KEY)[0]

    state = begun(name)
    second, third = moved(state, batch)
    assert same(second.generator, state.generator)
    assert same(second.generator_optimizer, state.generator_optimizer)
    assert not same(second.discriminator.params, state.discriminator.params)
    if name != "penalised":  # which has no buffers
        assert not same(second.discriminator.buffers, state.discriminator.buffers)
    assert same(third.discriminator, second.discriminator)
    assert same(third.discriminator_optimizer, second.discriminator_optimizer)
    assert not same(third.generator.params, second.generator.params)
    assert not same(third.generator.buffers, second.generator.buffers)
    assert same(
        (third.step, third.key, third.hyper), (state.step, state.key, state.hyper)
    )


@pytest.mark.one_python
def test_every_parameter_of_both_is_moved(batch):
    # Under the hinge the two halves of the last bias's gradient cancel at first.
    learner = adversarial(CONDITIONAL._replace(stakes=NON_SATURATING), adams())
    state = begun("spectral")
    after, _ = jax.jit(learner.step)(state, batch)
    for name in ("generator", "discriminator"):
        before, now = getattr(state, name).params, getattr(after, name).params
        still = jax.tree.map(lambda a, b: bool(np.all(a == b)), before, now)
        assert not any(jax.tree.leaves(still)), (name, still)


def widened(learner):
    """The same in float64, where the order of a sum does not show."""
    wide = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
    init = lambda *given: jax.tree.map(wide, learner.init(*given))
    return learner._replace(init=init)


def test_it_keeps_the_contract_of_a_learner(batch):
    with jax.enable_x64(True):
        wide = jnp.float64
        game = SMALL._replace(
            generator=SMALL.generator.clone(dtype=wide),
            discriminator=SMALL.discriminator.clone(dtype=wide),
            stakes=WASSERSTEIN,
            penalty=GRADIENT_PENALTY,
        )
        learner = averaged(adversarial(game, adams()), field="generator")
        rows = flat(batch)._replace(image=flat(batch).image.astype(wide))
        check_learner(
            widened(learner), Hyper(), rows, lowers=None, steps=3, rtol=1e-7, atol=1e-9
        )


@pytest.mark.one_python
def test_eight_gans_with_different_rates_in_one_program(batch):
    learner = averaged(adversarial(SMALL, adams()), field="generator")
    many, rows = population(learner), flat(batch)
    rates = np.geomspace(1e-4, 1e-2, 8, dtype=np.float32)
    hypers = jax.tree.map(lambda x: np.full(8, x, np.float32), Hyper())
    hypers = hypers._replace(learning_rate=rates)
    keys = jax.random.split(KEY, 8)
    start = jax.jit(many.init)(keys, hypers, rows)
    state, step, alone = start, jax.jit(many.step), jax.jit(learner.step)
    lone = jax.jit(learner.init)(keys[5], jax.tree.map(lambda x: x[5], hypers), rows)
    for _ in range(2):
        state, metrics = step(state, rows)
        lone, _ = alone(lone, rows)
    assert metrics["generator_loss"].total.shape == (8,)
    samples = jax.jit(many.predict)(state, rows, KEY)
    assert samples.shape == (8, 12, 256)
    by_itself = jax.jit(learner.predict)(lone, rows, KEY)
    np.testing.assert_allclose(samples[5], by_itself, rtol=1e-3, atol=1e-3)
    # A larger rate moves further.
    pairs = zip(
        *(jax.tree.leaves(on_host(s.inner.generator)) for s in (state, start)),
        strict=True,
    )
    away = sum(((a - b).reshape(8, -1) ** 2).sum(1) for a, b in pairs)
    assert (np.diff(away) > 0).all()


@pytest.mark.one_python
def test_a_step_is_its_halves_on_parts_of_the_batch(batch):
    """Two steps of the discriminator on six rows each, then one of the generator."""
    game = CONDITIONAL
    learner, halves = (
        adversarial(game, adams(), discriminator_steps=2),
        moves(game, adams()),
    )
    state = begun("spectral")
    after, metrics = jax.jit(learner.step)(state, batch)
    parts = [jax.tree.map(lambda x, i=i: x[6 * i : 6 * i + 6], batch) for i in range(2)]
    key, expected = jax.random.fold_in(state.key, 0), state
    weights, run = 0, {half: jax.jit(half) for half in halves[1:]}
    for half, part in [
        *((halves.discriminator, part) for part in parts),
        (halves.generator, parts[0]),
    ]:
        key, own = jax.random.split(key)
        expected, seen = run[half](expected, part, own)
        weights += "discriminator_loss" in seen
    for name in ("generator", "discriminator"):
        ours, theirs = getattr(after, name), getattr(expected, name)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            ours,
            theirs,
        )
    assert weights == 2
    assert metrics["discriminator_loss"].weight == 12
    assert metrics["generator_loss"].weight == 6


@pytest.mark.one_python
def test_more_generator_steps_split_the_batch_too(batch):
    learner = adversarial(SMALL, adams(), generator_steps=2)
    state = jax.jit(learner.init)(KEY, Hyper(), flat(batch))
    _, metrics = jax.jit(learner.step)(state, flat(batch))
    assert metrics["generator_loss"].weight == 12
    assert metrics["discriminator_loss"].weight == 6
    odd = adversarial(SMALL, adams(), generator_steps=5)
    with pytest.raises(ValueError, match="does not split"):
        odd.step(state, flat(batch))


@pytest.mark.one_python
def test_samples_are_the_average_s_and_told_their_class(batch):
    game = GAMES["batch norm"]  # the same generator, sooner
    learner = averaged(adversarial(game, adams()), field="generator")
    state = jax.jit(learner.init)(KEY, Hyper(), batch)
    predict = jax.jit(learner.predict)
    first = predict(state, batch, KEY)
    assert first.shape == (12, 16, 16, 1)
    assert np.abs(first).max() <= 1
    assert same(first, predict(state, batch, KEY))
    others = batch._replace(label=(batch.label + 1) % CLASSES)
    assert not same(first, predict(state, others, KEY))
    pixels = batch._replace(image=np.zeros_like(batch.image))
    assert same(first, predict(state, pixels, KEY))
    moved = jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.1), state.inner.generator.params
    )
    inner = state.inner._replace(generator=state.inner.generator._replace(params=moved))
    assert same(first, predict(state._replace(inner=inner), batch, KEY))


def test_padding_does_not_count_in_the_evaluation(batch):
    learner = adversarial(SMALL, adams())
    rows = flat(batch)
    state = jax.jit(learner.init)(KEY, Hyper(), rows)
    image = np.where(np.arange(12)[:, None] < 6, rows.image, np.nan)
    spoilt = rows._replace(image=image, mask=np.arange(12) < 6)
    found = jax.jit(learner.evaluate)(state, spoilt, KEY)
    assert all(np.isfinite(value.compute()) for value in found.values())
    assert found["discriminator_loss"].weight == 6
