"""Kill any process of a sweep at any moment: no trial is lost, none is left running."""

import dataclasses
import json
import time
from pathlib import Path

import optuna
import pytest
from test_sweep import trials

from jaxnets.run import folder as folders
from jaxnets.sweeps import session
from jaxnets.sweeps.ledger import Ledger
from jaxnets.sweeps.plans import Definition, WorkUnit
from jaxnets.sweeps.session import Surroundings

TOYS = Path(__file__).parent / "toys"

FLAGS = (
    *("--mode", "vmap", "--members", "4", "--trials", "8", "--steps", "200"),
    *("--plan", "halving", "--eta", "2", "--checkpoint-seconds", "0"),
)
# One compilation for all rungs: most of a small sweep is compiling.
QUICK = (
    *("--mode", "separate", "--members", "4", "--trials", "4", "--steps", "60"),
    *("--plan", "halving", "--eta", "2", "--checkpoint-seconds", "0"),
)


@pytest.fixture
def killed(warm, surroundings, tmp_path):
    """Runs the program that kills sweeps."""

    def run(*arguments):
        words = [TOYS / "killed.py", *map(str, arguments)]
        return warm.run(words, cwd=tmp_path, env=surroundings(), timeout=None)

    return run


def campaign(tmp_path, killed, kills, flags, settings, *, workers=0, seed=0):
    """So many kills; every sweep must end as the one that was left alone."""
    done = killed(kills, seed, workers, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in found["folders"]:
        for file in ("table.csv", "result.json", "best/metrics.jsonl"):
            mine, calm = (tmp_path / f / file for f in (name, "calm"))
            assert mine.read_bytes() == calm.read_bytes(), (name, file)
        work, results = trials(tmp_path / name)
        states = [trial.state for trial in (*work, *results)]
        assert optuna.trial.TrialState.RUNNING not in states
        numbers = [trial.user_attrs["trial"] for trial in results]
        assert sorted(numbers) == list(range(settings))
    return found["kills"]


def test_3_kills_change_nothing(tmp_path, killed):
    assert campaign(tmp_path, killed, 3, QUICK, 4) == 3


@pytest.mark.campaign
def test_30_kills_over_workers_and_who_leads(tmp_path, killed):
    assert campaign(tmp_path, killed, 30, FLAGS, 8, workers=1, seed=1) == 30


def test_a_worker_that_comes_first_is_in_nobodys_way(tmp_path):
    wanted = {"experiment": "sweep of net", "config": {"a": 1}, "origin": None}
    root = tmp_path / "sweeps"
    for named in (None, tmp_path / "mine"):
        first = folders.prepared(root, wanted, named=named)
        lead = folders.opened(root, wanted, named=named)
        assert lead.path == first == folders.prepared(root, wanted, named=named)
        with pytest.raises(folders.RunError, match="is being run by process"):
            folders.opened(root, wanted, named=named)
        lead.close()


@pytest.mark.parametrize("named", [False, True])
def test_a_worker_that_comes_first_leaves_settings_for_who_leads(here, named):
    definition = Definition("net", {"all": {}}, {})
    wanted = {"experiment": "sweep of net", "config": {}}
    folder = here / "mine" if named else None
    lead = Surroundings(folder=folder)
    worker = dataclasses.replace(lead, worker=True)
    held, path = session._folder(definition, wanted, worker)
    assert held is None
    assert folders.read_settings(path)["experiment"] == "sweep of net"
    led, same = session._folder(definition, wanted, lead)
    assert same == path
    led.close()


UNITS = [WorkUnit("0.settle", "all"), WorkUnit("1.settle", "other")]


def ledger(folder, lease=60.0):
    return Ledger(folder, "sweep", {"a": 1}, 1, lease=lease)


def test_a_lease_that_ran_out_is_failed_and_queued_again(tmp_path, monkeypatch):
    first, second = ledger(tmp_path), ledger(tmp_path)
    lost = first.claim(UNITS[:1])
    assert lost is not None
    assert second.claim(UNITS[:1]) is None
    later = time.time() + first.lease + 1
    monkeypatch.setattr("jaxnets.sweeps.ledger.time.time", lambda: later)
    again = second.claim(UNITS[:1])
    assert again is not None
    with again:
        again.complete({"x": 1})
    lost.complete({"x": 2})  # the one that was thought dead comes too late
    assert second.outcomes() == {"0.settle": {"x": 1}}
    work, _ = trials(tmp_path, "sweep")
    assert [trial.state.name for trial in work] == ["FAIL", "COMPLETE"]
    assert "ran out" in work[0].user_attrs["reason"]
    assert work[0].user_attrs["worker"] == first.worker
    first.close()
    second.close()


def test_a_lease_is_renewed_while_its_worker_lives(tmp_path):
    mine = ledger(tmp_path, 0.2)
    signs = set()
    with mine.claim(UNITS) as lease:
        until = time.monotonic() + 60
        while len(signs) < 3 and time.monotonic() < until:
            (trial,) = mine._trials(optuna.trial.TrialState.RUNNING)
            signs.add(trial.user_attrs["renewed"])
            time.sleep(0.02)
        lease.complete({"x": 1})
    assert len(signs) == 3
    assert mine.outcomes() == {"0.settle": {"x": 1}}
    mine.close()


def test_an_interrupted_unit_is_free_at_once(tmp_path):
    mine = ledger(tmp_path)
    with pytest.raises(KeyboardInterrupt), mine.claim(UNITS):
        raise KeyboardInterrupt
    again = mine.claim(UNITS)
    assert again.unit.name == "0.settle"
    mine.close()


def test_another_sweep_under_the_same_name_is_refused(tmp_path):
    ledger(tmp_path).close()
    with pytest.raises(folders.RunError, match="another sweep"):
        Ledger(tmp_path, "sweep", {"a": 2}, 1)
    with pytest.raises(folders.RunError, match="cannot be used"):
        Ledger(tmp_path, "sweep", {"a": 1}, 1, url="sqlite:////no/such/folder/x.db")
