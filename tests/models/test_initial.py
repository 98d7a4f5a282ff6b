"""The initial weights of torchvision's networks, by layer, against torchvision's."""

import math
from statistics import NormalDist

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxnets.models import weights
from jaxnets.models.zoo import ZOO
from jaxnets.types import Variables
from tests.golden.networks import initial
from tests.golden.networks.cases import REPRESENTATIVES
from tests.golden.networks.initial import Moments, moments
from tests.golden.networks.parity import shapes

with np.load(initial.FILE, allow_pickle=False) as file:
    NETWORKS = sorted(name.split("/")[0] for name in file.files if "/names" in name)

FEW = 2**15  # numbers of a parameter that NumPy draws, whatever its size


def theirs(name):
    """Torchvision's `Moments`, by the names of the parameters."""
    with np.load(initial.FILE, allow_pickle=False) as file:
        names, rows = file[f"{name}/names"], file[f"{name}/moments"]
    return {
        str(key): Moments(*map(float, row))
        for key, row in zip(names, rows, strict=True)
    }


def initialisers(name, monkeypatch):
    """Each parameter's size, initialiser and its arguments, by torch's names."""
    found, places = {}, {}
    param = nn.Module.param

    def recorded(self, leaf, initialiser, *args, **options):
        found[(*self.path, leaf)] = initialiser, args
        return param(self, leaf, initialiser, *args, **options)

    options = {"auxiliary": True} if name == "googlenet" else {}
    model = ZOO[name](1000, **options)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "param", recorded)
        params = shapes(model, 64, 3).params
    numbers = iter(range(len(found)))
    keys = jax.tree_util.tree_leaves_with_path(params)
    numbered = jax.tree.map(
        lambda leaf: np.full((1,) * leaf.ndim, next(numbers)), params
    )
    for torch_name, number in weights.to_torch(model, Variables(numbered, {})).items():
        path, leaf = keys[number.item()]
        address = tuple(part.key for part in path)
        places[torch_name] = leaf.size, *found[address]
    return places


def draw_by_numpy(monkeypatch):
    """Makes JAX's generators return `FEW` numbers of NumPy, whatever the shape.

    An initialiser computes its scale from the real shape all the same, and nothing is
    compiled for it.
    """
    rng = np.random.default_rng(0)

    def normal(key, shape=(), dtype=float, **options):
        return rng.standard_normal(FEW, np.float32)

    def uniform(key, shape=(), dtype=float, minval=0.0, maxval=1.0, **options):
        return (minval + (maxval - minval) * rng.random(FEW)).astype(np.float32)

    def truncated_normal(key, lower, upper, shape=(), dtype=float, **options):
        numbers = rng.standard_normal(4 * FEW, np.float32)
        return numbers[(numbers > lower) & (numbers < upper)][:FEW]

    places = jax.random, jax.nn.initializers.normal.__globals__["random"]
    for generator in (normal, uniform, truncated_normal):
        for place in places:
            monkeypatch.setattr(place, generator.__name__, generator)


def compare(ours, torch):
    """Fails where a sample's statistics are not those of torch's distribution.

    Moments may differ by five standard errors, which both samples have. The largest
    number of a normal sample has a standard error of about 1.3 / sqrt(2 ln n) and an
    exponential tail upwards.
    """
    if torch.deviation == 0:
        assert (ours.deviation, ours.mean) == (0, pytest.approx(torch.mean))
        return
    few, many = (min(sample.size, initial.SAMPLE) for sample in (ours, torch))
    error = 5 * math.sqrt(1 / few + 1 / (initial.SEEDS * many))
    assert ours.mean == pytest.approx(torch.mean, abs=error * torch.deviation)
    normal = torch.kurtosis > 2.4  # else uniform
    fourth, spread = (3, 24) if normal else (1.8, 1.32)
    relative = error * math.sqrt((fourth - 1) / 4)
    assert ours.deviation == pytest.approx(torch.deviation, rel=relative)
    assert ours.kurtosis == pytest.approx(torch.kurtosis, abs=error * spread**0.5)
    if normal:
        ours_over, theirs_over = (
            sample.largest - NormalDist().inv_cdf(1 - 1 / (2 * size))
            for sample, size in ((ours, few), (torch, many))
        )
        step = 1 / math.sqrt(2 * math.log(min(few, many)))
        assert -6 * step < ours_over - theirs_over < 12 * step
    else:
        room = 2 * relative + 20 / min(few, many)
        assert ours.largest == pytest.approx(torch.largest, abs=room)


def compare_all(ours, torch):
    assert ours.keys() == torch.keys()
    wrong = []
    for leaf, sample in ours.items():
        try:
            compare(sample, torch[leaf])
        except AssertionError:
            wrong.append(f"{leaf}: {sample}, torch {torch[leaf]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_initial_weights_are_torchvision_s(monkeypatch, name):
    """Each layer's own initialiser, on its real shape, on NumPy's numbers."""
    ours, torch = {}, theirs(name)
    rows, key = initialisers(name, monkeypatch), jax.random.key(0)
    draw_by_numpy(monkeypatch)
    for leaf, (size, draw, (shape, *rest)) in rows.items():
        assert size == torch[leaf].size
        # A vector has no fans that its length could change.
        few = (FEW,) if len(shape) == 1 else shape
        ours[leaf] = moments([draw(key, few, *rest)])
        assert ours[leaf].size == FEW
    compare_all(ours, torch)


@pytest.mark.campaign
@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_of_all_networks_are_torchvision_s(monkeypatch, name):
    """Each layer's own initialiser, on its real shape, on JAX's numbers."""
    ours, torch, key = {}, theirs(name), jax.random.key(0)
    rows = initialisers(name, monkeypatch)
    for index, (leaf, (size, draw, args)) in enumerate(rows.items()):
        numbers = np.asarray(draw(jax.random.fold_in(key, index), *args))
        assert numbers.size == size == torch[leaf].size
        ours[leaf] = moments([numbers])
    compare_all(ours, torch)
    jax.clear_caches()
