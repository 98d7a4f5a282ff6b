"""Every network has a recipe that its experiment can follow."""

import dataclasses
import typing

import pytest

from experiments import classify
from experiments.classify import Config, Hyper
from experiments.recipes import (
    AIMS,
    AUGMENTATIONS,
    CHOICES,
    OWN,
    RECIPES,
    STEADY,
    prepared,
    remarks,
    resolved,
)
from jaxnets.learners.optimizers import RULES
from jaxnets.learners.schedules import SHAPES
from jaxnets.models import functional
from jaxnets.models.zoo import ZOO
from jaxnets.ops import augment as moves
from jaxnets.run import batches
from jaxnets.run.command import command
from jaxnets.sweeps.command import parsed

CHOSEN = {"optimizer": RULES, "schedule": SHAPES, "augment": moves.CHOICES}


def test_every_network_has_one():
    assert set(RECIPES) == set(ZOO)


def asked(flags):
    """The settings of `classify` that these flags give."""
    seen = []
    command(lambda config, verbs: seen.append(config), Config, flags.split())
    return seen[0]


@pytest.mark.parametrize("name", [*RECIPES, *AIMS, "steady"])
def test_a_recipe_names_settings_that_there_are(name):
    recipe = {**RECIPES, **AIMS, "steady": STEADY}[name]
    types = typing.get_type_hints(Config)
    assert recipe.source
    assert set(recipe.config) <= set(types)
    assert set(recipe.hyper) <= set(Hyper._fields)
    for field, value in recipe.config.items():
        assert isinstance(value, types[field]), field
        if field in CHOSEN:
            assert value in CHOSEN[field], field
    rates = {"dropout", "auxiliary_dropout", "drop_path", "global_path"}
    used = {rate for rate in rates & set(recipe.hyper) if recipe.hyper[rate]}
    network = recipe.config.get("model", name)
    assert used <= set(functional.rates(ZOO[network](10)) if network in ZOO else ())


def test_the_rate_follows_a_batch_that_is_rounded_for_devices(monkeypatch):
    three = lambda config, _: dataclasses.replace(config, batch_size=63)
    monkeypatch.setattr(batches, "for_devices", three)
    config = asked("--model lenet5 --recipe paper")
    assert (config.batch_size, config.hyper.learning_rate) == (63, 0.02 * 63 / 64)


def test_the_recipe_of_an_aim_brings_its_network():
    config = prepared(Config(recipe="cifar10-60s", data="cifar10"))
    assert (config.model, config.data) == ("whitened_convnet", "cifar10")
    assert (config.epochs, config.augment, config.hyper.momentum) == (
        2,
        "mirrors",
        0.85,
    )
    assert prepared(Config(recipe="cifar10-60s", data="glyphs")).augment == "affine"


def test_a_recipe_changes_what_it_says_and_nothing_else():
    config = prepared(Config(model="resnet110", data="cifar10", seed=5))
    assert config.hyper.learning_rate == 0.1
    assert config.hyper.weight_decay == 1e-4
    assert (config.optimizer, config.schedule, config.warmup) == (
        "momentum",
        "step",
        400,
    )
    assert (config.seed, config.data, config.model) == (5, "cifar10", "resnet110")
    # He et al. 2015: 64,000 steps of 128 on 45,000 images.
    assert abs(config.epochs * (45_000 / 128) - 64_000) < 45_000 / 128


def test_the_default_experiment_is_its_own_recipe():
    assert prepared(Config()) == Config()
    assert asked("") == asked("--recipe auto") == Config()
    assert remarks(Config()) == []


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ("resnet20", "cifar10", "paper"),
        ("densenet_40_12", "cifar100:3.0.2", "paper"),
        ("resnet20", "./cifar10", "steady"),
        ("resnet50", "cifar10", "steady"),
        ("resnet50", "imagenet2012", "paper"),
        ("lenet5", "mnist", "paper"),
        ("lenet5", "digits/3", "steady"),
        ("mlp", "cifar10", "paper"),
    ],
)
def test_auto_is_the_paper_on_the_papers_data_and_else_steady(model, data, name):
    config = Config(model=model, data=data)
    assert resolved(config)[0] == name
    settings = prepared(config), prepared(dataclasses.replace(config, recipe=name))
    assert settings[0] == dataclasses.replace(settings[1], recipe="auto")


def test_every_choice_trains_every_network():
    for choice in set(CHOICES) - set(AIMS):
        for model, recipe in RECIPES.items():
            config = prepared(Config(model=model, recipe=choice, data="./photos"))
            own = recipe is OWN or choice == "paper"
            expected = recipe if own and choice != "steady" else STEADY
            assert config.hyper.learning_rate == expected.hyper["learning_rate"]
            assert config.epochs == expected.config["epochs"]


@pytest.mark.parametrize(
    ("flags", "rate", "words"),
    [
        ("", 0.1, "batches of 256"),
        ("--batch-size 32", 0.0125, "for batches of 32 it is 0.0125 (--no-scale-rate"),
        ("--batch-size 32 --accumulate 16", 0.2, "for batches of 512 it is 0.2 "),
        ("--batch-size 32 --no-scale-rate", 0.1, "changed: batch_size 32"),
        ("--batch-size 32 --learning-rate 0.3", 0.3, "learning_rate 0.3"),
        ("--batch-size 0", 0.1, "it is not scaled for --batch-size 0"),
    ],
)
def test_the_rate_of_a_paper_follows_the_batch(flags, rate, words):
    config = asked(f"--model resnet50 --recipe paper {flags}")
    assert config.hyper.learning_rate == rate
    lines = remarks(config)
    assert lines[0].startswith("recipe: paper (He et al. 2015, section 3.4), for Image")
    assert words in lines[-1]
    assert len(lines) == 1 + ("it is" in words)


@pytest.mark.parametrize("flags", ["--recipe steady", "--model mlp", "--data glyphs"])
def test_the_rate_of_other_recipes_stays(flags):
    config = asked(f"{flags} --batch-size 16")
    assert config.hyper.learning_rate == asked(flags).hyper.learning_rate
    assert not any("it is" in line for line in remarks(config))


def test_steady_names_the_data_of_the_paper():
    (line,) = remarks(prepared(Config(model="vgg16", data="./photos")))
    assert "for small data" in line
    assert "--recipe paper is for ImageNet" in line
    assert "changed" not in line


def test_a_sweep_over_batches_scales_the_rate_of_each():
    flags = "--model resnet20 --data cifar10 --grid batch_size=64,128"
    _, configs, _ = parsed("classify", classify, flags.split())
    rates = {c.batch_size: c.hyper.learning_rate for c in configs.values()}
    assert rates == {64: 0.05, 128: 0.1}


@pytest.mark.parametrize(
    ("data", "augment"),
    [("glyphs", "affine"), ("digits/3", "affine"), ("fashion_mnist", "mirrors")],
)
def test_images_that_a_mirror_would_spoil_are_not_mirrored(data, augment):
    assert prepared(Config(model="resnet20", data=data)).augment == augment
    assert set(AUGMENTATIONS.values()) <= set(moves.CHOICES)


def test_sources_are_given():
    for name, recipe in RECIPES.items():
        assert recipe.source[-1] != ".", name
        assert recipe.data.description, name
        assert dataclasses.replace(Config(), **recipe.config)


def test_crops_from_larger_images_need_a_size_and_are_others_without():
    of_paper = "--model resnet18 --recipe paper --data imagenet2012"
    assert asked(f"{of_paper} --size 224").augment == "imagenet"
    plain = asked(of_paper)
    assert plain.augment == "resized"
    assert not any("changed" in line for line in remarks(plain))
    assert asked(f"{of_paper} --augment imagenet").augment == "imagenet"
