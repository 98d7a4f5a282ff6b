"""Train DRAW, which paints in steps and looks at the picture in between.

    uv run experiments/draw.py
    uv run experiments/draw.py --read 0 --write 0         # without attention
    uv run experiments/draw.py --data fashion_mnist --data-dir ~/tfds --epochs 30

The default learns letters and digits that are generated, without a download.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.density import Binarise, DensityFeeds, density_feeds
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import Fit
from jaxnets.evaluation.variational import each_image, figures, likelihoods
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.base import Learner
from jaxnets.learners.scheduled import warming
from jaxnets.learners.supervised import supervised
from jaxnets.models.draw import draw
from jaxnets.ops.distributions import LIKELIHOODS
from jaxnets.ranges import (
    Count,
    NonNegative,
    Positive,
    Seed,
    Sides,
    Size,
    SizeOrZero,
    below,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.variational import variational


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 2e-3  # peak of the schedule
    beta: NonNegative = 1.0  # factor of the divergence; 1: the bound itself, 0: none
    beta_warmup: NonNegative = 0.0  # steps over which beta grows to that
    free_nats: NonNegative = 0.0  # of each step's divergence that cost nothing
    clip_norm: Positive = 10.0  # of the whole gradient


SPACE = Hyper(LogUniform(1e-4, 1e-2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    steps: Annotated[int, within(1, 1000)] = 16  # strokes of a picture
    features: Size = 256  # hidden units of each LSTM
    latent: Size = 32  # numbers in the code of a step
    read: SizeOrZero = 8  # side of the window it reads; 0: no attention
    write: SizeOrZero = 8  # side of what it writes; 0: no attention
    likelihood: Annotated[str, one_of(LIKELIHOODS)] = "bernoulli"  # of a pixel
    binarise: Binarise = "static"  # drawn once, each step, cut at 128, or kept bytes
    binarise_seed: Seed = 0  # of what is drawn once
    bound_samples: Count = 100  # of the bound that is reported
    judged: Annotated[int, within(2)] = 500  # test images that it is computed of
    data: str = "glyphs"  # digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data_dir: Path | None = None  # where prepared TFDS sets are
    size: Sides = ()  # pixels of every image: one side, or height and width
    fit: Fit = "crop"  # how images reach that size: cut, with black bars, or stretched
    skip_bad: bool = False  # leave out image files that cannot be used; counted
    batch_size: Count = 100  # images in a step
    epochs: Annotated[int, within(1), Extendable] = 5  # passes over the data
    reports: Count = 10  # how often the validation split is scored
    seed: Seed = 0  # of initialisation and noise
    data_seed: Seed = 0  # of the order, and of what is drawn each step
    hyper: Hyper = Hyper()


def load(config: Config) -> DensityFeeds:
    """The images, looked through for anything wrong, as batches."""
    return density_feeds(
        labelled_images(
            config.data,
            data_dir=config.data_dir,
            size=config.size,
            fit=config.fit,
            skip_bad=config.skip_bad,
        ),
        LIKELIHOODS[config.likelihood],
        batch_size=config.batch_size,
        seed=config.data_seed,
        binarise=config.binarise,
        binarise_seed=config.binarise_seed,
        judged=config.judged,
    )


def build(config: Config, data: DensityFeeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    model = draw(
        data.shape,
        likelihood=LIKELIHOODS[config.likelihood],
        steps=config.steps,
        features=config.features,
        latent=config.latent,
        read=config.read,
        write=config.write,
    )
    task = variational(model, bound_samples=config.bound_samples, chunk=10)
    steps = plan(config, data).steps
    below("--beta-warmup", config.hyper.beta_warmup, steps, "the steps of this run")
    shape = schedules.cosine(steps)
    rule = optimizers.composed(optimizers.adam, shape, optimizers.Extras(clip=True))
    return warming(supervised(task, rule), {"beta": "beta_warmup"})


def plan(config: Config, data: DensityFeeds) -> Plan:
    """The steps of a run, and how often it reports."""
    steps = config.epochs * data.train.length
    return Plan(steps=steps, report_every=max(steps // config.reports, 1))


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    data = load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            run.log(validation=run.evaluate(data.validation))
        judged = run.predict(data.judged)
        each_image(run, judged)
        figures(run, data, judged, config.seed)
        scores = likelihoods(
            judged, data.shape, LIKELIHOODS[config.likelihood], config.bound_samples
        )
        run.finish(test=run.evaluate(data.test), judged=scores)


if __name__ == "__main__":
    command(main, Config)
