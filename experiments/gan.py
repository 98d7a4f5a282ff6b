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
from jaxnets.run.settings import one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.adversarial import LOSSES, PENALTIES


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 2e-3  # of the generator, at first: it falls to 0
    ratio: Positive = 0.5  # of the discriminator's learning rate to the generator's
    beta1: Rate = 0.5  # decay rate of Adam's first moment
    beta2: Rate = 0.999  # decay rate of Adam's second moment
    r1: NonNegative = 1.0  # weight of the penalty r1 (--penalty)
    gradient_penalty: NonNegative = 10.0  # weight of the gradient penalty (--penalty)
    average_decay: Rate = 0.998  # of the averaged generator, which makes the samples


SPACE = Hyper(LogUniform(2e-4, 2e-2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    data: str = "glyphs"  # digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data_dir: Path | None = None  # where prepared TFDS sets are
    size: Sides = ()  # pixels of every image: one side, or height and width
    fit: Fit = "crop"  # how images reach that size: cut, with black bars, or stretched
    skip_bad: bool = False  # leave out image files that cannot be used; counted
    judge: Path | None = None  # weights of a small_convnet, instead of our own
    judge_steps: Count = 1200  # of the training of our own
    architecture: Annotated[str, one_of(NETWORKS)] = "dcgan"  # of both networks
    features: Size = 32  # channels next to the image
    noise: Size = 64  # normal numbers behind a sample
    loss: Annotated[str, one_of(LOSSES)] = "non_saturating"  # what the two play for
    penalty: Annotated[str, one_of(PENALTIES)] = "none"  # on the discriminator's slope
    spectral: bool = False  # spectral norm instead of batch norm in the discriminator
    conditional: bool = True  # tell both networks the class
    discriminator_steps: Count = 1  # of it before the other's
    generator_steps: Count = 1  # of the generator in a step
    batch_size: Count = 64  # images in each of these
    steps: Count = 2800  # training steps
    reports: Count = 10  # how often the samples are looked at
    seed: Seed = 0  # of initialisation and noise
    data_seed: Seed = 0  # of the order
    hyper: Hyper = Hyper()


def load(config: Config) -> Feeds:
    """The data set, looked through for anything wrong, as batches in [-1, 1]."""
    data = labelled_images(
        config.data,
        data_dir=config.data_dir,
        size=config.size,
        fit=config.fit,
        skip_bad=config.skip_bad,
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
            real = look(validation[:]).features
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
