"""Every experiment and study runs: found by glob, so that none is forgotten."""

import ast
import asyncio
import dataclasses
import functools
import importlib
import inspect
import json
import math
import re
from pathlib import Path

import pytest

from jaxnets.data.feeds import named_captions, pairs, streams
from jaxnets.data.generated import corpus, reviews
from jaxnets.models.convnet import ConvNet
from jaxnets.ops.decoding import Decoding
from jaxnets.ranges import RangeError
from jaxnets.run import report, settings
from jaxnets.run.command import command
from jaxnets.run.folder import RunError
from jaxnets.run.session import Run
from jaxnets.run.verbs import Describing, Verbs

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "\ndef plan(" in path.read_text()
)


def module(name):
    return importlib.import_module(f"experiments.{name}")


@pytest.fixture
def few(monkeypatch):
    """Short beginnings of the default data sets, which are written in Python.

    Every call of that Python has its types checked here; `tests/data` has the whole.
    """
    scenes = functools.partial(named_captions.shapes, validation=16, test=32)
    monkeypatch.setattr(named_captions, "shapes", scenes)
    monkeypatch.setattr(reviews, "SIZES", {"train": 128, "validation": 32, "test": 64})
    documented = Path(asyncio.__file__).parent
    text = functools.partial(corpus.corpus_text, documented)
    monkeypatch.setattr(streams, "corpus_text", text)
    dates = functools.partial(pairs.date_pairs, train=128, held_out=32)
    monkeypatch.setattr(pairs, "date_pairs", dates)


def shortly(name):
    return dataclasses.replace(module(name).Config(), **SHORT[name])


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.usefixtures("few")
def test_an_experiment_runs_and_draws(name, here, capsys):
    module(name).main(shortly(name), Verbs(run_dir=here / "run"))
    assert "is left out" not in capsys.readouterr().err  # as what fails to draw is
    result = json.loads((here / "run" / "result.json").read_text())
    assert result["step"] > 1
    pictures = list((here / "run" / "figures").glob("*.png"))
    assert {picture.stem for picture in pictures} == FIGURES[name]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


AGAIN = {"sentiment", "vae"}  # one has a vocabulary to keep, the other draws noise


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in AGAIN else pytest.mark.campaign)
        for name in EXPERIMENTS
    ],
)
@pytest.mark.usefixtures("few")
@pytest.mark.one_python
def test_an_experiment_gives_its_number_again(name, here, capsys, unseen):
    main, config = module(name).main, shortly(name)
    main(config, Verbs(run_dir=here / "run"))
    main(config, Verbs(evaluate=here / "run"))
    assert "as recorded" in capsys.readouterr().out


@pytest.fixture
def unseen(monkeypatch):
    """No picture is saved, and no report written; films have their folder."""

    def figure(run, name, draw, *given, **options):
        if run.output.writes:
            (run.output.path / "figures").mkdir(exist_ok=True)

    monkeypatch.setattr(Run, "figure", figure)
    monkeypatch.setattr(report, "write", lambda *written: None)


STUDIES = {
    "folds": None,  # five runs of classify: nothing that is not run above
    "alignment": None,  # runs of translate
    "scheduled_sampling": None,  # likewise
    "sentiment_models": None,  # runs of sentiment
    "likelihoods": None,  # runs of vae and draw
    "vae_without_kl": None,  # runs of vae; both have tests of their own
    "search": None,  # sweeps of classify, which tests/sweeps has
    "truncation": None,  # has a test of its own
    "zoo": None,  # a table without a picture, below
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


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_reads_top_to_bottom(name):
    top_to_bottom(module(f"studies.{name}").main, 30)


def studied(name, here):
    study = module(f"studies.{name}")
    found = study.main(dataclasses.replace(study.Config(), **STUDIES[name]))
    pictures = list((here / "runs" / name).glob("*.png"))
    assert pictures
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    return found


@pytest.mark.campaign
@pytest.mark.parametrize("name", [name for name, change in STUDIES.items() if change])
def test_a_study_runs_and_draws(name, here):
    studied(name, here)


@pytest.mark.one_python
def test_the_study_of_batch_norm_runs_and_draws_on_a_small_network(here, monkeypatch):
    small = lambda classes, norm: ConvNet(classes, (4,), (0,), norm=norm)
    monkeypatch.setattr(module("studies.batch_norm"), "convnet", small)
    found = studied("batch_norm", here)
    assert {name: curves.shape for name, curves in found.items()} == {
        "batch": (2, 2),
        "none": (2, 2),
    }


@pytest.mark.one_python
def test_the_study_of_the_ring_runs_and_draws_one_of_its_duels(here, monkeypatch):
    study, name = module("studies.ring"), "non-saturating, R1"
    every = study.duels
    monkeypatch.setattr(study, "duels", lambda config: {name: every(config)[name]})
    assert studied("ring", here)[name].shape == (2, 2)


@pytest.mark.one_python
def test_the_study_of_the_zoo_trains_what_is_missing(here, capsys):
    study = module("studies.zoo")
    asked = study.Config("digits", models=("mlp",), recipes=("steady",), steps=3)
    (cell,) = study.main(asked)
    assert len(cell["loss"]) == len(cell["gradient_norm"]) == 3
    assert 0 <= cell["validation"]["accuracy"] <= 1
    assert study.row(cell) in capsys.readouterr().out
    assert study.main(asked) == [cell]  # not trained again
    assert "of 3, loss" not in capsys.readouterr().out
    with pytest.raises(RunError, match="has steps 3, not 4"):
        study.main(dataclasses.replace(asked, steps=4))
    with pytest.raises(RunError, match="use --data digits"):
        study.main(dataclasses.replace(asked, data="glyphs"))
    stuck = {**cell, "loss": [math.log(10)] * 3}
    assert "as equal probabilities" in study.row(stuck)
    failed = {**cell, "loss": [2.0], "error": "step 1: loss is not finite"}
    assert "not finite" in study.row(failed)
    with pytest.raises(RangeError, match="there is no nope"):
        study.main(dataclasses.replace(asked, models=("nope",)))


SHORT = {
    "classify": {"epochs": 1, "reports": 2},
    "language": {
        **{"features": 8, "embedding": 8, "batch_size": 64, "steps": 16},
        **{"epochs": 1, "reports": 1, "samples": 1, "length": 10},
    },
    "gan": {
        **{"data": "digits", "features": 4, "batch_size": 16, "steps": 4},
        **{"reports": 1, "judge_steps": 10},
    },
    "sentiment": {"model": "average", "epochs": 1, "reports": 1},
    "caption": {
        **{"epochs": 1, "reports": 1, "generated": 64, "batch_size": 16},
        **{"features": 8, "side": 32, "longest": 6},
    },
    "vae": {
        **{"data": "digits", "widths": (8,), "latent": 2, "judged": 12},
        **{"epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "draw": {
        **{"data": "digits", "steps": 2, "features": 4, "latent": 2, "judged": 8},
        **{"read": 2, "write": 2, "epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "translate": {
        **{"epochs": 1, "reports": 1, "batch_size": 32, "features": 8},
        **{"embedding": 8, "cell": "rnn"},
    },
}

FIGURES = {
    "classify": {"confusion", "mistakes"},
    "language": set(),  # a text
    "gan": {"training", "samples", "classes"},
    "sentiment": {"words"},
    "caption": {"captions", "attention", "mistakes"},
    "vae": {
        *("reconstructions", "samples", "codes", "plane"),
        *("interpolations", "traversals"),
    },
    "draw": {"reconstructions", "samples", "drawing", "reading"},
    "translate": {"alignment"},
}
"""The pictures that an experiment draws, besides the curves of its report."""


def top_to_bottom(function, most):
    """Few statements, and no call assigns a name or unpacks a tuple."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(function))))
    statements = sum(isinstance(node, ast.stmt) for node in nodes)
    assert statements <= most + 1, function  # and the `def`
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        inner = [node for value in given for node in ast.walk(value)]
        assert not any(isinstance(node, ast.NamedExpr) for node in inner), function
        assert not any(isinstance(value, ast.Starred) for value in given), function


MOST_STATEMENTS = {"load": 12, "build": 30, "plan": 6, "main": 30}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_reads_top_to_bottom_and_has_the_public_names_only(name):
    experiment = module(name)
    for function, most in MOST_STATEMENTS.items():
        top_to_bottom(getattr(experiment, function), most)
    own = {
        n
        for n, value in vars(experiment).items()
        if n[0] != "_" and inspect.getmodule(value) is experiment
    }
    assert own <= {"Config", "Hyper", "SPACE", "load", "build", "plan", "main"}
    assert experiment.__doc__


CHOICES = [
    {"model": "mlp"},
    {"optimizer": "momentum", "schedule": "step"},
    {"optimizer": "nesterov", "schedule": "plateau", "accumulate": 2},
    {"optimizer": "sgd", "batch_size": 0, "schedule": "constant"},
    {"optimizer": "adam", "augment": "none", "skip_biases": False},
]
CROPPED = {"augment": "imagenet", "size": (14,)}


def composed(change, here):
    experiment = module("classify")
    config = dataclasses.replace(experiment.Config(), epochs=1, reports=1, **change)
    experiment.main(config, Verbs(run_dir=here / "run"))
    return json.loads((here / "run" / "result.json").read_text())


@pytest.mark.parametrize("change", [*CHOICES, {"model": "mlp", **CROPPED}])
@pytest.mark.campaign
def test_the_choices_of_classify_compose(change, here):
    assert composed(change, here)["step"] > 0


@pytest.mark.parametrize("change", CHOICES[1:])
def test_the_choices_of_classify_compose_with_a_perceptron(change, here, unseen):
    """The default network and its augmentation take steps above, and most seconds."""
    plain = {"model": "mlp", "augment": "none"}
    assert composed({**plain, **change}, here)["step"] > 0


def test_crops_of_larger_images_have_the_size_that_was_asked_for():
    experiment = module("classify")
    config = dataclasses.replace(experiment.Config(), model="resnet18", **CROPPED)
    data = experiment.load(config)
    assert (data.side, data.dataset.side) == (14, 16)
    for feed in (data.train, data.validation, data.test):
        assert feed.prepared.image.shape[1:] == (14, 14, 1)


@pytest.mark.usefixtures("few", "unseen")
@pytest.mark.one_python
def test_translate_reads_a_file_of_pairs(here):
    nouns = ("dog", "cat", "bird", "horse", "fish", "mouse", "cow", "frog")
    lines = [f"the {a} sees the {b}\tle {a} voit le {b}" for a in nouns for b in nouns]
    (here / "pairs.tsv").write_text("\n".join(lines) + "\n")
    experiment = module("translate")
    small = {"features": 8, "embedding": 8, "batch_size": 16, "epochs": 1, "reports": 1}
    small |= {"cell": "rnn", "model": "plain"}
    config = dataclasses.replace(experiment.Config(), data="pairs.tsv", **small)
    experiment.main(config, Verbs(run_dir=here / "run"))
    result = json.loads((here / "run" / "result.json").read_text())
    assert 0 <= result["greedy"]["bleu"] <= 100


def asked(*flags):
    """The settings of the captioner that these flags give."""
    seen, experiment = [], module("caption")
    command(lambda config, verbs: seen.append(config), experiment.Config, [*flags])
    return seen[0]


def test_the_long_recipe_of_caption_is_the_default_of_its_recorded_results():
    config = asked("--recipe", "long")
    assert (config.generated, config.epochs) == (40_000, 3)
    assert config.decoding == Decoding("beam", 5, alpha=4.0, min_p=0.1, sharpness=3.0)
    short = asked()
    assert short == module("caption").Config()
    apart = settings.differences(settings.to_json(short), settings.to_json(config))
    assert set(apart) == {"recipe", "generated", "epochs", "decoding.alpha"}


def test_a_flag_wins_over_the_recipe_of_caption():
    config = asked("--epochs", "1", "--recipe", "long", "--alpha", "1")
    assert (config.epochs, config.generated, config.decoding.alpha) == (1, 40_000, 1)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_help_line_stands_alone(name, capsys):
    """Every flag has one, and none continues the flag's name: "of the images"."""
    experiment = module(name)
    with pytest.raises(SystemExit):
        command(experiment.main, experiment.Config, ["--help"], verbs=Describing)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    text = re.sub(r"\{[^}]*\}", "X", plain)
    flags = [flag.replace("│", " ") for flag in re.split(r"\n[│ ] --", text)[1:]]
    assert len(flags) > 20
    half = r"[\w-]+(,? +(--[\w-]+|[^a-z\s(]+))*\s+(\(default|(of|or|that|where)\s)"
    assert not [flag for flag in flags if re.match(half, flag)]


def test_the_help_names_choices_and_their_defaults(capsys):
    experiment = module("classify")
    with pytest.raises(SystemExit):
        command(experiment.main, experiment.Config, ["--help"])
    text = capsys.readouterr().out
    assert "(default: convnet)" in text
    assert "resnet20" in text
    with pytest.raises(SystemExit) as stop:
        command(experiment.main, experiment.Config, ["--model", "resnet21"])
    assert stop.value.code == 2
