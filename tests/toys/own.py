"""A network of one's own: trained, resumed, swept."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import optax

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.learners.supervised import supervised
from jaxnets.ranges import Count, Positive, Seed
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.classification import classification


class Hyper(NamedTuple):
    """Numbers that a sweep may change without compiling again."""

    learning_rate: Positive = 1e-2  # learning rate of Adam


SPACE = Hyper(learning_rate=LogUniform(1e-3, 1e-1))  # what a sweep searches


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that are compiled in; every field is a flag, a comment its help."""

    units: Count = 32  # units of the hidden layer
    epochs: Count = 5  # passes over the training split
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data
    hyper: Hyper = Hyper()


class Network(nn.Module):
    units: int

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.relu(nn.Dense(self.units)(image.reshape(len(image), -1)))
        return nn.Dense(10)(x)


def load(config):
    return image_feeds(digits(), batch_size=64, seed=config.data_seed)


def build(config, data):
    task = classification(Network(config.units))
    return supervised(task, lambda hyper: optax.adam(hyper.learning_rate))


def plan(config, data):
    epoch = data.train.length
    return Plan(steps=config.epochs * epoch, report_every=epoch)


def main(config, verbs=Verbs()):
    data = load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            run.log(validation=run.evaluate(data.validation))
        run.finish(test=run.evaluate(data.test))


if __name__ == "__main__":
    command(main, Config)
