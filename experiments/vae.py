"""Train a variational autoencoder, and see what its code knows and what it is worth.

    uv run experiments/vae.py --latent 2
    uv run experiments/vae.py --samples 5 --binarise dynamic
    uv run experiments/vae.py --model conv --likelihood logistic --binarise none
    uv run experiments/vae.py --data fashion_mnist --data-dir ~/tfds

The default learns letters and digits that are generated, without a download.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.density import Binarise, DensityFeeds, density_feeds
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import Fit
from jaxnets.data.store.looking import Keep
from jaxnets.evaluation.variational import each_image, figures, likelihoods
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.base import Learner
from jaxnets.learners.scheduled import warming
from jaxnets.learners.supervised import supervised
from jaxnets.models.vae import VAES
from jaxnets.ops.distributions import LIKELIHOODS
from jaxnets.ranges import (
    Copies,
    Count,
    NonNegative,
    Positive,
    Seed,
    Sides,
    Size,
    below,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, Neutral, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.variational import Divergence, variational


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 1e-3  # peak learning rate of the schedule
    # weight of the KL divergence; 1: the evidence lower bound, 0: no divergence
    beta: NonNegative = 1.0
    # steps over which beta rises linearly from 0; 0: no warm-up
    beta_warmup: NonNegative = 0.0
    # KL divergence of each number of a code that is not penalised, in nats; 0: none
    free_nats: NonNegative = 0.0
    clip_norm: Positive = 100.0  # largest norm of the whole gradient


SPACE = Hyper(LogUniform(1e-4, 1e-2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    # encoder and decoder: dense layers, or convolutions
    model: Annotated[str, one_of(VAES)] = "dense"
    # units of each dense hidden layer of the encoder; the decoder has them in reverse
    widths: Annotated[tuple[int, ...], within(1, 65_536)] = (400,)
    latent: Size = 20  # numbers in the code of an image
    # distribution of a pixel given the code
    likelihood: Annotated[str, one_of(LIKELIHOODS)] = "bernoulli"
    # binarisation of the pixels; static: drawn once, dynamic: drawn at each step,
    # threshold: 1 from 128 on, none: bytes
    binarise: Binarise = "static"
    binarise_seed: Seed = 0  # seed of the pixels that are drawn once
    # codes of each training image; 2 or more: importance-weighted training
    samples: Copies = 1
    # KL divergence in closed form, or estimated from a sample; several --samples:
    # always estimated
    divergence: Divergence = "closed"
    # samples of each image for the reported bound of log p(x)
    bound_samples: Count = 1000
    # number of test images whose bound of log p(x) is reported
    judged: Annotated[int, within(2)] = 500
    # data set: digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data: str = "glyphs"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    # height and width of the images in pixels, or one side; none: as in the data
    size: Sides = ()
    # how images reach --size: cropped, stretched, or padded with black bars
    fit: Fit = "crop"
    skip_bad: bool = False  # leave out unusable image files; a warning counts them
    # decoded images of a folder or a TFDS set: kept on the disk, or streamed, which
    # decodes them at each use; auto: kept up to 8 GiB and a quarter of the free disk
    pictures: Annotated[Keep, Neutral] = "auto"
    batch_size: Count = 100  # images in a step
    epochs: Annotated[int, within(1), Extendable] = 30  # passes over the training split
    reports: Count = 10  # evaluations of the validation split in a run
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data and of pixels drawn each step
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
            keep=config.pictures,
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
    model = VAES[config.model](
        data.shape,
        likelihood=LIKELIHOODS[config.likelihood],
        latent=config.latent,
        widths=config.widths,
    )
    task = variational(
        model,
        samples=config.samples,
        divergence=config.divergence,
        bound_samples=config.bound_samples,
    )
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
