"""Two players in one state: who moves, who does not, and that a run is a run."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.data.digits import digits
from jaxnets.data.feed import shuffled
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
from jaxnets.testing import check_learner
from jaxnets.testing.comparing import same
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
# Each program runs a few times: compiling it well costs more than it saves.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
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


@pytest.fixture(scope="module")
def batch():
    drawn = FEED(0)
    edge = ((0, 0), (4, 4), (4, 4), (0, 0))  # room for two layers
    return drawn._replace(image=jnp.pad(2 * drawn.image - 1, edge, constant_values=-1))


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


@pytest.mark.parametrize("name", GAMES)
def test_a_half_of_a_step_leaves_the_other_player_as_it_is(name, batch):
    """To the bit, buffers and optimizer included; and it does move its own."""
    halves = moves(GAMES[name], adams())
    state = jit(halves.init)(KEY, Hyper(), batch)
    second, _ = jit(halves.discriminator)(state, batch, KEY)
    assert same(second.generator, state.generator)
    assert same(second.generator_optimizer, state.generator_optimizer)
    assert not same(second.discriminator.params, state.discriminator.params)
    if name != "penalised":  # which has no buffers
        assert not same(second.discriminator.buffers, state.discriminator.buffers)
    third, _ = jit(halves.generator)(second, batch, KEY)
    assert same(third.discriminator, second.discriminator)
    assert same(third.discriminator_optimizer, second.discriminator_optimizer)
    assert not same(third.generator.params, second.generator.params)
    assert not same(third.generator.buffers, second.generator.buffers)
    assert same(
        (third.step, third.key, third.hyper), (state.step, state.key, state.hyper)
    )


def test_every_parameter_of_both_is_moved(batch):
    # Under the hinge the two halves of the last bias's gradient cancel at first.
    learner = adversarial(CONDITIONAL._replace(stakes=NON_SATURATING), adams())
    state = jit(learner.init)(KEY, Hyper(), batch)
    after, _ = jit(learner.step)(state, batch)
    for name in ("generator", "discriminator"):
        before, now = getattr(state, name).params, getattr(after, name).params
        still = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), before, now)
        assert not any(jax.tree.leaves(still)), (name, still)


def widened(learner):
    """The same in float64, where the order of a sum does not show."""
    wide = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
    init = lambda *given: jax.tree.map(wide, learner.init(*given))
    return learner._replace(init=init)


@pytest.mark.usefixtures("quickly_compiled")
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


def test_eight_gans_with_different_rates_in_one_program(batch):
    learner = averaged(adversarial(SMALL, adams()), field="generator")
    many, rows = population(learner), flat(batch)
    rates = jnp.geomspace(1e-4, 1e-2, 8)
    hypers = jax.tree.map(lambda x: jnp.full(8, x), Hyper())
    hypers = hypers._replace(learning_rate=rates)
    keys = jax.random.split(KEY, 8)
    state = jit(many.init)(keys, hypers, rows)
    step, alone = jit(many.step), jit(learner.step)
    lone = jit(learner.init)(keys[5], jax.tree.map(lambda x: x[5], hypers), rows)
    for _ in range(2):
        state, metrics = step(state, rows)
        lone, _ = alone(lone, rows)
    assert metrics["generator_loss"].total.shape == (8,)
    samples = jit(many.predict)(state, rows, KEY)
    assert samples.shape == (8, 12, 256)
    by_itself = jit(learner.predict)(lone, rows, KEY)
    np.testing.assert_allclose(samples[5], by_itself, rtol=1e-3, atol=1e-3)
    # A larger rate moves further.
    moved = jax.tree.map(lambda x: x[:, ...].reshape(8, -1), state.inner.generator)
    start = jax.tree.map(
        lambda x: x.reshape(8, -1), jit(many.init)(keys, hypers, rows).inner.generator
    )
    away = jax.vmap(lambda a, b: optax.tree.norm(optax.tree.sub(a, b)))(moved, start)
    assert (np.diff(away) > 0).all()


def test_a_step_is_its_halves_on_parts_of_the_batch(batch):
    """Three steps of the discriminator on four rows each, then one of the generator."""
    game = CONDITIONAL
    learner, halves = (
        adversarial(game, adams(), discriminator_steps=3),
        moves(game, adams()),
    )
    state = jit(learner.init)(KEY, Hyper(), batch)
    after, metrics = jit(learner.step)(state, batch)
    parts = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], batch) for i in range(3)]
    key, expected = jax.random.fold_in(state.key, 0), state
    weights = 0
    for half, part in [
        *((halves.discriminator, part) for part in parts),
        (halves.generator, parts[0]),
    ]:
        key, own = jax.random.split(key)
        expected, seen = jit(half)(expected, part, own)
        weights += seen.get("discriminator_loss", optax.EmptyState()) != ()
    for name in ("generator", "discriminator"):
        ours, theirs = getattr(after, name), getattr(expected, name)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            ours,
            theirs,
        )
    assert weights == 3
    assert metrics["discriminator_loss"].weight == 12
    assert metrics["generator_loss"].weight == 4


def test_more_generator_steps_split_the_batch_too(batch):
    learner = adversarial(SMALL, adams(), generator_steps=2)
    state = jit(learner.init)(KEY, Hyper(), flat(batch))
    _, metrics = jit(learner.step)(state, flat(batch))
    assert metrics["generator_loss"].weight == 12
    assert metrics["discriminator_loss"].weight == 6
    odd = adversarial(SMALL, adams(), generator_steps=5)
    with pytest.raises(ValueError, match="does not split"):
        odd.step(state, flat(batch))


def test_samples_are_the_average_s_and_told_their_class(batch):
    learner = averaged(adversarial(CONDITIONAL, adams()), field="generator")
    state = jit(learner.init)(KEY, Hyper(), batch)
    first = jit(learner.predict)(state, batch, KEY)
    assert first.shape == (12, 16, 16, 1)
    assert np.abs(first).max() <= 1
    assert same(first, jit(learner.predict)(state, batch, KEY))
    others = batch._replace(label=(batch.label + 1) % CLASSES)
    assert not same(first, jit(learner.predict)(state, others, KEY))
    pixels = batch._replace(image=jnp.zeros_like(batch.image))
    assert same(first, jit(learner.predict)(state, pixels, KEY))
    moved = jax.tree.map(lambda x: x + 0.1, state.inner.generator.params)
    inner = state.inner._replace(generator=state.inner.generator._replace(params=moved))
    assert same(first, jit(learner.predict)(state._replace(inner=inner), batch, KEY))


def test_padding_does_not_count_in_the_evaluation(batch):
    learner = adversarial(SMALL, adams())
    rows = flat(batch)
    state = jit(learner.init)(KEY, Hyper(), rows)
    spoilt = rows._replace(
        image=rows.image.at[6:].set(jnp.nan), mask=jnp.arange(12) < 6
    )
    found = jit(learner.evaluate)(state, spoilt, KEY)
    assert all(np.isfinite(value.compute()) for value in found.values())
    assert found["discriminator_loss"].weight == 6
