"""Does withdrawing the teacher help a decoder that must live with its own mistakes?

    uv run experiments/studies/scheduled_sampling.py

Claim (Bengio, Vinyals, Jaitly & Shazeer, 2015, https://arxiv.org/abs/1506.03099): a
decoder that is always given the true token before has never seen its own errors;
feeding it its own draws more and more often makes it robust to them. Trains `translate`
on dates without attention, where errors are common, at several final shares of own
draws, everything else being equal. Writes `runs/scheduled_sampling/exact.png`: the
share of test dates written exactly by greedy decoding, and the accuracy of single
characters when those before are given. A run that is there already is not trained
again.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from experiments import translate
from jaxnets.plots.parts import png
from jaxnets.plots.runs import comparison
from jaxnets.ranges import Count, within
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of

FOLDER = Path("runs/scheduled_sampling")
PLAIN = translate.Config(model="plain")


def main(
    config: translate.Config = PLAIN,
    shares: Annotated[Sequence[float], within(0, 1)] = (0.0, 0.5),
    seeds: Count = 2,
) -> dict[str, list[float]]:
    """Returns the exact match on the test split, a number a seed, of each share.

    Args:
        config: Configuration of every run, except for its sampling and seed.
        shares: Values of --sampling to compare.
        seeds: Runs of each share, from seed 0.
    """
    exact: dict[str, list[float]] = {}
    for share in shares:
        name, characters = f"{share:.0%} own draws", []
        exact[name] = []
        for seed in range(seeds):
            path = FOLDER / f"{share:g}-{seed}"
            hyper = config.hyper._replace(sampling=share)
            one = dataclasses.replace(config, hyper=hyper, seed=seed)
            test = result_of(translate.main, one, path)["test"]
            exact[name].append(100 * test["accuracy_exact"])
            characters.append(100 * test["accuracy"])
        print(
            f"{name}: {np.mean(exact[name]):.2f} % exact, {np.mean(characters):.2f} % "
            f"of characters when those before are given, {seeds} seeds"
        )
    title = "Dates without attention: what own draws in training do"
    figure = comparison(exact, label="exact on test, %", title=title)
    png(figure, FOLDER / "exact.png")
    return exact


if __name__ == "__main__":
    study(main)
