"""Each broken promise is found by the contract that makes it: mutants."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learners.supervised import supervised
from jaxnets.metrics import Mean
from jaxnets.models import functional
from jaxnets.tasks.base import uniform
from jaxnets.tasks.classification import classification
from jaxnets.tasks.hyper import Reads
from jaxnets.testing.comparing import finite
from jaxnets.testing.learners import check_learner, check_members
from jaxnets.testing.models import check_model
from jaxnets.testing.tasks import check_task
from jaxnets.types import ImageBatch

# The contracts themselves are called in tests that both Pythons run.
pytestmark = pytest.mark.one_python


class Hyper(NamedTuple):
    learning_rate: float = 1e-2
    label_smoothing: float = 0.0


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        del train
        x = nn.Dense(16, name="hidden")(image.reshape(image.shape[0], -1))
        return nn.Dense(10, name="output")(nn.relu(x))


IMAGE = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
BATCH = ImageBatch(IMAGE, jnp.arange(8, dtype=jnp.int32), jnp.ones(8, bool))
TASK = classification(Tiny())
GOOD = supervised(TASK, lambda hyper: optax.adam(hyper.learning_rate))


def init(change):
    return GOOD._replace(init=lambda k, h, b: change(GOOD.init(k, h, b), h))


def step(change):
    return GOOD._replace(step=lambda s, b: change(*GOOD.step(s, b)))


def noisy(state, metrics):
    noise = np.random.default_rng().normal() * 1e-3
    return jax.tree.map(
        lambda x: x + noise if x.dtype == jnp.float32 else x, state
    ), metrics


def leaking(learner):
    """A step whose members see each other's number through a Python counter."""
    count = iter(range(10**6))

    def init(key, hyper, batch):
        state = learner.init(key, hyper, batch)
        shift = next(count) * 0.1
        params = jax.tree.map(lambda x: x + shift, state.variables.params)
        return state._replace(variables=state.variables._replace(params=params))

    return learner._replace(init=init)


def sharing(learner):
    """Keeps the caller's arrays, which a donated step then deletes."""

    def init(key, hyper, batch):
        kept = jax.tree.map(jnp.asarray, hyper)
        return learner.init(key, hyper, batch)._replace(hyper=kept)

    return learner._replace(init=init)


def detached(variables, batch, key, hyper):
    return TASK.loss(jax.lax.stop_gradient(variables), batch, key, hyper)


MUTANTS = {
    "not an array": init(lambda s, h: s._replace(step=3)),
    "shares memory": sharing(GOOD),
    "shapes": step(lambda s, m: (s._replace(step=s.step.astype(jnp.float32)), m)),
    "not pure": step(noisy),
    "not learned": supervised(
        TASK._replace(loss=detached), lambda h: optax.adam(h.learning_rate)
    ),
    "its lone run": leaking(GOOD),
    "metric is not finite": step(
        lambda s, m: (s, {**m, "extra": Mean(jnp.float32(jnp.nan), jnp.int32(1))})
    ),
}


def test_a_good_learner_passes():
    check_learner(GOOD, Hyper(), BATCH)


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_learners_are_found(name):
    with pytest.raises(AssertionError, match=name):
        check_learner(MUTANTS[name], Hyper(), BATCH)


def test_a_rule_that_branches_on_the_rate_is_found():
    def rule(hyper):
        peak = hyper.learning_rate
        return optax.adam(optax.warmup_cosine_decay_schedule(0.0, peak, 2, 9))

    with pytest.raises((AssertionError, jax.errors.TracerBoolConversionError)):
        check_learner(supervised(TASK, rule), Hyper(), BATCH)


def evaluated(change):
    return TASK._replace(evaluate=lambda v, b, k: change(TASK.evaluate(v, b, k), v, b))


def unmasked(metrics, variables, batch):
    logits = TASK.predict(variables, batch, jax.random.key(0))
    hits = (jnp.argmax(logits, -1) == batch.label).astype(jnp.float32)
    return {**metrics, "accuracy": Mean(hits.sum(), jnp.int32(len(hits)))}


TASKS = {
    "padding": evaluated(unmasked),
    "parts do not merge": evaluated(
        lambda m, v, b: {**m, "loss": m["loss"]._replace(weight=jnp.int32(1))}
    ),
    "does not add up": evaluated(lambda m, v, b: {"loss": jnp.float32(1)}),
    "not a scalar": TASK._replace(
        loss=lambda v, b, k, h: (jnp.ones(1), TASK.loss(v, b, k, h)[1])
    ),
    "is not the loss": TASK._replace(
        loss=lambda v, b, k, h: (2 * TASK.loss(v, b, k, h)[0], TASK.loss(v, b, k, h)[1])
    ),
    "leaves out": TASK._replace(reads=Reads("classification", ("learning_rate",))),
    "no metrics of the loss": TASK._replace(trivial=uniform("losses", 10)),
    "one row an example": TASK._replace(
        predict=lambda v, b, k: TASK.predict(v, b, k)[:3]
    ),
}


def test_a_good_task_passes():
    check_task(TASK, Hyper(), BATCH)


@pytest.mark.parametrize("name", TASKS)
def test_broken_tasks_are_found(name):
    with pytest.raises((AssertionError, TypeError), match=f"{name}|scalar"):
        check_task(TASKS[name], Hyper(), BATCH)


class RowsMix(Tiny):
    @nn.compact
    def __call__(self, image, *, train):
        del train
        return nn.Dense(3)(
            (image - image.mean(0, keepdims=True)).reshape(image.shape[0], -1)
        )


class Infinite(Tiny):
    @nn.compact
    def __call__(self, image, *, train):
        del train
        return jnp.log(nn.Dense(3)(image.reshape(image.shape[0], -1)) * 0.0)


class Constant(Tiny):
    @nn.compact
    def __call__(self, image, *, train):
        del train
        kernel = self.param("kernel", nn.initializers.ones, (16, 3))
        return image.reshape(image.shape[0], -1) @ kernel


class Idle(Tiny):
    """One of its layers is cut off from the loss."""

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        idle = jax.lax.stop_gradient(nn.Dense(3, name="idle")(x))
        return nn.Dense(3, name="output")(x) + idle


class Half(Tiny):
    """Its parameters take the type of the computation."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        return nn.Dense(3, dtype=self.dtype, param_dtype=self.dtype)(x)


class Twofold(Tiny):
    """A buffer has the name of a parameter, which one NNX attribute cannot hold."""

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        draw = nn.initializers.normal()
        kernel = self.param("kernel", draw, (x.shape[-1], 3))
        buffer = self.variable("batch_stats", "kernel", jnp.ones, (2,))
        return nn.Dense(3, name="output")(x) + x @ kernel * buffer.value[0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Idle(), "idle/bias gets no gradient"),
        (Half(), "not the same float32"),
        (Twofold(), "NNX refuses the variables"),
        (RowsMix(), "a row depends on the others"),
        (Infinite(), "prediction is not finite"),
        (Constant(), "initialisation does not depend on the key"),
    ],
)
def test_broken_models_are_found(model, words):
    with pytest.raises(AssertionError, match=words):
        check_model(model, IMAGE)


@pytest.mark.parametrize("kind", [np.float64, jnp.float32, jnp.bfloat16, np.float16])
def test_what_is_not_finite_is_found_in_every_type(kind):
    for value, expected in ((1.0, True), (np.nan, False), (np.inf, False)):
        tree = {"a": np.ones(2, np.int32), "b": np.array([0.0, value], kind)}
        assert finite(tree) is expected, value


def test_a_good_model_passes():
    check_model(Tiny(), IMAGE)


def test_parameters_without_a_gradient_may_be_named():
    check_model(Idle(), IMAGE, without_gradient=["idle/kernel", "idle/bias"])


def test_variables_may_be_given():
    model = Tiny()
    variables = functional.init(model, jax.random.key(5), IMAGE)
    check_model(model, IMAGE, variables=variables)
    spoilt = jax.tree.map(lambda x: x * jnp.inf, variables)
    with pytest.raises(AssertionError, match="prediction is not finite"):
        check_model(model, IMAGE, variables=spoilt)


def test_members_are_compared_after_some_steps():
    alone, seen = check_members(GOOD, Hyper(), BATCH, steps=3)
    assert int(alone.step) == len(seen) == 3
    assert seen[-1]["loss"].compute() < seen[0]["loss"].compute()
    with pytest.raises(AssertionError, match=r"not its lone run.*variables"):
        check_members(leaking(GOOD), Hyper(), BATCH, steps=2)
