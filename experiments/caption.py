"""Train a network to say in a sentence what an image shows, and see where it looks.

    uv run experiments/caption.py                # about 12 minutes, two slow CPU cores
    uv run experiments/caption.py --recipe long  # about 30, and half as many mistakes

The default needs no download; one of your own: `--describe photo.jpg --run RUN`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from jaxnets.data.feeds.captions import CaptionFeeds, caption_feeds
from jaxnets.data.feeds.named_captions import named_captions
from jaxnets.evaluation.captions import (
    describe,
    features_of,
    kept_data,
    report,
    with_photo,
)
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.base import Learner
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.encoders import ENCODERS, encoder, pretrained
from jaxnets.models.parts.caption_decoders import DECODERS
from jaxnets.ops.decoding import Decoding
from jaxnets.ranges import (
    Copies,
    Count,
    NonNegative,
    Positive,
    Rate,
    Seed,
    Share,
    SizeOrZero,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, Judging, one_of
from jaxnets.run.verbs import Describing, Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.captioning import captioning, with_encoder


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 0.02  # peak of the schedule
    weight_decay: NonNegative = 0.01  # decoupled
    clip_norm: Positive = 5.0  # of the whole gradient
    dropout: Rate = 0.0  # of units before the logits; 0 leaves it out
    sampling: Share = 0.0  # share of words that the decoder draws itself in training
    doubly_stochastic: NonNegative = 0.0  # soft attention: equal shares; photos: 1
    focus: NonNegative = 0.01  # soft attention: cost of a nat of entropy, each word
    reinforce: NonNegative = 1.0  # hard attention: factor of the score function
    entropy: NonNegative = 0.01  # hard attention: reward of a nat of entropy
    average_decay: Rate = 0.99  # of the averaged parameters, which are the ones scored


SPACE = Hyper(LogUniform(3e-3, 0.3), weight_decay=LogUniform(1e-3, 0.3))

# A network that has learned for longer may write longer sentences: experiments/LOG.md.
_LONG = Decoding("beam", 5, alpha=4.0, min_p=0.1, sharpness=3.0)
_RECIPES: dict[str, dict[str, Any]] = {
    "short": {},  # the defaults below
    "long": {"generated": 40_000, "epochs": 3, "decoding": _LONG},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    recipe: Annotated[str, one_of(_RECIPES)] = "short"  # 1,400 steps; long: 3,750
    data: str = "shapes"  # generated here; or a folder of images with a captions file
    captions: str | None = None  # that file, if the folder has several lists
    skip_bad: bool = False  # leave out images and captions that cannot be used, counted
    generated: Annotated[int, within(1, 10_000_000)] = 22_400  # training images
    side: Annotated[int, within(8, 4096)] = 64  # pixels along each edge of the images
    # Tokens of a caption that are learned, with start and end; 8 more may be written.
    # None: 22 for shapes; for a folder the 95th percentile of its training captions.
    longest: Annotated[int | None, within(3, 65_536)] = None
    minimum: Count = 1  # a word that is there less often is <unk>; 5 for photos
    attention: Annotated[str, one_of(DECODERS)] = "soft"  # none: one vector
    reads_first: bool = True  # a word before attention; False: after, as in the paper
    places: SizeOrZero = 2  # maps of where it has looked; 0: none, as in the paper
    deep: bool = True  # tanh in front of the logits; False: none, as in the paper
    encoder: Annotated[str, one_of(ENCODERS)] = "whitened"  # the network that looks
    layer: str = ""  # of a network of the zoo: whose output is looked at
    weights: Path | None = None  # of that network, .safetensors or .npz
    frozen: bool = False  # keep them, and the features on the disk
    features: Annotated[int, within(4, 65_536)] = 256  # hidden units; words: half
    decoding: Annotated[Decoding, Judging] = _LONG._replace(alpha=0.5)
    batch_size: Count = 32  # images in a step
    each: Copies = 3  # captions of an image in a step
    wordy: bool = True  # the longest ones, which say most; False: any
    epochs: Annotated[int, within(1), Extendable] = 2  # passes over the images
    reports: Count = 5  # how often the validation split is scored
    seed: Seed = 0  # of initialisation and noise
    data_seed: Seed = 0  # of the order, and of which caption
    hyper: Hyper = Hyper()

    def preset(self) -> "Config":
        """These settings, over the defaults that their recipe changes."""
        return dataclasses.replace(self, **_RECIPES[self.recipe])


def load(config: Config) -> CaptionFeeds:
    """The images and captions, looked through for anything wrong, as batches."""
    named = named_captions(
        config.data,
        config.side,
        file=config.captions,
        generated=config.generated,
        skip_bad=config.skip_bad,
    )
    captions = features_of(
        named,
        config.encoder,
        config.layer,
        config.weights if config.frozen else None,
    )
    return caption_feeds(
        captions,
        longest=config.longest,
        minimum=config.minimum,
        batch_size=config.batch_size,
        each=config.each,
        wordy=config.wordy,
        seed=config.data_seed,
    )


def build(config: Config, data: CaptionFeeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    weights = config.weights
    looks = encoder(
        config.encoder, config.layer, config.side, published=weights is not None
    )
    speaks = DECODERS[config.attention](
        vocabulary=len(data.vocabulary),
        features=config.features,
        embedding=config.features // 2,
        attention=config.features // 4,
        reads_first=config.reads_first,
        places=config.places,
        deep=config.deep,
    )
    model = ImageCaptioner(None if config.frozen and weights else looks, speaks)
    rates = [r for r in functional.rates(model) if getattr(config.hyper, r, 0)]
    task = captioning(model, data.longest + 8, config.decoding, rates=rates)
    if weights and not config.frozen:
        task = with_encoder(task, pretrained(looks, config.side, weights))
    steps = plan(config, data).steps
    shape = schedules.over(steps, schedules.cosine, warmup=100)
    rule = optimizers.composed(optimizers.muon, shape, optimizers.Extras(clip=True))
    return averaged(supervised(task, rule))


def plan(config: Config, data: CaptionFeeds) -> Plan:
    """The steps of a run, and what its checkpoints hold beside the state."""
    steps = config.epochs * data.train.length
    return Plan(
        steps=steps,
        report_every=max(steps // config.reports, 1),
        metadata=data.kept,
    )


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    config, photo = with_photo(config, verbs)
    data = kept_data(config, verbs) if photo else None
    data = data or load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            run.log(validation=run.evaluate(data.validation))
        if photo:
            describe(run, data, photo)
        else:
            run.finish(test=run.evaluate(data.test), **report(run, data))


if __name__ == "__main__":
    command(main, Config, verbs=Describing)
