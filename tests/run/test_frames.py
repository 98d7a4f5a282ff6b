"""Frames of a training survive a kill, and leave no trace in a run that only reads."""

import json

import jax
import numpy as np
import pytest

from experiments import gan
from jaxnets.run import frames
from jaxnets.run.session import Run, Verbs

SMALL = gan.Config(
    data="digits",
    features=4,
    noise=4,
    batch_size=16,
    discriminator_steps=2,
    conditional=True,
    steps=6,
    reports=3,
    judge_steps=10,
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
    jax.config.update("jax_disable_most_optimizations", True)  # to compile faster
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_images_come_back_by_step(tmp_path):
    images = np.random.default_rng(0).random((4, 3, 5, 1))
    with Run(SMALL, Verbs(run_dir=tmp_path / "run")) as run:
        for step in (10, 2):
            run.step = step
            frames.keep(run, "some", images + step / 100)
        found = frames.kept(run, "some", 4)
        frames.animate(run, "some", 4)
        with pytest.raises(ValueError, match="no name"):
            frames.keep(run, "../out", images)
    assert list(found) == [2, 10]
    expected = np.round(255 * np.clip(images + 0.1, 0, 1)).astype(np.uint8)
    assert np.array_equal(found[10], expected)
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"some.png", "some.gif"}


def test_a_gan_that_is_killed_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    """In the middle of training: both players, optimizers, average, frames."""
    gan.main(SMALL, Verbs(run_dir=tmp_path / "whole", checkpoint_every=1))
    keep = frames.keep

    def dying(run, *given):
        keep(run, *given)
        if run.step == 4:
            raise RuntimeError("killed")

    monkeypatch.setattr(frames, "keep", dying)
    with pytest.raises(RuntimeError, match="killed"):
        gan.main(SMALL, Verbs(run_dir=tmp_path / "cut", checkpoint_every=1))
    assert not (tmp_path / "cut" / "result.json").exists()
    monkeypatch.setattr(frames, "keep", keep)
    gan.main(SMALL, Verbs(run_dir=tmp_path / "cut", checkpoint_every=1))
    whole, cut = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("whole", "cut")
    )
    assert whole == cut  # the digest of the state among them
    for path in (tmp_path / "whole" / "frames" / "training").iterdir():
        other = tmp_path / "cut" / "frames" / "training" / path.name
        assert other.read_bytes() == path.read_bytes()
    lines = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "cut")]
    assert lines[0] == lines[1]
