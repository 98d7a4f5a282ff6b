"""Studies of models with a code or with two players, on tiny networks."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import vae
from experiments.studies import likelihoods, ring, vae_without_kl
from jaxnets import files
from jaxnets.evaluation import evaluator as judges
from jaxnets.run import settings

TINY = {"epochs": 1, "reports": 1, "judged": 12, "bound_samples": 4}


@pytest.fixture
def here(here, monkeypatch):
    monkeypatch.setenv("JAXNETS_CACHE", str(here / "cache"))
    return here


def quickly_judged(monkeypatch):
    short, whole = judges.JudgeRecipe(steps=3), judges.judge
    monkeypatch.setattr(judges, "judge", lambda data, say: whole(data, recipe=short))


def recorded(path, config, bound):
    """A finished run, as far as the table reads it."""
    path.mkdir(parents=True)
    made = {"experiment": "any", "config": settings.to_json(config)}
    (path / "config.json").write_text(files.dump_json(made))
    (path / "result.json").write_text("{}")
    rows = {"elbo": [b - 1 for b in bound], "bound": bound}
    (path / "judged.json").write_text(json.dumps(rows))
    (path / "timing.jsonl").write_text('{"seconds": 1}\n{"seconds": 90}\n')


def test_the_table_compares_image_by_image(here, capsys):
    folder = here / likelihoods.FOLDER
    config = likelihoods.Config(data="digits", imagined=0)
    bounds = {
        "digits-VAE-0": [-20.0, -10.0, -30.0],
        "digits-VAE-5-samples-0": [-19.0, -10.0, -28.0],
        "digits-DRAW-16-steps-0": [-18.0, -9.0, -27.0],
    }
    made = likelihoods.runs(config).values()
    for (name, bound), (_, one) in zip(bounds.items(), made, strict=True):
        recorded(folder / name, one, bound)
    found = likelihoods.main(config)
    assert found["DRAW, 16 steps"] == [-18]
    table = (folder / "digits.md").read_text()
    error = np.std([-20, -10, -30], ddof=1) / np.sqrt(3)
    assert (
        f"| VAE | 0 | -21.00 ± {error:.2f} | -20.00 ± {error:.2f} | 0.00 | 1.5 |  |"
        in table
    )
    apart = np.std([2, 1, 3], ddof=1) / np.sqrt(3)
    assert f"| 2.00 ± {apart:.2f} |" in table
    assert table.strip() in capsys.readouterr().out
    assert (folder / "digits.png").exists()


def test_the_configurations_differ_in_the_model_only():
    made = likelihoods.runs(likelihoods.Config(data="digits", samples=7, steps=3))
    (_, plain), (_, weighted), (_, drawn) = made.values()
    assert dataclasses.replace(plain, samples=7) == weighted
    assert drawn.steps == 3
    shared = ("data", "binarise", "judged", "bound_samples", "binarise_seed")
    assert all(getattr(plain, n) == getattr(drawn, n) for n in shared)


class Begun(Exception):
    """Training begins."""


def test_a_slower_duel_on_the_ring_takes_more_and_smaller_steps(monkeypatch):
    begun = []

    def train(learner, state, feed, *, steps, **how):
        begun.append((steps, np.asarray(state.inner.hyper.learning_rate)))
        raise Begun

    monkeypatch.setattr(ring.loop, "train", train)
    config = ring.Config(steps=10, batch_size=4, width=2, seeds=2)
    duel = ring.duels(config)["minimax, no penalty"]
    points = ring.ring(8, config.deviation)
    for slower in (1, 4):
        with pytest.raises(Begun):
            ring.trained(config, duel._replace(slower=slower), points)
    (steps, rate), (more, smaller) = begun
    assert (steps, more) == (10, 40)
    np.testing.assert_allclose(rate, config.hyper.learning_rate)
    np.testing.assert_allclose(smaller, rate / 4)


@pytest.mark.campaign
def test_the_table_can_be_made_from_nothing(here, monkeypatch):
    quickly_judged(monkeypatch)
    sizes = {"steps": 2, "judged": 9, "bound_samples": 5, "imagined": 40}
    config = likelihoods.Config(data="digits", vae_epochs=1, draw_epochs=1, **sizes)
    found = likelihoods.main(config)
    assert all(np.isfinite(list(values)).all() for values in found.values())


@pytest.mark.campaign
def test_without_the_divergence_there_are_other_samples(here, monkeypatch):
    quickly_judged(monkeypatch)
    config = dataclasses.replace(vae.Config(), data="digits", widths=(8,), **TINY)
    found = vae_without_kl.main(config, seeds=1, count=60)
    assert set(found) == {"with KL", "without KL"}
    for (scores,) in found.values():
        assert np.isfinite(list(scores.values())).all()
    assert found["with KL"] != found["without KL"]
    folder = here / vae_without_kl.FOLDER
    assert "Frechet" in (folder / "digits.md").read_text()
    assert (folder / "digits.png").read_bytes().startswith(b"\x89PNG")
    again = vae_without_kl.main(config, seeds=1, count=60)
    assert again == found
