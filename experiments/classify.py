"""Train a network to tell images apart.

    uv run experiments/classify.py
    uv run experiments/classify.py --model resnet20 --data cifar10 --epochs 30

The default, a small convolutional network on scikit-learn's digits (1,797 scans of 8x8
pixels, no download), takes less than a minute on two CPU cores.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from jaxnets import plots
from jaxnets.data.feeds import Feeds, image_feeds
from jaxnets.data.named import labelled_images
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.learners.optimizers import RULES
from jaxnets.learners.schedules import SHAPES
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.zoo import ZOO, suited
from jaxnets.ops.augment import CHOICES
from jaxnets.run.command import command
from jaxnets.run.session import Run, Verbs
from jaxnets.run.settings import Extendable, one_of
from jaxnets.tasks.classification import classification


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: float = 4e-3  # peak of the schedule
    momentum: float = 0.9  # of momentum and nesterov
    weight_decay: float = 0.02  # decoupled in adamw; L2 in the other rules
    label_smoothing: float = 0.05  # share of the target spread over all classes
    dropout: float = 0.1  # of the networks that drop units; 0 leaves it out
    drop_path: float = 0.0  # of the networks that drop whole paths; 0 leaves it out
    average_decay: float = 0.98  # of the averaged parameters, which are the ones scored
    clip_norm: float = 10.0  # of the whole gradient
    plateau_factor: float = 0.1  # of the learning rate, when validation stops improving
    newton_damping: float = 1.0  # added to the diagonal of the Hessian


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    model: Annotated[str, one_of(ZOO)] = "convnet"  # the network
    data: str = "digits"  # digits, glyphs, a folder ./class/name.png, or a TFDS set
    data_dir: Path | None = None  # where prepared TFDS sets are
    augment: Annotated[str, one_of(CHOICES)] = "affine"  # what moves in training
    optimizer: Annotated[str, one_of(RULES)] = "adamw"  # the update rule
    schedule: Annotated[str, one_of(SHAPES)] = "cosine"  # of the learning rate
    warmup: int = 20  # steps over which the learning rate rises
    skip_biases: bool = True  # keep weight decay off biases and norms
    accumulate: int = 1  # batches whose gradients are averaged before an update
    batch_size: int = 64  # examples in a step; 0 for all of them
    epochs: Annotated[int, Extendable] = 60  # passes over the training split
    reports: int = 10  # how often the validation split is scored
    seed: int = 0  # of initialisation and noise
    data_seed: int = 0  # of order and augmentation
    hyper: Hyper = Hyper()


def load(config: Config) -> Feeds:
    """The data set, looked through for anything wrong, as batches."""
    data = labelled_images(config.data, data_dir=config.data_dir)
    side = min(data.train.columns["image"][:1].shape[1:3])
    return image_feeds(
        data,
        batch_size=config.batch_size or len(data.train),
        seed=config.data_seed,
        augmentation=CHOICES[config.augment](side),
    )


def build(config: Config, data: Feeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    updates = config.epochs * data.train.length // config.accumulate
    shape = SHAPES[config.schedule](updates - config.warmup)
    shape = schedules.warmed_up(shape, config.warmup)
    extras = optimizers.Extras(
        l2=config.optimizer != "adamw",
        skip_biases=config.skip_biases,
        clip=True,
        accumulate=config.accumulate,
        plateau=5 if config.schedule == "plateau" else None,
    )
    optimizer = optimizers.composed(RULES[config.optimizer], shape, extras)
    model = suited(ZOO[config.model](len(data.dataset.classes)), data.side)
    rates = [r for r in functional.rates(model) if getattr(config.hyper, r, 0)]
    return averaged(supervised(classification(model, rates=rates), optimizer))


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    data = load(config)
    steps = config.epochs * data.train.length
    every = max(steps // config.reports, 1)
    with Run(config, verbs) as run:
        for _ in run.train(build(config, data), data.train, steps=steps, every=every):
            score = run.evaluate(data.validation)
            run.log(validation=score)
            run.observe(score["loss"].compute())
        rows, classes = data.dataset.test.columns, data.dataset.classes
        labels, logits = np.asarray(rows["label"]), run.predict(data.test)
        run.figure("confusion", plots.confusion(labels, logits.argmax(1), classes))
        run.figure("mistakes", plots.mistakes(rows["image"], labels, logits, classes))
        run.finish(test=run.evaluate(data.test))


if __name__ == "__main__":
    command(main, Config)
