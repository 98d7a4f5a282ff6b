"""Does batch norm make a small network learn 500 images in ten epochs?

    uv run experiments/studies/batch_norm.py
    uv run experiments/studies/batch_norm.py --data cifar10 --data-dir DIR

The notes' network (3x3 convolutions of 32, 64, 128 and 128 channels, pools after the
first, second and fourth) at a learning rate of 1e-3, with batch norm and without, a few
seeds of each trained side by side. The notes have .95 training accuracy with it and .43
without. Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167. Writes
`runs/batch_norm/batch_norm.png`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np

from jaxnets.data.dataset import Dataset, Split
from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.named import labelled_images
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.population import population, seeded
from jaxnets.learners.supervised import supervised
from jaxnets.models.convnet import convnet
from jaxnets.models.parts.norms import NORMS
from jaxnets.plots.parts import png
from jaxnets.plots.runs import against
from jaxnets.ranges import Count, Positive, Rate, within
from jaxnets.run import compilation, loop
from jaxnets.run.command import study
from jaxnets.tasks.classification import classification

FOLDER = Path("runs/batch_norm")


class Hyper(NamedTuple):
    """Numbers inside the mathematics."""

    learning_rate: Positive = 1e-3  # constant learning rate of Adam
    # share of the target spread evenly over all classes; 0: no label smoothing
    label_smoothing: Rate = 0.0


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    # data set: digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data: str = "glyphs"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    examples: Count = 500  # training examples: the first ones of the training split
    epochs: Count = 10  # passes over the training examples
    batch_size: Count = 50  # examples in a step
    # networks with and without batch norm each, from seed 0
    seeds: Annotated[int, within(2)] = 5
    hyper: Hyper = Hyper()


def main(config: Config) -> dict[str, np.ndarray]:
    """Returns training accuracies by norm, `[epochs, seeds]`; says and draws them."""
    whole = labelled_images(config.data, data_dir=config.data_dir)
    few = whole.train.take(np.arange(config.examples))
    # Judged on what it trains on: how fast it learns is the question, not how well.
    data = dataclasses.replace(whole, train=few, test=Split(few.columns))
    compilation.use_cache()
    curves = {}
    for name in ("batch", "none"):
        curves[name], on_batches = accuracies(config, data, name)
        last, ending = curves[name][-1], on_batches[-1]
        spread, seeds = f"+- {last.std(ddof=1):.3f}", f"{config.seeds} seeds"
        print(
            f"norm {name}: accuracy {last.mean():.3f} {spread} ({seeds}) on them after "
            f"{config.epochs} epochs; in training mode, during the last, "
            f"{ending.mean():.3f}"
        )
    rate = f"learning rate {config.hyper.learning_rate:g}"
    figure = against(
        {f"norm: {name}": values.T for name, values in curves.items()},
        range(1, config.epochs + 1),
        labels=("epoch", "training accuracy"),
        title=f"{config.examples} images of {config.data}, {rate}",
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    png(figure, FOLDER / "batch_norm.png")
    return curves


def accuracies(
    config: Config, data: Dataset, norm: str
) -> tuple[np.ndarray, np.ndarray]:
    """The accuracies of networks with this norm, `[epochs, seeds]`.

    First after every epoch, with the running statistics; then while it went on, with
    the statistics of each batch.
    """
    feeds = image_feeds(data, batch_size=config.batch_size, seed=0)
    model = convnet(len(data.classes), norm=NORMS[norm])
    rule = optimizers.composed(optimizers.adam, schedules.constant())
    alone = jax.default_backend() == "cpu"  # grouped convolutions are slow there
    many = population(supervised(classification(model, rates=()), rule), unrolled=alone)
    state = seeded(many, config.hyper, feeds.train(0), config.seeds)
    epoch, after, during = feeds.train.length, [], []
    pauses = loop.train(
        many, state, feeds.train, steps=config.epochs * epoch, every=epoch
    )
    for pause in pauses:
        score = loop.evaluate(many, pause.state, feeds.test)
        after.append(score["accuracy"].compute())
        during.append(pause.metrics["accuracy"].compute())
    return np.stack(after), np.stack(during)


if __name__ == "__main__":
    study(main)
