from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import small

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.learners.supervised import supervised
from jaxnets.models.convnet import ConvNet
from jaxnets.models.mlp import MLP
from jaxnets.once import once
from jaxnets.tasks.classification import classification
from jaxnets.testing.learners import check_learner

KEY = jax.random.key(0)


def near(left, right, **tolerance):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.fixture(scope="module")
def data():
    return small.load(small.Config())


@pytest.fixture(scope="module")
def plain():
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    return supervised(classification(ConvNet(filters=(4,), pools=(0,))), rule)


def compiled(learner):
    init, *others = learner[:4]
    return type(learner)(once(init), *map(jax.jit, others))


@pytest.fixture(scope="module")
def lone(plain):
    return compiled(plain)


@pytest.fixture(scope="module")
def mean(plain):
    return compiled(averaged(plain))


def walked(learner, data, hyper, steps=7):
    state, path = learner.init(KEY, hyper, data.train(0)), []
    for index in range(steps):
        state, _ = learner.step(state, data.train(index))
        path.append(state)
    return path


@pytest.mark.parametrize("decay", [0.0, 0.7, 0.999])
@pytest.mark.one_python
def test_the_average_is_the_weighted_mean_of_the_iterates(mean, data, decay):
    path = walked(mean, data, small.Hyper(average_decay=decay))
    weights = np.array([decay ** (6 - s) for s in range(7)])  # 0**0 is 1
    weights /= weights.sum()
    iterates = [state.inner.variables for state in path]
    expected = jax.tree.map(
        lambda *leaves: sum(
            w * np.asarray(x) for w, x in zip(weights, leaves, strict=True)
        ),
        *iterates,
    )
    for ours, theirs in zip(
        jax.tree.leaves(path[-1].average), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.one_python
def test_training_is_not_touched_and_evaluation_is(lone, mean, data):
    hyper = small.Hyper(average_decay=0.9)
    ours = walked(mean, data, hyper)[-1]
    theirs = walked(lone, data, hyper)[-1]
    near(ours.inner.variables, theirs.variables, rtol=1e-5, atol=1e-7)
    batch = data.validation(0)
    score = mean.evaluate(ours, batch, KEY)["loss"].compute()
    expected = lone.evaluate(theirs._replace(variables=ours.average), batch, KEY)
    np.testing.assert_allclose(score, expected["loss"].compute(), rtol=1e-6)
    assert score != lone.evaluate(theirs, batch, KEY)["loss"].compute()
    rows = mean.predict(ours, batch, KEY)
    assert rows.shape == (len(batch.mask), 10)


def test_before_the_first_step_the_initial_variables_are_judged(lone, mean, data):
    state = mean.init(KEY, small.Hyper(), data.train(0))
    ours = mean.evaluate(state, data.validation(0), KEY)["loss"].compute()
    theirs = lone.evaluate(state.inner, data.validation(0), KEY)["loss"].compute()
    assert ours == theirs


@pytest.mark.campaign
@pytest.mark.parametrize("wrap", [lambda learner: learner, averaged])
def test_learners_keep_the_contract(plain, data, wrap):
    hyper = small.Hyper(learning_rate=0.05, average_decay=0.5)
    check_learner(wrap(plain), hyper, data.train(0))


def test_an_averaged_learner_keeps_the_contract(data):
    hyper = small.Hyper(learning_rate=0.05, average_decay=0.5)
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    dense = supervised(classification(MLP(widths=(4,)), rates=()), rule)
    check_learner(averaged(dense), hyper, data.train(0))


@pytest.mark.one_python
def test_members_with_batches_of_their_own(plain, lone, data):
    pair = population(plain, own_batches=True)
    batches = jax.tree.map(lambda *x: np.stack(x), data.train(0), data.train(1))
    hypers = jax.tree.map(lambda x: np.full(2, x, np.float32), small.Hyper())
    keys = jax.random.split(KEY, 2)
    first = once(pair.init)(keys, hypers, batches)
    state, metrics = jax.jit(pair.step)(first, batches)
    alone = lone.init(keys[1], small.Hyper(), data.train(1))
    after, expected = lone.step(alone, data.train(1))
    loss = metrics["loss"].compute()[1]
    np.testing.assert_allclose(loss, expected["loss"].compute(), rtol=1e-5)
    member = jax.tree.map(lambda x: np.asarray(x)[1], state.variables)
    near(member, after.variables, rtol=1e-4, atol=1e-5)


class Centre(NamedTuple):
    """The state of `centred`."""

    variables: Any
    optimizer: Any


class Pull(NamedTuple):
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.9


def centred(accumulate):
    """A learner of the mean of its rows: momentum, a schedule, decay, clipping."""
    extras = optimizers.Extras(l2=True, clip=True, accumulate=accumulate)
    shape = schedules.over(4, schedules.cosine, warmup=2)
    optimizer = optimizers.composed(optimizers.momentum, shape, extras)(Pull())

    def init(key, hyper, batch):
        variables = {"kernel": jnp.zeros(batch.shape[1]), "count": jnp.int32(0)}
        return Centre(variables, optimizer.init({"kernel": variables["kernel"]}))

    def step(state, batch):
        params = {"kernel": state.variables["kernel"]}
        loss = lambda p: jnp.mean(jnp.sum((batch - p["kernel"][None]) ** 2, axis=1))
        updates, rest = optimizer.update(
            jax.grad(loss)(params), state.optimizer, params
        )
        count = state.variables["count"] + 1
        after = optax.apply_updates(params, updates)
        return Centre({**after, "count": count}, rest), {}

    return Learner(init, step, lambda *_: {}, lambda *_: None)


def test_the_average_counts_updates_of_accumulated_batches():
    """Four batches of 4 rows an update, or one of 16: parameters and average agree."""
    rows = np.random.default_rng(0).normal(size=(4, 16, 3)).astype(np.float32)
    found = {}
    for parts in (1, 4):
        learner = averaged(centred(parts))
        step = jax.jit(learner.step)
        state = learner.init(KEY, Pull(), rows[0])
        for batch in rows.reshape(4 * parts, -1, 3):
            state, _ = step(state, batch)
        found[parts] = state
    assert found[1].steps == found[4].steps == 4
    for name in ("inner", "average"):
        one, four = (getattr(found[parts], name) for parts in (1, 4))
        kernels = [getattr(s, "variables", s)["kernel"] for s in (one, four)]
        np.testing.assert_allclose(*kernels, rtol=1e-5)
    assert found[4].average["count"] == 16  # integers are not averaged
    last = found[4].inner.variables["kernel"]
    assert np.abs(found[4].average["kernel"] - last).max() > 1e-3
