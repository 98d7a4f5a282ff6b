"""Members of a population do as they would alone, however they are run."""

import copy
import dataclasses
import functools
import logging

import jax
import net
import numpy as np
import pytest

from jaxnets.learners.plateau import observe
from jaxnets.once import once
from jaxnets.run import loop
from jaxnets.sweeps import groups, members, settle, work
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.populations import Population, SeededSetting

RANGES = spaces.free(spaces.of(net.SPACE))
RATES = (0.002, 0.01, 0.04)
# The others are compared over ten steps below, and over fifty in the campaign.
FIRST = [
    m if m in ("vmap", "separate") else pytest.param(m, marks=pytest.mark.campaign)
    for m in groups.MODES
]
ROWS = [
    SeededSetting({"learning_rate": rate, "dropout": 0.1 + 0.05 * i}, i, 0)
    for i, rate in enumerate(RATES)
]


@pytest.fixture(scope="module")
def group():
    return groups.Group("all", net, net.Config(model="mlp"), RANGES)


@functools.lru_cache
def lone_learner(model):
    config = net.Config(model=model)
    return net.build(config, net.load(config))


@functools.lru_cache(maxsize=32)
def _alone(model, seed, data_seed, values, steps, every):
    hyper = net.Hyper()._replace(**dict(values))
    data = net.load(net.Config(model=model, data_seed=data_seed))
    learner = lone_learner(model)
    state = once(learner.init)(jax.random.key(seed), hyper, data.train(0))
    for pause in loop.train(learner, state, data.train, steps=steps, every=every):
        if every < steps:
            score = loop.evaluate(learner, pause.state, data.validation)
            loss = np.float32(score["loss"].compute())
            pause.state = jax.jit(observe)(pause.state, loss)
    return pause.state


def alone(group, row, steps, every=10):
    """The state after a lone run, by the loop that runs have."""
    values = tuple(row.values.items())
    return _alone(group.config.model, row.seed, row.data_seed, values, steps, every)


def together(population, steps, every=10):
    for start in range(0, steps, every):
        population.train(start, start + every, every, None)
        population.observe(population.evaluate()["loss"].compute())
    return population.state


def assert_close(state, other, tolerance=1e-5):
    for (path, mine), theirs in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(other), strict=True
    ):
        if jax.numpy.issubdtype(mine.dtype, jax.dtypes.prng_key):
            mine, theirs = jax.random.key_data(mine), jax.random.key_data(theirs)
        np.testing.assert_allclose(
            mine, theirs, rtol=tolerance, atol=tolerance, err_msg=str(path)
        )


@pytest.mark.parametrize("mode", FIRST)
def test_members_equal_their_lone_runs_after_50_steps(group, mode):
    state = together(Population(group, (), mode, ROWS), 50)
    for index, row in enumerate(ROWS):
        assert_close(members.row(state, index).inner, alone(group, row, 50))


@pytest.mark.campaign
@pytest.mark.parametrize("mode", groups.MODES)
def test_members_of_a_convolutional_network_equal_their_lone_runs(mode):
    group = groups.Group("all", net, net.Config(model="conv"), RANGES)
    state = together(Population(group, (), mode, ROWS), 50)
    for index, row in enumerate(ROWS):
        assert_close(members.row(state, index).inner, alone(group, row, 50), 1e-4)


@pytest.mark.parametrize("mode", FIRST)
@pytest.mark.one_python
def test_each_data_seed_has_its_own_batches(group, mode):
    pairs = zip(ROWS, (0, 7, 7), strict=True)
    rows = [row._replace(data_seed=seed) for row, seed in pairs]
    state = together(Population(group, (), mode, rows), 20)
    for index, row in enumerate(rows):
        assert_close(members.row(state, index).inner, alone(group, row, 20))


@pytest.mark.parametrize("mode", groups.MODES)
@pytest.mark.one_python
def test_a_member_that_diverges_is_frozen_and_the_others_go_on(group, mode):
    wild = SeededSetting({"learning_rate": 1e30, "dropout": 0.1}, 0, 0)
    population = Population(group, (), mode, [ROWS[0], wild, ROWS[2]])
    metrics = population.train(0, 10, 10, None)
    assert np.isfinite(metrics["loss"].compute()).all()
    state = population.state
    assert np.asarray(state.alive).tolist() == [True, False, True]
    first, reason, last = members.reasons(state, list(metrics))
    assert (first, last) == ("", "")
    step = int(state.died[1])
    assert 0 < step < 5
    assert reason.startswith(f"step {step}: ")
    assert "loss" in reason
    assert metrics["loss"].weight[1] < metrics["loss"].weight[0]
    for index, row in ((0, ROWS[0]), (2, ROWS[2])):
        assert_close(members.row(state, index).inner, alone(group, row, 10))
    # Frozen where a lone run would have stopped: before the step that was not finite.
    config = group.settings(wild.values, 0, 0)
    data = net.load(config)
    learner = lone_learner(config.model)
    lone = once(learner.init)(jax.random.key(0), config.hyper, data.train(0))
    with pytest.raises(loop.NonFiniteError, match=f"step {step}: ") as raised:
        for _ in loop.train(learner, lone, data.train, steps=10, every=1):
            pass
    assert raised.value.step == step
    assert int(members.row(state, 1).inner.steps) == step


class Compilations(logging.Handler):
    """Counts compilations of the training step, by what JAX itself logs."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        text = record.getMessage()
        self.count += "Finished XLA compilation of jit(one)" in text

    def __enter__(self):
        jax.config.update("jax_log_compiles", True)
        self.logger = logging.getLogger("jax._src.dispatch")
        self.propagated, self.logger.propagate = self.logger.propagate, False
        self.logger.addHandler(self)
        return self

    def __exit__(self, *details):
        jax.config.update("jax_log_compiles", False)
        self.logger.removeHandler(self)
        self.logger.propagate = self.propagated


@pytest.mark.parametrize("mode", FIRST)
def test_one_compilation_for_each_group_and_size(mode):
    group = groups.Group("all", net, net.Config(steps=20), RANGES)
    with Compilations() as seen:
        for number, rows in enumerate((ROWS, [*reversed(ROWS)], ROWS), start=1):
            population = Population(group, (), mode, rows)
            population.train(0, 10, 10, None)
            kept = population.state
            population.load(jax.device_get(kept))  # as after a kill
            population.train(10, 20, 10, None)
            assert seen.count == 1, (number, seen.count)
        Population(group, (), mode, ROWS[:2]).train(0, 10, 10, None)
    assert seen.count == (1 if mode == "separate" else 2)


def settled(group, steps, **changes):
    """What is settled for three members and so many steps, and what was said of it."""
    told = []
    plain = spaces.to_json(RANGES)
    definition = Definition("net", {"all": {}}, plain, trials=3, members=3, batch=3)
    other = copy.copy(group)
    other.plan = group.plan._replace(steps=steps)
    definition = dataclasses.replace(definition, **changes)
    return settle.settled(definition, other, told.append), told


def test_of_what_is_worth_a_try_the_fastest_is_taken(group):
    found, told = settled(group, 10**7)
    assert set(found["seconds"]) == {"separate", "vmap"}
    assert found["seconds"][found["mode"]] == min(found["seconds"].values())
    assert f"members run as {found['mode']} (seconds expected: " in told[0]
    assert (found["steps"], found["every"]) == (10**7, 10)
    state = sum(
        leaf.nbytes
        for leaf in jax.tree.leaves(
            members.row(Population(group, (), "vmap", ROWS).state, 0)
        )
    )
    assert state < found["bytes"] < 1000 * state
    memory = 4 * found["bytes"] / 2**30
    few, _ = settled(group, 30, memory=memory)
    assert 1 <= few["capacity"] <= 3
    with pytest.raises(settle.ObjectiveError, match="accuracy"):
        settled(group, 30, objectives=("los",))


def test_nothing_is_tried_that_costs_more_than_it_can_save():
    # A group of its own: what the others have compiled would cost nothing.
    group = groups.Group("all", net, net.Config(steps=1), RANGES)
    found, told = settled(group, 1)
    assert found["mode"] == "separate"
    assert "not worth a try: vmap, whose compilation takes" in told[0]


def test_the_work_of_halving_is_that_of_all_its_rungs():
    given = {"schedule": "halving", "trials": 27, "members": 9, "batch": 27, "seeds": 2}
    definition = Definition("net", {"all": {}}, spaces.to_json(RANGES), **given)
    taken, sizes = settle._work(definition, 90, 9)
    assert taken == 2 * (27 * 3 + 9 * 7 + 3 * 20 + 60)  # by hand, as in test_plans
    assert sizes == {18, 6, 2}  # 27 settings in three programs of nine


def test_what_is_asked_for_is_compiled_once_and_as_it_runs():
    group = groups.Group("all", net, net.Config(steps=20), RANGES)
    with Compilations() as seen:
        found, _ = settled(group, 20, mode="vmap")
        Population(group, (), found["mode"], ROWS).train(0, 10, 10, None)
    assert seen.count == 1


def test_data_is_loaded_once(monkeypatch):
    seen = []
    load = net.load
    monkeypatch.setattr(net, "load", lambda config: seen.append(config) or load(config))
    group = groups.Group("all", net, net.Config(steps=2, every=1), RANGES)
    group.feed(0)
    group.learner()
    assert len(seen) == 1
    group.feed(1)
    assert [config.data_seed for config in seen] == [0, 1]


def test_a_sweep_never_receives_the_test_split(group):
    for data in (group._data.test, group._data.dataset.test):
        with pytest.raises(groups.TestSplitError):
            data.columns["image"]
    with pytest.raises(groups.TestSplitError):
        group._data.test(0)
    with pytest.raises(groups.TestSplitError):
        loop.evaluate(group.learner(), None, group._data.test)


def test_rows_are_pairs_of_seeds(group):
    definition = Definition("net", {"all": {}}, {}, seeds=2, data_seeds=2)
    found = work.rows(definition, group, {"learning_rate": 0.1})
    pairs = [(row.seed, row.data_seed) for row in found]
    assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]
