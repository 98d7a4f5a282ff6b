"""A perceptron on digits: the smallest experiment that has everything."""

import dataclasses
import functools
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.supervised import supervised
from jaxnets.models.mlp import MLP
from jaxnets.ops import augment
from jaxnets.ranges import Rate
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, Neutral
from jaxnets.run.verbs import Verbs
from jaxnets.tasks.classification import classification


class Hyper(NamedTuple):
    learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    dropout: Rate = 0.1
    average_decay: float = 0.9
    plateau_factor: float = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    """A small run."""

    steps: Annotated[int, Extendable] = 60  # how many
    every: int = 20  # steps between two reports
    cosine: bool = True  # whether the rate falls
    width: int = 16  # hidden units
    kept: Annotated[bool, Neutral] = True  # whether anything is
    seed: int = 0  # seed of initialisation and noise
    data_seed: int = 0  # of order and augmentation
    hyper: Hyper = Hyper()


# The same functions for every run in a process: these are compiled once.
@functools.cache
def feeds(data_seed):
    moved = augment.padded_crop(1)
    return image_feeds(digits(), batch_size=32, seed=data_seed, augmentation=(moved,))


@functools.cache
def learner(cosine_steps, width):
    falls = cosine_steps is not None
    shape = schedules.cosine(cosine_steps) if falls else schedules.constant()
    extras = optimizers.Extras(plateau=0)
    optimizer = optimizers.composed(optimizers.adamw, shape, extras)
    return averaged(supervised(classification(MLP(widths=(width,))), optimizer))


def load(config):
    return feeds(config.data_seed)


def build(config, data):
    del data
    return learner(config.steps if config.cosine else None, config.width)


def plan(config, data):
    del data
    return Plan(steps=config.steps, report_every=config.every)


def main(config, verbs=Verbs()):
    data = load(config)
    with Run(config, verbs) as run:
        learner = build(config, data)
        for _ in run.train(learner, data.train, plan(config, data)):
            score = run.evaluate(data.validation)
            run.log(validation=score)
            run.observe(score["loss"].compute())
        run.finish(test=run.evaluate(data.test))
    return run


if __name__ == "__main__":
    command(main, Config)
