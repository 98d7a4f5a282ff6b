"""A small network with batch norm and dropout on digits: an experiment to sweep."""

import dataclasses
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.supervised import supervised
from jaxnets.models.convnet import ConvNet
from jaxnets.models.mlp import MLP
from jaxnets.models.parts.norms import BatchNorm
from jaxnets.ops import augment
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform, Uniform
from jaxnets.tasks.classification import classification

MODELS = ("mlp", "conv", "broken")


class Hyper(NamedTuple):
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    dropout: float = 0.1
    average_decay: float = 0.9
    plateau_factor: float = 0.5


SPACE = Hyper(LogUniform(1e-3, 5e-2), dropout=Uniform(0.0, 0.3))


@dataclasses.dataclass(frozen=True)
class Config:
    """A small run."""

    model: Annotated[str, one_of(MODELS)] = "mlp"
    steps: Annotated[int, Extendable] = 30
    every: int = 10
    batch_size: int = 32
    seed: int = 0
    data_seed: int = 0
    hyper: Hyper = Hyper()


def load(config):
    moved = augment.padded_crop(1)
    return image_feeds(
        digits(),
        batch_size=config.batch_size,
        seed=config.data_seed,
        augmentation=(moved,),
    )


def build(config, data):
    del data
    if config.model == "broken":
        raise ValueError("this network cannot be built")
    conv = ConvNet(filters=(4, 8), pools=(0,))
    mlp = MLP(widths=(16,), norm=BatchNorm)
    model = conv if config.model == "conv" else mlp
    rates = ["dropout"] if config.hyper.dropout else []
    extras = optimizers.Extras(l2=True, plateau=0)
    rule = optimizers.composed(optimizers.momentum, schedules.constant(), extras)
    return averaged(supervised(classification(model, rates=rates), rule))


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
