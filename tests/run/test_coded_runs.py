"""What is said and shown of a model with a code; and that its run resumes exactly."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from test_resume_carry import killed, outcome

from experiments import draw, vae
from jaxnets.ops.distributions import BERNOULLI, GAUSSIAN
from jaxnets.run import variational
from jaxnets.run.session import Verbs
from jaxnets.tasks.variational import Judged


def judged(values, code):
    image = np.zeros((len(values), 2, 2, 1))
    parts = {"reconstruction": values - 1.0, "kl": np.full(len(values), 2.0)}
    return Judged(image, code, values, **parts, bound=values + 3.0, drawing=None)


def test_scores_have_standard_errors():
    rng = np.random.default_rng(0)
    values = rng.normal(-90, 5, 200)
    code = rng.normal(size=(200, 3)) * np.array([1, 0.05, 0.5])
    found = variational.likelihoods(judged(values, code), (2, 2, 1), BERNOULLI, 7)
    assert found["elbo"] == pytest.approx(values.mean())
    assert found["elbo_error"] == pytest.approx(stats.sem(values))
    assert found["bound_7"] == pytest.approx(values.mean() + 3)
    assert found["reconstruction"] == pytest.approx(1 - values.mean())
    assert found["kl"] == 2
    assert found["active_units"] == 2
    bits = -(values.mean() + 3) / 4 / np.log(2)
    assert found["bits_per_dimension"] == pytest.approx(bits)
    density = variational.likelihoods(judged(values, code), (2, 2, 1), GAUSSIAN, 7)
    assert density["bits_per_dimension"] == pytest.approx(bits + 8)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_codes_of_any_length_are_embedded_in_the_plane(units):
    code = np.random.default_rng(0).normal(size=(12, units))
    plane = variational.embedded(code)
    assert plane.shape == (12, 2)
    assert np.all(np.isfinite(plane))


def test_lines_and_walks_through_codes():
    ends = np.arange(8.0).reshape(4, 2)
    lines = variational.interpolated(ends, 5)
    np.testing.assert_allclose(lines[:, 0], ends[::2])
    np.testing.assert_allclose(lines[:, -1], ends[1::2])
    np.testing.assert_allclose(lines[1, 2], (ends[2] + ends[3]) / 2)
    walks = variational.traversed(np.array([5.0, 6.0, 7.0]), np.array([2, 0]), 3)
    np.testing.assert_allclose(walks[0], [[5, 6, -3], [5, 6, 0], [5, 6, 3]])
    np.testing.assert_allclose(walks[1, :, 1:], [[6, 7]] * 3)


def test_the_plane_has_equal_shares_of_the_prior():
    plane = variational.plane_codes(4).reshape(4, 4, 2)
    shares = stats.norm.cdf(plane)
    np.testing.assert_allclose(shares[0, :, 0], [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(shares[:, 0, 1], [0.875, 0.625, 0.375, 0.125])


SMALL = {"data": "digits", "epochs": 1, "reports": 3, "judged": 8, "bound_samples": 3}
EXPERIMENTS = {
    # What is drawn anew in every step, and what grows with the steps.
    "vae": (vae, {"binarise": "dynamic", "widths": (8,), "latent": 2}),
    "draw": (draw, {"steps": 2, "features": 4, "latent": 2, "read": 2, "write": 2}),
}


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    "name", ["vae", pytest.param("draw", marks=pytest.mark.campaign)]
)
@pytest.mark.one_python
def test_a_run_that_was_killed_goes_on_with_the_same_bits(
    name, here, monkeypatch, made_once
):
    experiment, sizes = EXPERIMENTS[name]
    plain = experiment.Config()
    hyper = plain.hyper._replace(beta_warmup=10.0)
    config = dataclasses.replace(plain, **SMALL, **sizes, hyper=hyper)
    made_once(experiment, config)
    experiment.main(config, Verbs(run_dir=here / "whole"))
    verbs = Verbs(run_dir=here / "killed", checkpoint_every=3)
    saved = killed(experiment.main, config, verbs, monkeypatch, after=5)
    assert max(saved) > 2
    experiment.main(config, verbs)
    assert outcome(here / "killed") == outcome(here / "whole")
    pictures = {p.stem for p in (here / "whole" / "figures").iterdir()}
    assert {"reconstructions", "samples"} <= pictures
    flat = {"interpolations", "traversals", "plane"}
    assert (flat if name == "vae" else {"drawing", "reading"}) <= pictures
