"""How good is the default run of `classify`, whatever part of digits is the test?

    uv run experiments/studies/folds.py

Trains once on each of the five fixed folds: every one of the 1,797 images is tested
once. Writes `runs/folds/folds.png`; a fold that is there already is not trained again.
"""

import dataclasses
from pathlib import Path

import numpy as np

from experiments import classify
from jaxnets.data.generated.digits import FOLDS
from jaxnets.plots.parts import png
from jaxnets.plots.runs import comparison
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of

FOLDER = Path("runs/folds")


def main(config: classify.Config) -> list[float]:
    """Returns the test accuracy of every fold.

    Args:
        config: Configuration of every run, except for its data.
    """
    accuracies = []
    for fold in range(FOLDS):
        one = dataclasses.replace(config, data=f"digits/{fold}")
        result = result_of(classify.main, one, FOLDER / f"fold-{fold}")
        accuracies.append(result["test"]["accuracy"])
    shown = ", ".join(f"{a:.2%}" for a in accuracies)
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    print(f"test accuracy {mean:.2%} +- {deviation:.2%} over {FOLDS} folds: {shown}")
    percent = [100 * a for a in accuracies]
    title = "Digits: five folds, each tested once"
    figure = comparison({config.model: percent}, label="test accuracy, %", title=title)
    png(figure, FOLDER / "folds.png")
    return accuracies


if __name__ == "__main__":
    study(main)
