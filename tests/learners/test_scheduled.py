from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learners import schedules
from jaxnets.learners.scheduled import scheduled, warming
from jaxnets.learners.supervised import supervised
from jaxnets.metrics import mean
from jaxnets.tasks.base import Task
from jaxnets.testing.learners import check_learner
from jaxnets.types import Variables


class Hyper(NamedTuple):
    learning_rate: float = 0.1
    pull: float = 2.0


class Batch(NamedTuple):
    x: jax.Array
    mask: jax.Array


def pulled():
    """A loss of which the metrics show what `hyper.pull` is worth in this step."""

    def loss(variables, batch, key, hyper):
        values = (variables.params["w"] - batch.x) ** 2
        total = mean(values, batch.mask)
        pull = mean(jnp.full(batch.x.shape, 1.0) * hyper.pull, batch.mask)
        return jnp.mean(values), ({}, {"loss": total, "pull": pull})

    def evaluate(variables, batch, key):
        return {"loss": mean((variables.params["w"] - batch.x) ** 2, batch.mask)}

    return Task(
        lambda key, batch: Variables({"w": jax.random.normal(key)}, {}),
        loss,
        evaluate,
        lambda variables, batch, key: batch.x,
    )


def learner(shape):
    return scheduled(
        supervised(pulled(), lambda h: optax.sgd(h.learning_rate)), {"pull": shape}
    )


BATCH = Batch(jnp.arange(4.0), jnp.ones(4, bool))


def test_a_field_follows_its_shape_and_the_state_keeps_the_peak():
    rule = learner(schedules.rising(4))
    state, found = rule.init(jax.random.key(0), Hyper(), BATCH), []
    step = jax.jit(rule.step)
    for _ in range(6):
        state, metrics = step(state, BATCH)
        found.append(metrics["pull"].compute())
    np.testing.assert_allclose(found, [0, 0.5, 1.0, 1.5, 2.0, 2.0], rtol=1e-6)
    assert state.hyper.pull == 2.0
    assert state.step == 6


def test_it_keeps_the_contract():
    check_learner(learner(schedules.inverse_sigmoid(5)), Hyper(), BATCH, steps=3)


def test_a_name_that_is_no_field_is_refused():
    rule = scheduled(
        supervised(pulled(), lambda h: optax.sgd(0.1)), {"push": schedules.rising(1)}
    )
    with pytest.raises(ValueError, match="push"):
        rule.init(jax.random.key(0), Hyper(), BATCH)


def test_the_teacher_is_withdrawn_by_the_formula():
    steps = np.array([0, 1, 10, 30, 100])
    for k in (2.0, 10.0):
        expected = 1 - k / (k + np.exp(steps / k))
        found = [float(schedules.inverse_sigmoid(k)(jnp.int32(t))) for t in steps]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(schedules.inverse_sigmoid(1.5)(jnp.int32(10**6))) == 1.0


class Warmed(NamedTuple):
    learning_rate: float = 0.1
    pull: float = 2.0
    length: float = 4.0


def warmed():
    rule = supervised(pulled(), lambda h: optax.sgd(h.learning_rate))
    return warming(rule, {"pull": "length"})


@pytest.mark.parametrize(
    ("length", "expected"), [(4, [0, 0.5, 1, 1.5, 2, 2]), (0, [2] * 6), (1, [0, 2, 2])]
)
def test_a_field_warms_up_over_a_number_of_steps_that_a_sweep_may_change(
    length, expected
):
    rule = warmed()
    state, found = rule.init(jax.random.key(0), Warmed(length=length), BATCH), []
    step = jax.jit(rule.step)
    for _ in expected:
        state, metrics = step(state, BATCH)
        found.append(metrics["pull"].compute())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert state.hyper == Warmed(np.float32(0.1), 2, length)


def test_a_length_that_is_no_field_is_refused():
    rule = warming(supervised(pulled(), lambda h: optax.sgd(0.1)), {"pull": "duration"})
    with pytest.raises(ValueError, match="duration"):
        rule.init(jax.random.key(0), Hyper(), BATCH)
