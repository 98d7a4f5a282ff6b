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
from jaxnets.data.feeds.images import Feeds, image_feeds, loaded_size
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import Fit
from jaxnets.data.store.looking import Keep
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.learners.ensemble import ensemble, mean_probabilities
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional, weights
from jaxnets.models.zoo import ZOO, suited
from jaxnets.ops.augment import CHOICES, SHARES
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
from jaxnets.run.settings import Extendable, Neutral, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.classification import classification, scores
from jaxnets.tasks.pretrained import pretrained


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 4e-3  # peak learning rate of the schedule
    momentum: Rate = 0.9  # momentum coefficient, for --optimizer momentum and nesterov
    # weight decay; decoupled for adamw and muon, an L2 penalty for other rules; 0: none
    weight_decay: NonNegative = 0.02
    # share of the target spread evenly over all classes; 0: no label smoothing
    label_smoothing: Rate = 0.05
    dropout: Rate = 0.1  # probability that a unit is dropped; 0: no dropout
    # probability that a unit of GoogLeNet's auxiliary classifiers is dropped; 0: none
    auxiliary_dropout: Rate = 0.0
    # probability that a whole path of a ResNet or FractalNet is dropped; 0: none
    drop_path: Rate = 0.0
    # probability that an image follows a single column of FractalNet; 0: never
    global_path: Share = 0.0
    # decay rate of the averaged parameters, which are scored; 0: no average
    average_decay: Rate = 0.98
    clip_norm: NonNegative = 10.0  # largest norm of the whole gradient; 0: no limit
    # factor of the learning rate at a plateau, for --schedule plateau
    plateau_factor: PositiveShare = 0.1
    # damping added to the Hessian's diagonal, for --optimizer newton
    newton_damping: NonNegative = 1.0
    # factor of the learning rate for all layers but the head; 1: the same, 0: fixed
    backbone_rate: NonNegative = 1.0


SPACE = Hyper(LogUniform(1e-4, 1e-1), weight_decay=LogUniform(1e-3, 0.3))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in.

    The command line takes the recipe's settings. Python does not: there
    `Config(model="vgg16").preset()` has them, and `dataclasses.replace` changes them.
    """

    # network; `python -m jaxnets.models` lists them with their sizes
    model: Annotated[str, one_of(ZOO)] = "convnet"
    # recipe that sets the defaults of other flags; auto: paper for our own networks and
    # for data of the network's paper, else steady
    recipe: Annotated[str, one_of(recipes.CHOICES)] = recipes.AUTO
    # scale a paper's learning rate in proportion to the batch size
    scale_rate: bool = True
    # data set: digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data: str = "digits"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    # height and width in pixels of the images that the network sees, or one side; none:
    # as in the data
    size: Sides = ()
    # how images reach --size: cropped, stretched, or padded with black bars
    fit: Fit = "crop"
    skip_bad: bool = False  # leave out unusable image files; a warning counts them
    # decoded images of a folder or a TFDS set: kept on the disk, or streamed, which
    # decodes them at each use; auto: kept up to 8 GiB and a quarter of the free disk
    pictures: Annotated[Keep, Neutral] = "auto"
    # file of initial weights, .safetensors or .npz; None: random initialisation
    pretrained: Path | None = None
    # with --pretrained: initialise the last layer anew, for other classes
    new_head: bool = False
    # networks of an ensemble, whose mean prediction is scored; 1: one network
    members: Copies = 1
    # augmentation of the training images; resized: crops of 8 to 100 % of the area,
    # resized, and mirrors; imagenet: the same from images kept at 8/7 of --size, whose
    # middle is evaluated. These are crops of what is kept, not of the original file:
    # small ones have less detail, and what --fit crop cut off is never seen
    augment: Annotated[str, one_of(CHOICES)] = "affine"
    # update rule of the parameters
    optimizer: Annotated[str, one_of(optimizers.RULES)] = "adamw"
    # schedule of the learning rate
    schedule: Annotated[str, one_of(schedules.SHAPES)] = "cosine"
    # updates over which the learning rate rises linearly to its peak, or below 1 their
    # share of the run; 0: no warm-up
    warmup: NonNegative = 20.0
    # leave biases and norms out of the L2 penalty; adamw and muon never decay them
    skip_biases: bool = True
    accumulate: Count = 1  # batches whose gradients are averaged for one update
    batch_size: CountOrZero = 64  # examples in a step; 0: the whole training split
    epochs: Annotated[int, within(1), Extendable] = 60  # passes over the training split
    reports: Count = 10  # evaluations of the validation split in a run
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order and the augmentation of the data
    hyper: Hyper = Hyper()
    preset = recipes.prepared  # the defaults are the recipe's
    adjusted = recipes.scaled
    remarks = recipes.remarks


def load(config: Config) -> Feeds:
    """The data set, looked through for anything wrong, as batches."""
    data = labelled_images(
        config.data,
        data_dir=config.data_dir,
        size=loaded_size(config.size, config.augment),
        fit=config.fit,
        skip_bad=config.skip_bad,
        keep=config.pictures,
        fewest=2,
    )
    return image_feeds(
        data,
        batch_size=config.batch_size or len(data.train),
        seed=config.data_seed,
        augmentation=CHOICES[config.augment](data.side),
        share=SHARES.get(config.augment, 1.0),
    )


def build(config: Config, data: Feeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    model = suited(ZOO[config.model](len(data.dataset.classes)), data.side)
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
