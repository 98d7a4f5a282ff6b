"""Parameters of every variant, against what was published."""

import pytest

from jaxnets.models import googlenet
from jaxnets.models.alexnet import alexnet
from jaxnets.models.zoo import ZOO
from tests.golden.networks.cases import FORMS, PUBLISHED
from tests.golden.networks.parity import parameters, published

# To trace many layers takes seconds. Those below are forms of others in depth or width.
DEEP = [
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet56",
    "resnet56_b",
    "resnet101",
    "resnet110",
    "resnet110_b",
    "resnet152",
    "preact_resnet101",
    "preact_resnet110",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet101_2",
    "wrn_28_10",
    "wrn_40_2",
    "wrn_40_4",
    "fractalnet40",
    "resnet1202",
    "preact_resnet152",
    "preact_resnet164",
    "preact_resnet200",
    "preact_resnet1001",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_100_12",
    "densenet_bc_100_12",
    "densenet_bc_190_40",
    "densenet_bc_250_24",
]


def test_every_member_is_counted():
    assert set(PUBLISHED) == {*ZOO, *FORMS}


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(DEEP)))
@pytest.mark.one_python
def test_parameters(name):
    assert published(name) == PUBLISHED[name]


@pytest.mark.campaign
@pytest.mark.parametrize("name", DEEP)
def test_parameters_of_deep_networks(name):
    assert published(name) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (googlenet.googlenet(auxiliary=True), 13_004_888),
        (googlenet.googlenet_2014(auxiliary=True), 13_378_280),
        (alexnet(10), 57_044_810),
    ],
)
def test_parameters_of_other_forms(model, count):
    assert parameters(model, 64, 3) == count
