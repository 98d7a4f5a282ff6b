"""Train a network to tell images apart.

    uv run experiments/classify.py --recipe cifar10-60s --data cifar10

A recipe decides the defaults: `--model resnet20 --data cifar10 --help` shows them. The
recipe `paper` is how the network's paper trained it. `steady` is one set of numbers
for every network on small data. The default, `auto`, is `paper` for our own
networks and if --data names the paper's data set, for example cifar10; else `steady`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from experiments import recipes
from jaxnets import files
from jaxnets.data.feeds.images import Feeds, image_feeds
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import Fit
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.learners.ensemble import ensemble, mean_probabilities
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional, weights
from jaxnets.models.zoo import ZOO, suited
from jaxnets.ops.augment import CHOICES
from jaxnets.plots.runs import confusion, mistakes
from jaxnets.ranges import (
    Copies,
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    PositiveShare,
    Rate,
    Seed,
    Share,
    Sides,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.classification import classification, scores
from jaxnets.tasks.pretrained import pretrained


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 4e-3  # peak of the schedule
    momentum: Rate = 0.9  # of momentum and nesterov
    weight_decay: NonNegative = 0.02  # decoupled in adamw; L2 in the other rules
    label_smoothing: Rate = 0.05  # share of the target spread over all classes
    dropout: Rate = 0.1  # of units; 0 leaves it out, and so for every rate below
    auxiliary_dropout: Rate = 0.0  # of units of GoogLeNet's auxiliary classifiers
    drop_path: Rate = 0.0  # of whole paths: stochastic depth, FractalNet's joins
    global_path: Share = 0.0  # of FractalNet's images that follow a single column
    average_decay: Rate = 0.98  # of the averaged parameters, which are those scored
    clip_norm: NonNegative = 10.0  # of the whole gradient
    plateau_factor: PositiveShare = 0.1  # of the learning rate, on a plateau
    newton_damping: NonNegative = 1.0  # added to the diagonal of the Hessian
    backbone_rate: NonNegative = 1.0  # learning rate of all but a new head, relative


SPACE = Hyper(LogUniform(1e-4, 1e-1), weight_decay=LogUniform(1e-3, 0.3))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in.

    The command line takes the recipe's settings. Python does not: there
    `Config(model="vgg16").preset()` has them, and `dataclasses.replace` changes them.
    """

    model: Annotated[str, one_of(ZOO)] = "convnet"  # the network
    recipe: Annotated[str, one_of(recipes.CHOICES)] = (
        recipes.AUTO
    )  # where defaults come from
    scale_rate: bool = True  # let a paper's learning rate follow the batch size
    data: str = "digits"  # digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data_dir: Path | None = None  # where prepared TFDS sets are
    size: Sides = ()  # pixels of every image: one side, or height and width
    fit: Fit = "crop"  # how images reach that size: cut, with black bars, or stretched
    skip_bad: bool = False  # leave out image files that cannot be used; counted
    pretrained: Path | None = None  # begin from these weights, .safetensors or .npz
    new_head: bool = False  # draw the last layer anew: other classes than the file's
    members: Copies = 1  # networks whose mean prediction is scored
    augment: Annotated[str, one_of(CHOICES)] = "affine"  # what moves in training
    optimizer: Annotated[str, one_of(optimizers.RULES)] = "adamw"  # the update rule
    schedule: Annotated[str, one_of(schedules.SHAPES)] = "cosine"  # of learning_rate
    warmup: CountOrZero = 20  # steps over which the learning rate rises
    skip_biases: bool = True  # keep weight decay off biases and norms
    accumulate: Count = 1  # batches averaged before an update
    batch_size: CountOrZero = 64  # examples in a step; 0 for all of them
    epochs: Annotated[int, within(1), Extendable] = 60  # passes over the data
    reports: Count = 10  # how often the validation split is scored
    seed: Seed = 0  # of initialisation and noise
    data_seed: Seed = 0  # of order and augmentation
    hyper: Hyper = Hyper()
    preset = recipes.prepared  # the defaults are the recipe's
    adjusted = recipes.scaled
    remarks = recipes.remarks


def load(config: Config) -> Feeds:
    """The data set, looked through for anything wrong, as batches."""
    data = labelled_images(
        config.data,
        data_dir=config.data_dir,
        size=config.size,
        fit=config.fit,
        skip_bad=config.skip_bad,
        fewest=2,
    )
    return image_feeds(
        data,
        batch_size=config.batch_size or len(data.train),
        seed=config.data_seed,
        augmentation=CHOICES[config.augment](data.side),
    )


def build(config: Config, data: Feeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    model = suited(ZOO[config.model](len(data.dataset.classes)), data.dataset.side)
    rates = [r for r in functional.rates(model) if getattr(config.hyper, r, 0)]
    task = classification(model, rates=rates)
    if config.pretrained:
        task = pretrained(
            task, model, data.train, config.pretrained, new_head=config.new_head
        )
    steps = plan(config, data).steps
    optimizer = optimizers.from_config(config, steps, weights.head_mask)
    learner = supervised(task, optimizer)
    if config.hyper.average_decay:
        learner = averaged(learner)
    if config.members > 1:
        learner = ensemble(
            learner, config.members, combine=mean_probabilities, score=scores
        )
    return learner


def plan(config: Config, data: Feeds) -> Plan:
    """The steps of a run, and what its checkpoints hold beside the state."""
    steps = config.epochs * data.train.length
    metadata = {}
    if config.pretrained:
        metadata["pretrained"] = files.sha256(config.pretrained)
    return Plan(
        steps=steps,
        report_every=max(steps // config.reports, 1),
        metadata=metadata,
    )


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    data = load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            score = run.evaluate(data.validation)
            run.log(validation=score)
            run.observe(score["loss"].compute())
        test, classes = data.dataset.test.columns, data.dataset.classes
        labels, logits = test["label"][:], run.predict(data.test)
        run.figure("confusion", confusion, labels, logits.argmax(1), classes)
        run.figure("mistakes", mistakes, test["image"], labels, logits, classes)
        run.finish(test=run.evaluate(data.test))


if __name__ == "__main__":
    command(main, Config)
