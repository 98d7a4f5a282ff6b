"""Members are lone runs; together they are their mean probability."""

import jax
import numpy as np
import pytest
from toys import small

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.ensemble import ensemble, mean_probabilities
from jaxnets.learners.population import population
from jaxnets.learners.supervised import supervised
from jaxnets.models.convnet import ConvNet
from jaxnets.models.mlp import MLP
from jaxnets.once import once
from jaxnets.tasks.classification import classification, scores
from jaxnets.testing.learners import check_learner

KEY = jax.random.key(3)
HYPER = small.Hyper(learning_rate=0.05)


@pytest.fixture(scope="module")
def data():
    return small.load(small.Config())


@pytest.fixture(scope="module")
def plain():
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    return averaged(
        supervised(classification(ConvNet(filters=(4,), pools=(0,)), rates=()), rule)
    )


def together(plain, unrolled):
    return ensemble(
        plain, 3, combine=mean_probabilities, score=scores, unrolled=unrolled
    )


def compiled(learner):
    init, *others = learner[:4]
    return type(learner)(once(init), *map(jax.jit, others))


@pytest.fixture(scope="module")
def lone(plain):
    return compiled(plain)


def trained(learner, data, hyper=HYPER, key=KEY, steps=4):
    state = learner.init(key, hyper, data.train(0))
    for index in range(steps):
        state, metrics = learner.step(state, data.train(index))
    return state, metrics


@pytest.fixture(scope="module", params=[False, True], ids=["vmap", "unrolled"])
def trio(request, plain, data):
    learner = compiled(together(plain, request.param))
    return learner, *trained(learner, data)


@pytest.mark.one_python
def test_members_are_lone_runs_and_the_mean_is_theirs(trio, lone, data):
    learner, state, metrics = trio
    batch = data.validation(0)
    logits, losses = [], []
    for index, key in enumerate(jax.random.split(KEY, 3)):
        alone, own = trained(lone, data, key=key)
        for ours, theirs in zip(
            jax.tree.leaves(state.average), jax.tree.leaves(alone.average), strict=True
        ):
            mine = np.asarray(ours)[index]
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
        logits.append(np.asarray(lone.predict(alone, batch, KEY), np.float64))
        losses.append(own["loss"].compute())
    np.testing.assert_allclose(metrics["loss"].compute(), np.mean(losses), rtol=1e-5)
    exact = [np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in logits]
    predicted = np.exp(learner.predict(state, batch, KEY))
    np.testing.assert_allclose(predicted, np.mean(exact, 0), rtol=1e-4, atol=1e-6)

    found = learner.evaluate(state, batch, KEY)
    real = np.asarray(batch.mask)
    label = np.asarray(batch.label)
    hits = [(x.argmax(1) == label)[real].mean() for x in logits]
    np.testing.assert_allclose(found["accuracy_by_member"].compute(), hits, rtol=1e-6)
    np.testing.assert_allclose(
        found["member_accuracy"].compute(), np.mean(hits), rtol=1e-6
    )
    own = -np.log(np.mean(exact, 0))[np.arange(len(real)), label]
    np.testing.assert_allclose(
        found["loss"].compute(), own[real].mean(), rtol=1e-4, atol=1e-6
    )


def test_the_mean_prediction_is_never_worse_than_the_mean_loss(trio, data):
    """Jensen: the logarithm of a mean is at least the mean of the logarithms."""
    learner, state, _ = trio
    found = learner.evaluate(state, data.validation(0), KEY)
    assert found["loss"].compute() < found["member_loss"].compute()


def test_members_differ(trio):
    kernels = np.asarray(jax.tree.leaves(trio[1].average)[-1])
    assert not np.allclose(kernels[0], kernels[1])


def test_an_ensemble_keeps_the_contract(data):
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    single = supervised(classification(MLP(widths=(4,)), rates=()), rule)
    check_learner(together(single, False), HYPER, data.train(0))


def test_an_empty_ensemble_is_refused(plain):
    with pytest.raises(ValueError, match="of 0 networks"):
        ensemble(plain, 0, combine=mean_probabilities, score=scores)


@pytest.mark.one_python
def test_unrolled_members_may_have_batches_of_their_own(plain, data):
    keys = jax.random.split(KEY, 2)
    hypers = jax.tree.map(lambda x: np.full(2, x, np.float32), HYPER)
    batches = jax.tree.map(lambda a, b: np.stack([a, b]), data.train(0), data.train(1))
    states = []
    for unrolled in (False, True):
        pair = population(plain, own_batches=True, unrolled=unrolled)
        first = lambda *given, pair=pair: pair.step(pair.init(*given), given[2])[0]
        states.append(jax.jit(first)(keys, hypers, batches).average)
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
