"""Makes initial.npz: the distributions of torchvision's initial weights, by parameter.

Needs torch and torchvision, which the tests do not:

    PYTHONPATH=. python tests/golden/networks/initial.py [name ...]

The networks are torchvision's with 1000 classes, drawn by its own constructors with
`SEEDS` seeds whose numbers are pooled. For each network there are two arrays: the names
of its parameters, and a row of `Moments` for each.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = Path(__file__).with_name("initial.npz")
SEEDS = 3
SAMPLE = 2**21  # the statistics of larger parameters are of their first numbers


class Moments(NamedTuple):
    """A sample's statistics.

    Attributes:
        size: How many numbers one draw of the parameter has.
        mean: Their mean.
        deviation: Their standard deviation; 0: a constant.
        kurtosis: The fourth central moment in units of the squared variance: 3 of a
            normal distribution, 1.8 of a uniform one; 0 of a constant.
        largest: The largest absolute value in units of the deviation, the mean over
            the draws; 0 of a constant.
    """

    size: float
    mean: float
    deviation: float
    kurtosis: float
    largest: float


def moments(draws):
    """The `Moments` of equally large draws, which are pooled."""
    size = draws[0].size
    kept = [np.asarray(draw, np.float64).ravel()[:SAMPLE] for draw in draws]
    pooled = np.concatenate(kept)
    mean = pooled.mean()
    if np.all(pooled == pooled[0]):
        return Moments(size, mean, 0.0, 0.0, 0.0)
    squares = (pooled - mean) ** 2
    variance = squares.mean()
    largest = np.mean([np.abs(draw).max() for draw in kept])
    kurtosis = np.mean(squares**2) / variance**2
    return Moments(size, mean, variance**0.5, kurtosis, largest / variance**0.5)


def drawn(name):
    """The parameters of a new network of torchvision: name to array."""
    from tests.golden.networks.make_references import torchvision

    options = {"init_weights": True} if name == "googlenet" else {}
    net = getattr(torchvision.models, name)(weights=None, **options)
    return {key: value.detach().numpy() for key, value in net.named_parameters()}


def main(names):
    import torch

    from tests.golden.networks.cases import CASES, FORMS
    from tests.golden.networks.make_references import BUILDERS

    arrays = dict(np.load(FILE)) if FILE.exists() else {}
    for name in names or sorted(set(CASES) - set(BUILDERS) - set(FORMS)):
        nets = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            nets.append(drawn(name))
        rows = [moments([net[key] for net in nets]) for key in nets[0]]
        arrays[f"{name}/names"] = np.array(list(nets[0]))
        arrays[f"{name}/moments"] = np.array(rows, np.float32)
        print(name, len(rows), flush=True)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
