"""Every network has a recipe that its experiment can follow."""

import dataclasses
import typing

import pytest

from experiments.classify import Config, Hyper
from jaxnets.learners.optimizers import RULES
from jaxnets.learners.schedules import SHAPES
from jaxnets.models import functional
from jaxnets.models.recipes import AIMS, AUGMENTATIONS, RECIPES, prepared
from jaxnets.models.zoo import ZOO
from jaxnets.ops.augment import CHOICES

CHOSEN = {"optimizer": RULES, "schedule": SHAPES, "augment": CHOICES}


def test_every_network_has_one():
    assert set(RECIPES) == set(ZOO)


@pytest.mark.parametrize("name", [*RECIPES, *AIMS])
def test_a_recipe_names_settings_that_there_are(name):
    recipe = {**RECIPES, **AIMS}[name]
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
    assert used <= set(functional.rates(ZOO[network](10)))


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


@pytest.mark.parametrize(
    ("data", "augment"),
    [("glyphs", "affine"), ("digits/3", "affine"), ("fashion_mnist", "mirrors")],
)
def test_images_that_a_mirror_would_spoil_are_not_mirrored(data, augment):
    assert prepared(Config(model="resnet20", data=data)).augment == augment
    assert set(AUGMENTATIONS.values()) <= set(CHOICES)


def test_sources_are_given():
    for name, recipe in RECIPES.items():
        assert recipe.source[-1] != ".", name
        assert dataclasses.replace(Config(), **recipe.config)
