"""Where a gradient first grew, in descents whose every number is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import small

from jaxnets.learners.averaged import AveragedState
from jaxnets.learners.base import Learner
from jaxnets.learners.layerwise import gradient_norms, layerwise
from jaxnets.learners.population import population
from jaxnets.metrics import Mean
from jaxnets.run import diagnosis
from jaxnets.run.diagnosis import wrong_fields
from jaxnets.types import ImageBatch


def slopes(step):
    """Two layers of two numbers: one shrinks, the other grows a hundredfold a step."""
    late = jnp.where(step >= 3, 100.0 ** (step - 2), 1.0)
    return {
        "calm": {"kernel": jnp.array([3.0, 4.0]) * 0.5**step},
        "deep": {
            "wild": {"kernel": jnp.full(1, 3 * late), "bias": jnp.full(1, 4 * late)}
        },
    }


def step(state, batch):
    grads = slopes(state["step"])
    metrics = {"loss": Mean(jnp.float32(0), jnp.int32(1)), **gradient_norms(grads)}
    return {"step": state["step"] + 1}, metrics


WILD = Learner(lambda *_: {"step": jnp.int32(0)}, step, None, None)


@pytest.fixture(scope="module")
def feed():
    return small.load(small.Config()).train


def test_the_norms_of_layers_are_reported_only_when_asked_for():
    state = WILD.init()
    _, plain = jax.jit(WILD.step)(state, None)
    _, found = jax.jit(layerwise(WILD).step)(state, None)
    assert set(plain) == {"loss", "gradient_norm"}
    assert set(found) - set(plain) == {"gradient_norm/calm", "gradient_norm/deep/wild"}
    assert found["gradient_norm/calm"].compute() == 5  # 3, 4, 5
    assert found["gradient_norm/deep/wild"].compute() == 5
    assert plain["gradient_norm"].compute() == pytest.approx(50**0.5)
    again, _ = jax.jit(WILD.step)(state, None)
    assert set(jax.eval_shape(WILD.step, state, None)[1]) == set(plain)
    assert again["step"] == 1


def test_they_come_through_learners_of_learners(feed):
    learner = small.build(small.Config(), None)  # an average of a supervised one
    key = jax.random.split(jax.random.key(0), 2)
    hyper = jax.tree.map(lambda x: jnp.full(2, x), small.Hyper())
    many = population(learner)
    state = jax.eval_shape(many.init, key, hyper, feed.prepared)
    assert isinstance(state, AveragedState)
    _, metrics = jax.eval_shape(layerwise(many).step, state, feed.prepared)
    assert metrics["gradient_norm/dense1"].total.shape == (2,)


def where(learner, feed, **steps):
    return diagnosis.where(learner, learner.init(), feed, **steps)


def test_the_layer_that_grew_first_is_named_with_its_norms(feed):
    # The square of 100^(t - 2) is beyond float32, 3.4e38, from step 12 on.
    said = where(WILD, feed, start=0, failed=12)
    assert said == (
        "The gradient grew first in layer deep/wild: norm 5 before step 3, 500 in it, "
        "5e+18 in step 11. In step 12 the gradient is not finite in deep/wild"
    )


def test_of_many_steps_only_the_last_are_looked_at(feed, monkeypatch):
    monkeypatch.setattr(diagnosis, "_LOOKED_AT", 4)
    said = where(WILD, feed, start=0, failed=12)
    assert "norm 5e+12 before step 9, 5e+14 in it" in said


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (lambda t: jnp.where(t == 2, 1e6, 1.0), ""),  # it shrank again
        (lambda t: 3.0 ** (t % 3), ""),
        (lambda t: jnp.where(t >= 4, 1e-5, 1e-8), ""),  # noise beside the other layer
        (lambda t: jnp.where(t >= 4, 50.0, 0.0), ""),  # it was dead
        (
            lambda t: jnp.where(t >= 5, 11.0, 1.0),
            "layer a: norm 1 before step 5, 11",
        ),
        (
            lambda t: jnp.where(t == 6, jnp.nan, 1.0),
            "In step 6 the gradient is not finite in a",
        ),
    ],
)
def test_growth_is_tenfold_and_lasts(feed, factor, said):
    def step(state, batch):
        grads = {"a": {"w": jnp.full(1, factor(state))}, "b": {"w": jnp.ones(1)}}
        return state + 1, gradient_norms(grads)

    found = where(
        Learner(lambda: jnp.int32(0), step, None, None), feed, start=0, failed=6
    )
    assert (said in found) if said else (found == "")


def test_a_learner_without_norms_by_layer_is_left_after_one_step(feed):
    def step(state, batch):
        return state + 1, {"loss": Mean(jnp.float32(1), jnp.int32(1))}

    silent = Learner(lambda: jnp.int32(0), step, None, None)
    assert where(silent, feed, start=0, failed=5) == ""


def test_fields_that_are_not_finite_are_named():
    good = ImageBatch(np.ones((2, 3)), np.zeros(2, np.int32), np.ones(2, bool))
    assert wrong_fields(good) == []
    assert wrong_fields(good._replace(image=np.array([[1, np.inf]]))) == ["image"]
