"""What does the order of words give, and what do learned embeddings give?

    uv run experiments/studies/sentiment_models.py
    uv run experiments/studies/sentiment_models.py --data ./sst2 --minimum 2 --seeds 1

Trains every model of `sentiment` on the same data with three seeds each, and prints the
test accuracies. Writes `runs/sentiment_models/DATA.png`; a run that is there already is
not trained again. The title of the picture says what any function of the words without
their order can reach on that test split, by `reviews.ceiling`.
"""

import dataclasses
from pathlib import Path

import numpy as np

from experiments import sentiment
from jaxnets import files
from jaxnets.data.feeds.texts import labelled_texts
from jaxnets.data.generated.reviews import ceiling
from jaxnets.data.text import texts_of
from jaxnets.models.reader import READERS
from jaxnets.plots.parts import png
from jaxnets.plots.runs import comparison
from jaxnets.ranges import Count
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of

FOLDER = Path("runs/sentiment_models")


def main(config: sentiment.Config, seeds: Count = 3) -> dict[str, list[float]]:
    """Returns the test accuracies of every model, one a seed.

    Args:
        config: Configuration of every run, except for its model and seed.
        seeds: Runs of each model, from --seed on.
    """
    name = files.safe_name(Path(config.data).name)
    found: dict[str, list[float]] = {}
    for model in READERS:
        for seed in range(seeds):
            path = FOLDER / f"{name}-{model}-{seed}"
            one = dataclasses.replace(config, model=model, seed=config.seed + seed)
            result = result_of(sentiment.main, one, path)
            found.setdefault(model, []).append(100 * result["test"]["accuracy"])
    test = labelled_texts(config.data, data_dir=config.data_dir).test
    most = ceiling(texts_of(test, "text"), np.asarray(test.columns["label"]))
    for model, values in found.items():
        print(f"{model:>14} {np.mean(values):6.2f} %  {values}")
    title = f"{name}: without the order of the words at most {most:.1%}"
    figure = comparison(found, label="test accuracy, %", title=title)
    png(figure, FOLDER / f"{name}.png")
    return found


if __name__ == "__main__":
    study(main)
