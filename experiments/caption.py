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
from jaxnets.data.store.looking import Keep
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
from jaxnets.run.settings import Extendable, Judging, Neutral, one_of
from jaxnets.run.verbs import Describing, Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.captioning import captioning, with_encoder


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 0.02  # peak learning rate of the schedule
    weight_decay: NonNegative = 0.01  # decoupled weight decay; 0: none
    clip_norm: Positive = 5.0  # largest norm of the whole gradient
    # probability that a unit before the logits is dropped; 0: no dropout
    dropout: Rate = 0.0
    # probability that a training input is the decoder's own word; 0: teacher forcing
    sampling: Share = 0.0
    # soft attention: weight of the doubly stochastic penalty; 1 for photos, 0: none
    doubly_stochastic: NonNegative = 0.0
    # soft attention: weight of the penalty on its entropy in nats; 0: none
    focus: NonNegative = 0.01
    # hard attention: weight of the score-function gradient (REINFORCE); 0: none
    reinforce: NonNegative = 1.0
    # hard attention: weight of the reward for its entropy in nats; 0: none
    entropy: NonNegative = 0.01
    # decay rate of the averaged parameters, which are scored; 0: no average
    average_decay: Rate = 0.99


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

    # recipe that sets the defaults of other flags; short: 1,400 steps, long: 3,750
    recipe: Annotated[str, one_of(_RECIPES)] = "short"
    # data set: shapes, which is generated, or a folder of images with a captions file
    data: str = "shapes"
    # captions file in the folder of --data; None: the only one there
    captions: str | None = None
    # leave out unusable images and captions; a warning counts them
    skip_bad: bool = False
    # decoded images of a folder or a TFDS set: kept on the disk, or streamed, which
    # decodes them at each use; auto: kept up to 8 GiB and a quarter of the free disk
    pictures: Annotated[Keep, Neutral] = "auto"
    # training images that are generated for --data shapes
    generated: Annotated[int, within(1, 10_000_000)] = 22_400
    # height and width of the images in pixels
    side: Annotated[int, within(8, 4096)] = 64
    # tokens of a caption that are learned, with start and end; predictions may be 8
    # longer; None: 22 for shapes, else the 95th percentile of the training captions
    longest: Annotated[int | None, within(3, 65_536)] = None
    # least count of a word in the training split; rarer words become <unk>; 5 for
    # photos
    minimum: Count = 1
    # attention of the decoder; none: the image is one vector
    attention: Annotated[str, one_of(DECODERS)] = "soft"
    # attend after the previous word is read; False: before, as in the paper
    reads_first: bool = True
    # maps of past attention that the decoder remembers; 0: none, as in the paper
    places: SizeOrZero = 2
    deep: bool = True  # apply tanh before the logits; False: no tanh, as in the paper
    # network that encodes the image
    encoder: Annotated[str, one_of(ENCODERS)] = "whitened"
    # layer of an --encoder of the zoo whose output is the encoded image
    layer: str = ""
    # file of weights for an --encoder of the zoo, .safetensors or .npz; None: random
    # initialisation
    weights: Path | None = None
    # with --weights: do not train the encoder; cache its features on disk
    frozen: bool = False
    # hidden units of the decoder; word embeddings are half as wide
    features: Annotated[int, within(4, 65_536)] = 256
    # how captions are decoded for predictions
    decoding: Annotated[Decoding, Judging] = _LONG._replace(alpha=0.5)
    batch_size: Count = 32  # images in a step
    each: Copies = 3  # captions of an image in a step
    # train on the longest captions of an image; False: on any of them
    wordy: bool = True
    epochs: Annotated[int, within(1), Extendable] = 2  # passes over the training split
    reports: Count = 5  # evaluations of the validation split in a run
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data and of the captions drawn
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
        keep=config.pictures,
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
