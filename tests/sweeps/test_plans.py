"""What is to be done next follows from what was done, and from nothing else."""

import random

import optuna
import pytest

from jaxnets.run.folder import RunError
from jaxnets.sweeps import ledger, plans, rungs, search
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.space import Choice, LogUniform, Uniform

pytestmark = pytest.mark.host

SPACE = {"rate": LogUniform(1e-3, 1.0), "decay": Uniform(0.0, 1.0)}


def define(**changes):
    given = {"space": spaces.to_json(SPACE), "groups": {"a": {}, "b": {}}}
    return plans.Definition(**{"experiment": "x", **given, **changes})


def outcome(definition, unit):
    """As if the loss were `decay`, and shrank with the steps."""
    if not unit.entries:
        return {"steps": 90, "every": 9, "mode": "vmap", "capacity": 1000}
    value = lambda entry: entry.values["decay"] + 10.0 / unit.stop
    n = definition.replicas
    return {
        "results": [[[value(e)]] * n for e in unit.entries],
        "reasons": [[""] * n for e in unit.entries],
        "curves": [[[(unit.stop, value(e))]] * n for e in unit.entries],
        "member_steps": (unit.stop - unit.start) * n * len(unit.entries),
    }


def run(definition, order=None):
    """Does open units in any order until nothing is left."""
    outcomes, log = {}, []
    while not (found := plans.agenda(definition, outcomes)).complete:
        assert found.open
        unit = found.open[0] if order is None else order.choice(found.open)
        assert unit.name not in outcomes
        outcomes[unit.name] = outcome(definition, unit)
        log.append(unit)
    return found, outcomes, log


@pytest.mark.parametrize("schedule", rungs.SCHEDULES)
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_order_of_the_work_changes_nothing(schedule, method):
    definition = define(
        schedule=schedule, method=method, trials=12, members=3, batch=6, first=30
    )
    found, outcomes, _ = run(definition)
    for seed in range(2):
        again, others, _ = run(definition, random.Random(seed))
        assert again == found
        assert others == outcomes
    for label in definition.groups:
        numbers = [done.trial for done in found.finished if done.group == label]
        assert sorted(numbers) == list(range(len(numbers)))
        if schedule != "hyperband":
            assert len(numbers) == 12


def test_groups_are_given_the_same_settings():
    found, _, _ = run(define())
    a, b = ([f.values for f in found.finished if f.group == g] for g in "ab")
    assert a == b


def test_halving_frees_the_compute_and_keeps_the_best():
    definition = define(schedule="halving", trials=27, members=27, batch=27)
    found, outcomes, log = run(definition)
    mine = [unit for unit in log if unit.group == "a" and unit.entries]
    assert [(u.start, u.stop, len(u.entries)) for u in mine] == [
        (0, 3, 27),
        (3, 10, 9),
        (10, 30, 3),
        (30, 90, 1),
    ]
    used = sum(outcomes[u.name]["member_steps"] for u in mine)
    assert used == 27 * 3 + 9 * 7 + 3 * 20 + 60  # by hand; without halving 27 * 90
    whole = [f for f in found.finished if f.group == "a" and f.whole]
    all_of = [f for f in found.finished if f.group == "a"]
    best = min(all_of, key=lambda f: f.values["decay"])
    assert whole == [best]
    assert [step for step, _ in best.curves[0]] == [3, 10, 30, 90]


def test_the_survivors_go_on_from_their_own_states():
    _, _, log = run(define(schedule="halving", trials=9, members=4, batch=9))
    where = {
        (unit.name, place): entry.trial
        for unit in log
        for place, entry in enumerate(unit.entries)
    }
    later = [entry for unit in log if unit.start for entry in unit.entries]
    assert later
    for entry in later:
        assert where[entry.parent.unit, entry.parent.place] == entry.trial


def test_hyperband_is_table_1_of_the_paper():
    # Li et al., table 1: R = 81, eta = 3; n_i and r_i of every bracket.
    found = rungs.brackets("hyperband", trials=1, batch=1, steps=81, eta=3, first=1)
    assert [(b.sizes, b.stops) for b in found] == [
        ((81, 27, 9, 3, 1), (1, 3, 9, 27, 81)),
        ((34, 11, 3, 1), (3, 9, 27, 81)),
        ((15, 5, 1), (9, 27, 81)),
        ((8, 2), (27, 81)),
        ((5,), (81,)),
    ]


def test_exact_zeros_are_another_program():
    space = {"rate": LogUniform(1e-3, 1.0), "dropout": Choice(0.0, 0.5)}
    definition = define(
        space=spaces.to_json(space), method="grid", trials=8, groups={"a": {}}
    )
    open_units = plans.agenda(
        definition, {"0.settle": {"steps": 9, "every": 3, "capacity": 99}}
    ).open
    assert [(u.zeros, len(u.entries)) for u in open_units] == [
        (("dropout",), 4),
        ((), 4),
    ]


def test_what_fits_into_the_memory_goes_in_waves_of_one_size():
    definition = define(trials=16, members=16, groups={"a": {}})
    settled = {"steps": 9, "every": 3, "capacity": 5}
    open_units = plans.agenda(definition, {"0.settle": settled}).open
    assert [len(u.entries) for u in open_units] == [4, 4, 4, 4]


def test_a_group_that_cannot_be_built_fails_alone():
    definition = define(trials=4, members=4)
    outcomes = {"0.settle": {"failed": "no such layer"}}
    outcomes["1.settle"] = outcome(definition, plans.WorkUnit("1.settle", "b"))
    found = plans.agenda(definition, outcomes)
    assert [f.reasons for f in found.finished] == [["no such layer"]] * 4
    assert [u.group for u in found.open] == ["b"]


def test_a_setting_that_diverged_never_goes_on():
    assert rungs.survivors([2.0, float("inf"), 1.0], 3) == [0, 2]
    assert rungs.survivors([1.0, 1.0, 0.5], 2) == [0, 2]


def test_pbt_copies_the_best_fifth_over_the_worst():
    scores = [float(i) for i in range(10)]
    values = [{"rate": 0.1, "decay": 0.1 * i} for i in range(10)]
    moves = rungs.evolved(scores, values, SPACE, seed=1)
    assert [parent for parent, _ in moves[:8]] == list(range(8))
    assert all(new == old for (_, new), old in zip(moves[:8], values, strict=False))
    for parent, new in moves[8:]:
        assert parent in (0, 1)
        assert new["rate"] == pytest.approx(0.08) or new["rate"] == pytest.approx(0.12)
        assert 0 <= new["decay"] <= 1
    assert moves == rungs.evolved(scores, values, SPACE, seed=1)
    scores[0] = float("inf")
    (parent, _), *_ = rungs.evolved(scores, values, SPACE, seed=1)
    assert parent in (1, 2)


def test_methods_that_learn_wait_for_their_results():
    learning = define(method="tpe", trials=8, members=4, batch=4, groups={"a": {}})
    settled = {"0.settle": {"steps": 9, "every": 3, "capacity": 99}}
    assert len(plans.agenda(learning, settled).open) == 1
    blind = define(method="random", trials=8, members=4, batch=4, groups={"a": {}})
    assert len(plans.agenda(blind, settled).open) == 2
    assert "tpe" in search.LEARNING


def test_a_proxy_that_cannot_be_used_is_a_users_error(monkeypatch):
    def missing(host, port):
        raise ImportError("No module named 'grpc'")

    monkeypatch.setattr(optuna.storages, "GrpcStorageProxy", missing)
    with pytest.raises(RunError, match="grpc://there:1 needs grpcio"):
        ledger._storage("grpc://there:1")
    with pytest.raises(RunError, match="grpc://there:x has no port"):
        ledger._storage("grpc://there:x")
