"""Parameters of every variant, against what was published."""

import pytest

from jaxnets.models import googlenet
from jaxnets.models.alexnet import alexnet
from jaxnets.models.zoo import ZOO
from tests.golden.networks.cases import FORMS, PUBLISHED
from tests.golden.networks.parity import parameters, published

# Blocks of each stage, and what tells one form from another, as published. To trace so
# many layers takes seconds: their parameters are counted in the campaign.
DEEP = {
    "resnet32": ((5, 5, 5), 16),
    "resnet34": ((3, 4, 6, 3), 64),
    "resnet44": ((7, 7, 7), 16),
    "resnet56": ((9, 9, 9), 16),
    "resnet101": ((3, 4, 23, 3), 64),
    "resnet110": ((18, 18, 18), 16),
    "resnet152": ((3, 8, 36, 3), 64),
    "resnet1202": ((200, 200, 200), 16),
    "preact_resnet101": ((3, 4, 23, 3), 64),
    "preact_resnet110": ((18, 18, 18), 16),
    "preact_resnet152": ((3, 8, 36, 3), 64),
    "preact_resnet164": ((18, 18, 18), 16),
    "preact_resnet200": ((3, 24, 36, 3), 64),
    "preact_resnet1001": ((111, 111, 111), 16),
    "resnext101_32x8d": ((3, 4, 23, 3), 64),
    "resnext101_64x4d": ((3, 4, 23, 3), 64),
    "wide_resnet101_2": ((3, 4, 23, 3), 64),
    "wrn_28_10": ((4, 4, 4), 160),
    "wrn_40_2": ((6, 6, 6), 32),
    "wrn_40_4": ((6, 6, 6), 64),
    "densenet161": ((6, 12, 36, 24), 48),
    "densenet169": ((6, 12, 32, 32), 32),
    "densenet201": ((6, 12, 48, 32), 32),
    "densenet_100_12": ((32, 32, 32), 12),
    "densenet_bc_100_12": ((16, 16, 16), 12),
    "densenet_bc_190_40": ((31, 31, 31), 40),
    "densenet_bc_250_24": ((41, 41, 41), 24),
}
BLOCKS = {
    "BasicBlock": ["resnet32", "resnet34", "resnet44", "resnet56", "resnet110"],
    "Bottleneck": ["resnet101", "resnet152", "wide_resnet101_2"],
    "PreactBlock": ["preact_resnet110", "wrn_28_10", "wrn_40_2", "wrn_40_4"],
    "PreactBottleneck": [f"preact_resnet{n}" for n in (101, 152, 164, 200, 1001)],
}
BLOCKS["BasicBlock"].append("resnet1202")
BLOCKS["Bottleneck"] += ["resnext101_32x8d", "resnext101_64x4d"]
SHAPES = {  # groups and width of the middle convolution, for 64 channels
    "resnext101_32x8d": {"groups": 32, "width": 8},
    "resnext101_64x4d": {"groups": 64, "width": 4},
    "wide_resnet101_2": {"width": 128},
}
COUNTED_IN_CAMPAIGN = {*DEEP, "resnet56_b", "resnet110_b", "fractalnet40"}


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_have_the_published_stages(name):
    model, (depths, first) = ZOO[name](10), DEEP[name]
    assert tuple(model.depths) == depths
    assert first == (model.growth if "dense" in name else model.widths[0])
    if "dense" in name:
        assert model.bottleneck == ("100_12" not in name or "bc" in name)
    else:
        block = getattr(model.block, "func", model.block)
        assert name in BLOCKS[block.__name__]
        options = dict(getattr(model.block, "keywords", {}))
        options.pop("projection", None)
        assert options == SHAPES.get(name, {})


def test_every_member_is_counted():
    assert set(PUBLISHED) == {*ZOO, *FORMS}


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - COUNTED_IN_CAMPAIGN))
@pytest.mark.one_python
def test_parameters(name):
    assert published(name) == PUBLISHED[name]


@pytest.mark.campaign
@pytest.mark.parametrize("name", sorted(COUNTED_IN_CAMPAIGN))
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
