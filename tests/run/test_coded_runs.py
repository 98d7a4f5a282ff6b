"""A run of a model with a latent code resumes exactly."""

import dataclasses

import pytest
from test_resume_carry import killed, outcome

from experiments import draw, vae
from jaxnets.run.verbs import Verbs

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
