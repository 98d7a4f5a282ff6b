"""A run whose state goes on from batch to batch is resumed with it, to the bit."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from test_resume import KILLS, campaign

from experiments import language
from jaxnets.once import once
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs

TEXT = "".join(f"{i} times {i} is {i * i}.\n" for i in range(70))
SIZES = {"features": 8, "steps": 8, "batch_size": 4, "samples": 1, "length": 5}


class Killed(Exception):
    pass


@pytest.fixture
def config(here):
    (here / "text.txt").write_text(TEXT)
    return dataclasses.replace(
        language.Config(), data="text.txt", epochs=3, reports=4, **SIZES
    )


def outcome(path):
    metrics = (path / "metrics.jsonl").read_bytes()
    return json.loads((path / "result.json").read_text()), metrics


def killed(main, config, verbs, monkeypatch, *, after):
    """Runs until it has something to log behind a step; the steps it had saved."""
    original = Run.log

    def stopping(self, **groups):
        if self.step > after:
            raise Killed
        original(self, **groups)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", stopping)
        with pytest.raises(Killed):
            main(config, verbs)
    return sorted(int(p.name) for p in (verbs.run_dir / "checkpoints").iterdir())


def test_the_carry_is_in_the_checkpoint(config, here, monkeypatch, made_once):
    made_once(language, config)
    language.main(config, Verbs(run_dir=here / "whole"))
    verbs = Verbs(run_dir=here / "killed", checkpoint_every=7)
    steps = killed(language.main, config, verbs, monkeypatch, after=40)
    feed = language.load(config).train
    assert steps[-1] % feed.length, "the checkpoint is in the middle of an epoch"
    language.main(config, verbs)
    assert outcome(here / "killed") == outcome(here / "whole")
    assert "samples" in (here / "whole" / "report.html").read_text().lower()
    written = (here / "whole" / "texts" / "samples.txt").read_text()
    assert written.startswith("0 ti")  # the text has no "The ", the default


@pytest.mark.one_python
def test_another_carry_would_be_another_result(config):
    data = language.load(config)
    learner = language.build(config, data)
    init, step = once(learner.init), jax.jit(learner.step)
    state = init(jax.random.key(0), config.hyper, data.train(0))
    for index in range(2):
        state, _ = step(state, data.train(index))
    buffers = jax.tree.map(np.zeros_like, state.variables.buffers)
    lost = state._replace(variables=state.variables._replace(buffers=buffers))
    one, two = (step(s, data.train(2))[1]["loss"].compute() for s in (state, lost))
    assert one != two


@pytest.mark.campaign
def test_kills_change_no_bit(toy, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    flags = [f"--{n.replace('_', '-')}={value}" for n, value in SIZES.items()]
    flags += ["--data=text.txt", "--epochs=9", "--checkpoint-every=7"]
    assert campaign(toy, tmp_path, "language", tuple(flags), KILLS) == KILLS
