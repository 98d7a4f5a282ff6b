"""Steps a call: measured once, written down, kept to."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from toys import small

from jaxnets import files
from jaxnets.once import once
from jaxnets.run import loop, pace
from jaxnets.run.checkpoints import digest
from jaxnets.run.folder import RunError
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs

CONFIG = small.Config(steps=24, every=12)


@pytest.fixture(autouse=True)
def _plain(plain):
    """No report is asked about here."""


@pytest.fixture(scope="module")
def begun():
    """A learner, a state and a feed."""
    data = small.load(CONFIG)
    learner = small.build(CONFIG, data)
    state = once(learner.init)(jax.random.key(0), CONFIG.hyper, data.train(0))
    return learner, state, data.train


@pytest.fixture
def given(begun, tmp_path, monkeypatch):
    """The same, on a machine that has measured nothing."""
    monkeypatch.setattr(files, "cache_root", lambda: tmp_path)
    return begun


@pytest.fixture
def timed(monkeypatch):
    """Sets what timings find, and lists which were made."""
    made = []

    def these(one, many=None, compiling=1.0):
        def first(timer):
            made.append("one")
            return {"step": one, "compiling": compiling}

        def both(timer):
            made.append("both")
            return {"1": one / 8, "10": many / 8}  # on a quieter machine

        monkeypatch.setattr(pace._Timer, "one", first)
        monkeypatch.setattr(pace._Timer, "both", both)
        return made

    return these


def test_nothing_is_timed_for_a_short_run_or_a_large_state(given, timed, monkeypatch):
    made = timed(1e-3)
    each, why = pace.chosen(*given, program="p", steps=999)
    assert (each, why) == (1, "fewer than 1,000 steps")
    monkeypatch.setattr(pace, "_LARGE", 100)
    each, why = pace.chosen(*given, program="p", steps=10**6)
    assert each == 1
    assert "larger" in why
    assert made == []


@pytest.mark.parametrize(
    ("one", "many", "steps", "each", "said", "timings"),
    [
        (0.2, None, 10**6, 1, "a step takes 200 ms", ["one"]),
        (1e-3, None, 3000, 1, "3,000 of 1 ms end before another", ["one"]),
        (
            1e-3,
            0.96e-3,
            5000,
            1,
            "0.125 ms a step, 0.12 ms in calls of 10",
            ["one", "both"],
        ),
        (
            1e-3,
            0.904e-3,
            5000,
            10,
            "0.125 ms a step, 0.113 ms in calls of 10",
            ["one", "both"],
        ),
    ],
)
def test_what_pays_is_chosen(given, timed, one, many, steps, each, said, timings):
    made = timed(one, many)
    found, why = pace.chosen(*given, program="p", steps=steps)
    assert found == each
    assert said in why
    assert made == timings
    again = pace.chosen(*given, program="p", steps=steps)
    assert again == (found, why)
    assert made == timings  # the same bits twice: nothing is timed again
    pace.chosen(*given, program="another", steps=steps)
    assert len(made) > len(timings)


def test_a_damaged_note_is_measured_again(given, timed, tmp_path):
    made = timed(0.2)
    pace.chosen(*given, program="p", steps=5000)
    (note,) = (tmp_path / "pace").iterdir()
    for text in ("", "[1]", '{"step": 1}', '{"step": "x"}', '{"step": null}'):
        note.write_text(text)
        assert pace.chosen(*given, program="p", steps=5000)[0] == 1
    assert len(made) == 6


def test_real_steps_are_timed_on_a_copy(given, monkeypatch, tmp_path):
    monkeypatch.setattr(pace, "_ROUND", 0.01)
    monkeypatch.setattr(pace, "_PAYS", 1e9)
    learner, state, feed = given
    before = digest(state)
    each, why = pace.chosen(learner, state, feed, program="p", steps=5000)
    assert digest(state) == before  # neither moved nor donated
    (note,) = (tmp_path / "pace").iterdir()
    found = json.loads(note.read_text())
    assert set(found) == {"step", "1", "10", "compiling"}
    assert all(value > 0 for value in found.values())
    assert each == (10 if found["10"] < 0.95 * found["1"] else 1)
    assert "in calls of 10" in why


def test_a_step_that_is_not_finite_is_left_to_the_run(given):
    learner, state, feed = given
    spoilt = jax.tree.map(lambda x: x * jnp.nan if x.dtype == jnp.float32 else x, state)
    each, why = pace.chosen(learner, spoilt, feed, program="p", steps=5000)
    assert (each, why) == (1, "a step is not finite")


def recorded(path):
    return json.loads((path / "config.json").read_text())["pace"]


@pytest.mark.one_python
def test_a_run_keeps_to_what_it_began_with(here, monkeypatch):
    monkeypatch.setattr(pace, "chosen", lambda *a, **k: (6, "measured"))
    whole = small.main(CONFIG, Verbs(run_dir=here / "whole"))
    assert recorded(here / "whole") == {"steps_per_call": 6, "why": "measured"}

    # Stopped in the middle, it goes on without another timing, to the same bits.
    def stopped(run, *given, **options):
        if run.step == 12:
            raise KeyboardInterrupt
        return log(run, *given, **options)

    log = Run.log
    monkeypatch.setattr(Run, "log", stopped)
    with pytest.raises(KeyboardInterrupt):
        small.main(CONFIG, Verbs(run_dir=here / "cut", checkpoint_every=6))
    monkeypatch.setattr(Run, "log", log)
    monkeypatch.setattr(pace, "chosen", None)
    seen = []
    train = loop.train
    monkeypatch.setattr(
        loop,
        "train",
        lambda *a, **k: (
            seen.append((k["start"], k["steps_per_call"])),
            train(*a, **k),
        )[1],
    )
    small.main(CONFIG, Verbs(run_dir=here / "cut"))
    assert seen == [(6, 6)]
    result = lambda name: (here / name / "result.json").read_text()
    assert result("cut") == result("whole")
    assert digest(whole.state) == json.loads(result("cut"))["state_sha256"]


@pytest.mark.one_python
def test_one_may_ask_for_it(here, monkeypatch):
    monkeypatch.setattr(pace, "chosen", None)
    short = dataclasses.replace(CONFIG, cosine=False, steps=12)
    small.main(short, Verbs(run_dir=here / "grown", steps_per_call=4))
    assert recorded(here / "grown")["steps_per_call"] == 4
    longer = dataclasses.replace(short, steps=24)
    with pytest.raises(RunError, match="began with 4 steps a call, not 5"):
        small.main(longer, Verbs(run_dir=here / "grown", steps_per_call=5))
    small.main(longer, Verbs(run_dir=here / "grown"))
    assert json.loads((here / "grown" / "result.json").read_text())["step"] == 24


def test_what_began_before_there_was_a_choice_goes_on_step_by_step(here, monkeypatch):
    monkeypatch.setattr(pace, "chosen", lambda *a, **k: (1, ""))
    short = dataclasses.replace(CONFIG, cosine=False, steps=12)
    small.main(short, Verbs(run_dir=here / "old"))
    path = here / "old" / "config.json"
    settings = json.loads(path.read_text())
    del settings["pace"]
    path.write_text(json.dumps(settings))
    monkeypatch.setattr(pace, "chosen", None)
    small.main(dataclasses.replace(short, steps=24), Verbs(run_dir=here / "old"))
    assert recorded(here / "old") == {"steps_per_call": 1, "why": "as it began"}
