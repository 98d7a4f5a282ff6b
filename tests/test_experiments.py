"""Every experiment and study runs: found by glob, so that none is forgotten."""

import dataclasses
import functools
import importlib
import inspect
import json
from pathlib import Path

import pytest

from jaxnets.data import captioned
from jaxnets.run.session import Verbs

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if path.stem[0] != "_" and path.stem != "sweep"  # which runs the others
)


def module(name):
    return importlib.import_module(f"experiments.{name}")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_and_gives_its_number_again(name, here, capsys, monkeypatch):
    # Captions are written in Python, every call of which has its types checked here.
    few = functools.partial(captioned.shapes, validation=100, test=200)
    monkeypatch.setattr(captioned, "shapes", few)
    experiment = module(name)
    config = dataclasses.replace(experiment.Config(), **SHORT[name])
    experiment.main(config, Verbs(run_dir=here / "run"))
    result = json.loads((here / "run" / "result.json").read_text())
    assert result["step"] > 0
    experiment.main(config, Verbs(evaluate=here / "run"))
    assert "as recorded" in capsys.readouterr().out


STUDIES = {
    "folds": None,  # five runs of classify: nothing that is not run above
    "alignment": None,  # runs of translate
    "scheduled_sampling": None,  # likewise
    "sentiment_models": None,  # runs of sentiment
    "likelihoods": None,  # runs of vae and draw
    "vae_without_kl": None,  # runs of vae; both have tests of their own
    "search": None,  # sweeps of classify, which tests/sweeps has
    "truncation": None,  # has a test of its own
    "batch_norm": {
        **{"data": "digits", "examples": 20, "batch_size": 10, "epochs": 2},
        **{"seeds": 2},
    },
    "ring": {"steps": 2, "width": 4, "batch_size": 8, "seeds": 2},
    "discriminator_steps": {
        **{"steps": 10, "alone": 10, "width": 4, "batch_size": 8, "seeds": 2},
        **{"judge_steps": 10},
    },
}


def test_every_study_is_known():
    found = (ROOT / "experiments" / "studies").glob("*.py")
    assert {path.stem for path in found if path.stem[0] != "_"} == set(STUDIES)


LONG = {"discriminator_steps"}  # eleven programs


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.campaign if name in LONG else ())
        for name, change in STUDIES.items()
        if change
    ],
)
def test_a_study_runs_and_draws(name, here):
    study = module(f"studies.{name}")
    study.main(dataclasses.replace(study.Config(), **STUDIES[name]))
    pictures = list((here / "runs" / name).glob("*.png"))
    assert pictures
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


SHORT = {
    "classify": {"epochs": 1, "reports": 2},
    "language": {
        **{"features": 8, "embedding": 8, "batch_size": 256, "steps": 128},
        **{"epochs": 1, "reports": 1, "samples": 1, "length": 10},
    },
    "gan": {
        **{"data": "digits", "features": 4, "batch_size": 16, "steps": 4},
        **{"reports": 1, "judge_steps": 10},
    },
    "sentiment": {"model": "average", "epochs": 1, "reports": 1},
    "caption": {
        "epochs": 1,
        "reports": 1,
        "generated": 400,
        "batch_size": 100,
        "features": 8,
        "side": 32,
        "longest": 6,
    },
    "vae": {
        **{"data": "digits", "widths": (8,), "latent": 3, "judged": 12},
        **{"epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "draw": {
        **{"data": "digits", "steps": 2, "features": 4, "latent": 2, "judged": 8},
        **{"read": 2, "write": 2, "epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "translate": {
        "epochs": 1,
        "reports": 1,
        "batch_size": 2000,
        "features": 8,
        "cell": "rnn",
    },
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_short_and_has_the_public_names_only(name):
    path = ROOT / "experiments" / f"{name}.py"
    assert len(path.read_text().splitlines()) < 120
    experiment = module(name)
    own = {
        n
        for n, value in vars(experiment).items()
        if n[0] != "_" and inspect.getmodule(value) is experiment
    }
    assert own <= {"Config", "Hyper", "SPACE", "load", "build", "main"}
    assert experiment.__doc__


@pytest.mark.parametrize(
    "change",
    [
        {"model": "mlp"},
        {"optimizer": "momentum", "schedule": "step"},
        {"optimizer": "nesterov", "schedule": "plateau", "accumulate": 2},
        {"optimizer": "sgd", "batch_size": 0, "schedule": "constant"},
        {"optimizer": "adam", "augment": "none", "skip_biases": False},
    ],
)
def test_the_choices_of_classify_compose(change, here):
    experiment = module("classify")
    config = dataclasses.replace(experiment.Config(), epochs=1, reports=1, **change)
    experiment.main(config, Verbs(run_dir=here / "run"))
    assert (here / "run" / "result.json").exists()


def test_translate_reads_a_file_of_pairs(here):
    nouns = [
        "dog",
        "cat",
        "bird",
        "horse",
        "fish",
        "mouse",
        "cow",
        "frog",
        "bee",
        "ant",
    ]
    lines = [f"the {a} sees the {b}\tle {a} voit le {b}" for a in nouns for b in nouns]
    (here / "pairs.tsv").write_text("\n".join(lines) + "\n")
    experiment = module("translate")
    small = {"features": 8, "embedding": 8, "batch_size": 16, "epochs": 1, "reports": 1}
    config = dataclasses.replace(experiment.Config(), data="pairs.tsv", **small)
    experiment.main(config, Verbs(run_dir=here / "run"))
    result = json.loads((here / "run" / "result.json").read_text())
    assert 0 <= result["greedy"]["bleu"] <= 100


def test_the_help_names_choices_and_their_defaults(capsys):
    from jaxnets.run.command import command

    experiment = module("classify")
    with pytest.raises(SystemExit):
        command(experiment.main, experiment.Config, ["--help"])
    text = capsys.readouterr().out
    assert "(default: convnet)" in text
    assert "resnet20" in text
    with pytest.raises(SystemExit) as stop:
        command(experiment.main, experiment.Config, ["--model", "resnet21"])
    assert stop.value.code == 2
