"""Which settings to try next: a pure function of the seed and of what was found so far.

Nothing is remembered between two calls. The search is replayed in memory from its
first batch, with the results it has had, so that a killed sweep, or another worker,
proposes the very same settings. (Optuna's CMA-ES would keep a pickle in the storage;
here none is ever written or read.)

Random points are raw words of NumPy's Philox generator, which no version changes;
quasi-random ones are Sobol's sequence, scrambled (Owen, "Scrambling Sobol' and
Niederreiter-Xing points", J. Complexity 14(4), 1998). The rest is Optuna's: TPE
(Bergstra et al., "Algorithms for hyper-parameter optimization", 2011), CMA-ES (Hansen &
Ostermeier, 2001), NSGA-II (Deb et al., 2002), and a Gaussian process where torch is
installed.
"""

import functools
import importlib.util
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnets.sweeps.space import Choice, Range, SpaceError, free, quiet

LEARNING = ("tpe", "cmaes", "nsga2", "gp")  # look at results before they propose
METHODS = ("random", "grid", "quasi", *LEARNING)

Values = dict[str, float]
# Of a trial: its objectives, each to be lowered; None where it failed or diverged.
Result = Sequence[float] | None


def proposals(
    space: Mapping[str, Range | float | int],
    method: str,
    seed: int,
    sizes: Sequence[int],
    results: Sequence[Sequence[Result]] = (),
    objectives: int = 1,
) -> list[list[Values]]:
    """Batches of settings: values of what is free in the space.

    Args:
        space: What is searched.
        method: One of `METHODS`.
        seed: The same seed, the same settings.
        sizes: How many settings each batch has.
        results: Of the first batches, trial by trial. A method that learns proposes
            one batch more than there are results of; the others propose all.
        objectives: How many numbers a result has.

    Raises:
        SpaceError: If nothing is free, or the method cannot search this space.
    """
    ranges = free(space)
    if not ranges:
        raise SpaceError("nothing is searched: every hyperparameter is fixed")
    if method in LEARNING:
        known = tuple(
            tuple(None if r is None else tuple(r) for r in batch) for batch in results
        )
        own = tuple(ranges.items())
        return _replayed(own, method, seed, tuple(sizes), known, objectives)
    total = sum(sizes)
    if method == "grid":
        points = grid(space, total)
    elif method == "quasi":
        points = _settings(ranges, _sobol(len(ranges), total, seed))
    else:
        words = np.random.Philox(key=np.array([seed % 2**64, 0x5EED], np.uint64))
        raw = words.random_raw(total * len(ranges)) >> np.uint64(11)
        cube = raw.astype(np.float64).reshape(total, -1) / 2**53
        points = _settings(ranges, cube)
    batches, begun = [], 0
    for size in sizes:
        batches.append(points[begun : begun + size])
        begun += size
    return batches


def grid(space: Mapping[str, Range | float | int], trials: int) -> list[Values]:
    """All combinations of evenly spread values: at most `trials`, if one each fits.

    Choices take all their values; ranges share what is left, as many values each.
    """
    ranges = free(space)
    choices = [r for r in ranges.values() if isinstance(r, Choice)]
    fixed = math.prod(len(choice.bounds) for choice in choices)
    others = len(ranges) - len(choices)
    each = 1
    while others and fixed * (each + 1) ** others <= trials:
        each += 1
    axes = [r.grid(each) for r in ranges.values()]
    mesh = np.meshgrid(*axes, indexing="ij")
    rows = np.stack([axis.ravel() for axis in mesh], axis=-1)
    return [dict(zip(ranges, map(float, row), strict=True)) for row in rows]


def _settings(ranges: Mapping[str, Range], cube: np.ndarray) -> list[Values]:
    return [
        {n: r.at(float(u)) for (n, r), u in zip(ranges.items(), row, strict=True)}
        for row in cube
    ]


def _sobol(dimensions: int, count: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc  # a quarter of a second to import

    words = np.random.Generator(np.random.Philox(seed % 2**64))
    engine = qmc.Sobol(dimensions, scramble=True, rng=words)
    # Its balance needs a power of two; the first ones of more points are as balanced.
    return engine.random_base2(math.ceil(math.log2(max(count, 1))))[:count]


@functools.lru_cache(maxsize=64)  # an agenda is made often, and changes seldom
def _replayed(
    own: tuple[tuple[str, Range], ...],
    method: str,
    seed: int,
    sizes: tuple[int, ...],
    results: tuple[tuple[Result, ...], ...],
    objectives: int,
) -> list[list[Values]]:
    import optuna  # half a second, which a table that is read can do without
    from optuna.trial import TrialState

    ranges = dict(own)
    quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = _sampler(method, seed, sizes[0], objectives)
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    distributions = {name: r.distribution() for name, r in ranges.items()}
    batches: list[list[Values]] = []
    for number, size in enumerate(sizes[: len(results) + 1]):
        asked = [study.ask(distributions) for _ in range(size)]
        batches.append([{n: float(t.params[n]) for n in ranges} for t in asked])
        if number == len(results):
            break
        worst = _worst([r for batch in results[: number + 1] for r in batch])
        for trial, result in zip(asked, results[number], strict=True):
            # A setting that diverged is as bad as the worst: it is to be avoided.
            values = worst if result is None else list(map(float, result))
            if values is None:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, values)
    return batches


def _worst(results: Sequence[Result]) -> list[float] | None:
    finite = [list(result) for result in results if result is not None]
    return np.max(finite, axis=0).tolist() if finite else None


def _sampler(method: str, seed: int, batch: int, objectives: int) -> Any:
    import optuna

    seed = seed % 2**32
    if objectives > 1 and method not in ("tpe", "nsga2"):
        raise SpaceError(f"{method} has one objective; nsga2 and tpe take several")
    if method == "tpe":
        # The liar keeps the settings of a batch, which are asked for together, apart.
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10
        )
    if method == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if method == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(batch, 2))
    if importlib.util.find_spec("torch") is None:
        raise SpaceError(
            "the Gaussian process of Optuna needs torch: pip install torch, or use tpe"
        )
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
