r"""Train a generator against a discriminator, and count what its samples are worth.

    uv run experiments/gan.py
    uv run experiments/gan.py --data fashion_mnist --features 64 --steps 14000 \
        --no-conditional --learning-rate 2e-4 --ratio 1 --average-decay 0.999
    uv run experiments/gan.py --loss wasserstein --penalty gradient_penalty \
        --learning-rate 2e-4 --ratio 1

The default imitates letters and digits from type, class by class, without a download.
Distances are on features of a classifier that is trained first: compare them within
this project only.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxnets.analysis.distances import frechet_distance
from jaxnets.analysis.samples import LEAST, judged
from jaxnets.data.dataset import enough
from jaxnets.data.feeds.images import Feeds, image_feeds
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import Fit
from jaxnets.data.store.looking import Keep
from jaxnets.evaluation import samples
from jaxnets.evaluation.evaluator import JudgeRecipe, judge
from jaxnets.learners import schedules
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.models.gan import NETWORKS, players
from jaxnets.ranges import Count, NonNegative, Positive, Rate, Seed, Sides, Size
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Neutral, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.adversarial import LOSSES, PENALTIES


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    # generator's learning rate at the first step; it falls linearly to 0
    learning_rate: Positive = 2e-3
    ratio: Positive = 0.5  # discriminator's learning rate divided by the generator's
    beta1: Rate = 0.5  # decay rate of Adam's first moment
    beta2: Rate = 0.999  # decay rate of Adam's second moment
    r1: NonNegative = 1.0  # weight of the R1 penalty, for --penalty r1; 0: none
    # weight of the gradient penalty, for --penalty gradient_penalty; 0: none
    gradient_penalty: NonNegative = 10.0
    # decay rate of the averaged generator, which makes the samples; 0: no average
    average_decay: Rate = 0.998


SPACE = Hyper(LogUniform(2e-4, 2e-2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

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
    # weights of the evaluator, a small_convnet; None: train one on the data
    judge: Path | None = None
    judge_steps: Count = 1200  # training steps of the evaluator, if --judge is None
    # architecture of generator and discriminator
    architecture: Annotated[str, one_of(NETWORKS)] = "dcgan"
    features: Size = 32  # channels of the layers next to the image
    noise: Size = 64  # normal random numbers from which the generator makes a sample
    # loss of generator and discriminator
    loss: Annotated[str, one_of(LOSSES)] = "non_saturating"
    # gradient penalty of the discriminator
    penalty: Annotated[str, one_of(PENALTIES)] = "none"
    spectral: bool = False  # spectral norm instead of batch norm in the discriminator
    conditional: bool = True  # condition generator and discriminator on the class
    discriminator_steps: Count = 1  # discriminator updates in a training step
    generator_steps: Count = 1  # generator updates in a training step
    batch_size: Count = 64  # images in each update of either network
    steps: Count = 2800  # training steps
    reports: Count = 10  # evaluations of the samples in a run
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data
    hyper: Hyper = Hyper()


def load(config: Config) -> Feeds:
    """The data set, looked through for anything wrong, as batches in [-1, 1]."""
    data = labelled_images(
        config.data,
        data_dir=config.data_dir,
        size=config.size,
        fit=config.fit,
        skip_bad=config.skip_bad,
        keep=config.pictures,
    )
    enough(data, train=LEAST, validation=2, test=LEAST)
    half = (0.5,) * len(data.mean)
    rows = config.batch_size * max(config.discriminator_steps, config.generator_steps)
    centred = dataclasses.replace(data, mean=half, std=half)
    feeds = image_feeds(centred, batch_size=rows, seed=config.data_seed)
    return feeds._replace(dataset=data)


def build(config: Config, data: Feeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    penalty = PENALTIES[config.penalty]
    generator, discriminator = players(
        config.architecture,
        data.train.prepared.image.shape[1:],
        features=config.features,
        classes=len(data.dataset.classes) if config.conditional else 0,
        normed=penalty is None,
        spectral=config.spectral,
    )
    game = Game(
        generator,
        discriminator,
        stakes=LOSSES[config.loss],
        penalty=penalty,
        noise=config.noise,
        told="label" if config.conditional else None,
    )
    learner = adversarial(
        game,
        adams(schedules.linear(plan(config, data).steps)),
        discriminator_steps=config.discriminator_steps,
        generator_steps=config.generator_steps,
    )
    return averaged(learner, field="generator")


def plan(config: Config, data: Feeds) -> Plan:
    """The steps of a run, and how often it reports."""
    del data
    every = max(config.steps // config.reports, 1)
    return Plan(steps=config.steps, report_every=every)


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, looking at the samples now and then, and judges as many as are tested."""
    data = load(config)
    learner = build(config, data)
    train, validation, test = (
        split.columns["image"] for split in data.dataset.splits.values()
    )
    with Run(config, verbs) as run:
        look = judge(
            data.dataset,
            JudgeRecipe(steps=config.judge_steps),
            file=config.judge,
            say=run.console.say,
        )
        for _ in run.train(learner, data.train, plan(config, data)):
            fake = (run.predict(data.validation) + 1) / 2
            samples.keep(run, "training", fake[:64])
            real = look(validation).features
            distance = frechet_distance(real, look(fake).features)
            run.log(validation={"frechet": distance})
        samples.animate(run, "training")
        fake = (run.predict(data.test) + 1) / 2
        found = judged(look, fake, test[:], train[: len(test)])
        shares, classes = found["classes"]["share"], data.dataset.classes
        samples.figures(run, fake, shares, classes)
        run.finish(**found, judge={"accuracy": look.accuracy})


if __name__ == "__main__":
    command(main, Config)
