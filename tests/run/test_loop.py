import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import small

from jaxnets.learners.population import population, seeded
from jaxnets.metrics import merge, to_host
from jaxnets.once import once
from jaxnets.run import loop
from jaxnets.run.checkpoints import digest

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def data():
    return small.load(small.Config())


@pytest.fixture(scope="module")
def learner(data):
    return small.build(small.Config(), data)


def fresh(learner, data, hyper=small.Hyper()):
    return once(learner.init)(KEY, hyper, data.train(0))


def test_the_loop_is_the_steps_one_by_one(learner, data):
    state, step, parts = fresh(learner, data), jax.jit(learner.step), []
    for index in range(12):
        state, metrics = step(state, data.train(index))
        parts.append(to_host(metrics))
    pauses = list(
        loop.train(learner, fresh(learner, data), data.train, steps=12, every=12)
    )
    assert [pause.step for pause in pauses] == [12]
    expected = functools.reduce(merge, parts)
    for name, value in pauses[0].metrics.items():
        np.testing.assert_allclose(value.compute(), expected[name].compute(), rtol=1e-6)
    params = pauses[0].state.inner.variables.params
    for ours, theirs in zip(
        jax.tree.leaves(params),
        jax.tree.leaves(state.inner.variables.params),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_trained_is_the_last_state(learner, data):
    pauses = loop.train(learner, fresh(learner, data), data.train, steps=11, every=4)
    last = [pause.state for pause in pauses][-1]
    state = loop.trained(learner, fresh(learner, data), data.train, steps=11)
    assert digest(state) == digest(last)


def test_seeded_members_begin_as_each_would_alone(learner, data):
    batch = data.train(0)
    states = seeded(population(learner), small.Hyper(), batch, 2)
    for seed in range(2):
        alone = once(learner.init)(jax.random.key(seed), small.Hyper(), batch)
        member = jax.tree.map(lambda leaf: leaf[seed], states)  # noqa: B023
        params = member.inner.variables.params, alone.inner.variables.params
        for ours, theirs in zip(*map(jax.tree.leaves, params), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_pauses_come_at_every_interval_and_at_the_end(learner, data):
    pauses = loop.train(learner, fresh(learner, data), data.train, steps=11, every=4)
    found = [(pause.step, pause.due, pause.metrics["loss"].weight) for pause in pauses]
    assert found == [(4, True, 128), (8, True, 128), (11, True, 96)]


@pytest.mark.parametrize("each", [10, 7])
@pytest.mark.one_python
def test_ten_steps_a_call_are_the_plain_loop(learner, data, each):
    def run(**options):
        return list(
            loop.train(
                learner, fresh(learner, data), data.train, steps=40, every=20, **options
            )
        )

    plain, scanned = run(), run(steps_per_call=each)
    assert [p.step for p in plain] == [p.step for p in scanned]
    for one, other in zip(plain, scanned, strict=True):
        for name in one.metrics:
            expected = one.metrics[name].compute()
            np.testing.assert_allclose(
                other.metrics[name].compute(), expected, rtol=1e-5
            )
    last = (jax.tree.leaves(p[-1].state.inner.variables) for p in (plain, scanned))
    for ours, theirs in zip(*last, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_interrupted_interval_goes_on_to_the_same_bits(learner, data):
    whole = list(
        loop.train(learner, fresh(learner, data), data.train, steps=20, every=10)
    )
    stops = iter([3, 14])
    stop = next(stops)
    state, metrics, start, found = fresh(learner, data), None, 0, []
    while start < 20:
        for pause in loop.train(
            learner,
            state,
            data.train,
            steps=20,
            every=10,
            start=start,
            metrics=metrics,
            watch=lambda step, stop=stop: step == stop,
        ):
            state, start = pause.state, pause.step
            metrics = None if pause.due else pause.metrics
            if not pause.due:
                break
            found.append(pause)
        stop = next(stops, None)
    assert [p.step for p in found] == [10, 20]
    for one, other in zip(whole, found, strict=True):
        assert {n: m.compute() for n, m in one.metrics.items()} == {
            n: m.compute() for n, m in other.metrics.items()
        }
    assert digest(whole[-1].state) == digest(found[-1].state)


def test_the_caller_may_change_the_state(learner, data):
    pauses = loop.train(learner, fresh(learner, data), data.train, steps=4, every=2)
    first = next(pauses)
    zeros = jax.tree.map(jnp.zeros_like, first.state.inner.variables)
    first.state = first.state._replace(
        inner=first.state.inner._replace(variables=zeros)
    )
    last = next(pauses)
    largest = max(
        float(jnp.abs(x).max()) for x in jax.tree.leaves(last.state.inner.variables)
    )
    assert largest < 0.05  # two steps of Adam from zero


def test_one_compilation_for_eight_learning_rates(data):
    traces = 0
    base = small.build(small.Config(), data)

    def step(state, batch):
        nonlocal traces
        traces += 1
        return base.step(state, batch)

    learner, losses = base._replace(step=step), set()
    for rate in np.logspace(-4, -1, 8):
        state = fresh(learner, data, small.Hyper(learning_rate=float(rate)))
        (pause,) = loop.train(learner, state, data.train, steps=3, every=3)
        losses.add(float(pause.metrics["loss"].compute()))
    assert traces == 1
    assert len(losses) == 8


def test_a_population_member_is_its_lone_run(learner, data):
    rates = jnp.array([1e-3, 1e-2, 3e-2])
    hypers = jax.tree.map(lambda x: jnp.full(3, x), small.Hyper())
    hypers = hypers._replace(learning_rate=rates)
    keys = jax.random.split(KEY, 3)
    together = population(learner)
    state = once(together.init)(keys, hypers, data.train(0))
    (pause,) = loop.train(together, state, data.train, steps=50, every=50)
    logits = members(together, pause.state, data.test)
    for index in range(3):
        hyper = jax.tree.map(lambda x, i=index: x[i], hypers)
        alone = once(learner.init)(keys[index], hyper, data.train(0))
        (lone,) = loop.train(learner, alone, data.train, steps=50, every=50)
        ours = jax.tree.map(lambda x, i=index: x[i], pause.state.inner.variables)
        for a, b in zip(
            jax.tree.leaves(ours),
            jax.tree.leaves(lone.state.inner.variables),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        expected = loop.predict(learner, lone.state, data.test)
        np.testing.assert_allclose(logits[: len(expected), index], expected, atol=1e-4)


def members(learner, state, feed):
    """Predictions with the members behind the examples."""
    moved = learner._replace(
        predict=lambda *arguments: jnp.swapaxes(learner.predict(*arguments), 0, 1)
    )
    return loop.predict(moved, state, feed)


@pytest.mark.one_python
def test_evaluation_does_not_depend_on_the_batch_size(learner, data):
    from jaxnets.data.feeds.base import ordered
    from jaxnets.ops.augment import normalize
    from jaxnets.types import ImageBatch

    state = fresh(learner, data)
    change = normalize(data.dataset.mean, data.dataset.std)
    found = []
    for size in (7, 64, 364):
        feed = ordered(data.dataset.test, ImageBatch, batch_size=size, transform=change)
        found.append(loop.evaluate(learner, state, feed))
        rows = loop.predict(learner, state, feed)
        assert rows.shape == (364, 10)
    for metrics in found[1:]:
        for name, value in metrics.items():
            np.testing.assert_array_equal(value.weight, found[0][name].weight)
            np.testing.assert_allclose(
                value.compute(), found[0][name].compute(), rtol=1e-5
            )


@pytest.mark.parametrize("each", [1, 5])
def test_the_first_step_that_is_not_finite_is_named(learner, data, each):
    def poisoned(columns, fetched):
        batch = data.train.prepare(columns, fetched)
        bad = jnp.where(fetched.step == 13, jnp.nan, 1.0)
        return batch._replace(image=batch.image * bad)

    feed = dataclasses.replace(data.train, prepare=poisoned)
    pauses = loop.train(
        learner, fresh(learner, data), feed, steps=40, every=10, steps_per_call=each
    )
    assert next(pauses).step == 10
    with pytest.raises(loop.NonFiniteError, match=r"step 13: .*loss") as error:
        next(pauses)
    assert error.value.step == 13
    assert np.isnan(error.value.batch.image).all()
    np.testing.assert_array_equal(error.value.batch.label, data.train(13).label)


def test_a_gradient_that_is_not_finite_is_noticed_though_the_loss_is(learner, data):
    @jax.custom_vjp
    def broken(x):
        return x

    broken.defvjp(lambda x: (x, None), lambda _, g: (g * jnp.inf,))

    from jaxnets.learners import optimizers, schedules
    from jaxnets.learners.supervised import supervised
    from jaxnets.models.mlp import MLP
    from jaxnets.tasks.classification import classification

    task = classification(MLP(widths=()))

    def loss(variables, batch, key, hyper):
        value, rest = task.loss(variables, batch, key, hyper)
        return broken(value), rest

    rule = optimizers.composed(optimizers.descent, schedules.constant())
    bad = supervised(task._replace(loss=loss), rule)
    with pytest.raises(loop.NonFiniteError, match="step 0: gradient_norm"):
        next(loop.train(bad, fresh(bad, data), data.train, steps=5, every=5))
