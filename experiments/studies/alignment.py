"""What does attention add to translation, and where does it look?

    uv run experiments/studies/alignment.py

Claim (Bahdanau, Cho & Bengio, 2014, https://arxiv.org/abs/1409.0473, sections 1 and
5.2.2): one vector for a whole source is a bottleneck; a decoder that looks at all of
the source learns where each token comes from. Trains `translate` on dates with and
without attention, everything else being equal. Writes `runs/alignment/curves.png`, the
share of held-out dates that are written exactly, over the steps, and
`runs/alignment/alignment.png`, the weights for six dates of the test split. A run that
is there already is not trained again.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from experiments import translate
from jaxnets.plots.parts import png
from jaxnets.plots.runs import progress
from jaxnets.ranges import Count
from jaxnets.run import records
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of

FOLDER = Path("runs/alignment")
NAMES = {"additive": "with attention", "plain": "one vector"}


def main(config: translate.Config, seeds: Count = 1) -> dict[str, list[float]]:
    """Returns the exact match on the test split, a number a seed, of each model.

    Args:
        config: Configuration of every run, except for its model and seed.
        seeds: Runs of each model, from seed 0.
    """
    found: dict[str, list[float]] = {}
    lines = {}
    for model, name in NAMES.items():
        curves, found[name] = [], []
        for seed in range(seeds):
            path = FOLDER / f"{model}-{seed}"
            one = dataclasses.replace(config, model=model, seed=seed)
            result = result_of(translate.main, one, path)
            found[name].append(100 * result["test"]["accuracy_exact"])
            curves.append(
                [
                    (line["step"], 100 * line["validation"]["accuracy_exact"])
                    for line in records.read(path)
                ]
            )
        lines[name] = [tuple(p) for p in np.mean(curves, axis=0)]
    for name, shares in found.items():
        print(f"{name}: {', '.join(f'{s:.2f} %' for s in shares)} exact on test")
    title = "Dates to ISO 8601: held-out dates written exactly"
    figure = progress(lines, label="exact on validation, %", title=title)
    png(figure, FOLDER / "curves.png")
    picture = FOLDER / "additive-0" / "figures" / "alignment.png"
    shutil.copyfile(picture, FOLDER / "alignment.png")
    return found


if __name__ == "__main__":
    study(main)
