"""A perceptron on digits: the smallest experiment that has everything."""

import dataclasses
from typing import Annotated, NamedTuple

from jaxnets.data.digits import digits
from jaxnets.data.feeds import image_feeds
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.supervised import supervised
from jaxnets.models.mlp import MLP
from jaxnets.ops import augment
from jaxnets.run.command import command
from jaxnets.run.session import Run, Verbs
from jaxnets.run.settings import Extendable
from jaxnets.tasks.classification import classification


class Hyper(NamedTuple):
    learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    dropout: float = 0.1
    average_decay: float = 0.9
    plateau_factor: float = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    """A small run."""

    steps: Annotated[int, Extendable] = 60  # how many
    every: int = 20  # steps between two reports
    cosine: bool = True  # whether the rate falls
    width: int = 16  # hidden units
    seed: int = 0  # of initialisation and noise
    data_seed: int = 0  # of order and augmentation
    hyper: Hyper = Hyper()


def load(config):
    moved = augment.padded_crop(1)
    return image_feeds(
        digits(), batch_size=32, seed=config.data_seed, augmentation=(moved,)
    )


def build(config, data):
    del data
    shape = schedules.cosine(config.steps) if config.cosine else schedules.constant()
    extras = optimizers.Extras(plateau=0)
    optimizer = optimizers.composed(optimizers.adamw, shape, extras)
    return averaged(supervised(classification(MLP(widths=(config.width,))), optimizer))


def main(config, verbs=Verbs()):
    data = load(config)
    with Run(config, verbs) as run:
        learner = build(config, data)
        for _ in run.train(
            learner,
            data.train,
            steps=config.steps,
            every=config.every,
        ):
            score = run.evaluate(data.validation)
            run.log(validation=score)
            run.observe(score["loss"].compute())
        run.finish(test=run.evaluate(data.test))
    return run


if __name__ == "__main__":
    command(main, Config)
