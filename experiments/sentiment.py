"""Train a network to tell what a text thinks of something: with and without word order.

    uv run experiments/sentiment.py --model bag
    uv run experiments/sentiment.py --data ./sst2 --minimum 2 --model gru

Models: `bag` counts words, `average` averages learned embeddings, the others read words
in order. `studies/sentiment_models.py` trains all of them.

The default data, generated reviews of a sentence each, have verdicts that depend on the
order of the words (see `jaxnets.data.generated.reviews`): no count of words reaches two
thirds. The picture shows how much surer of its verdict the network is because of each
word.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.texts import (
    LabelledTextFeeds,
    effects,
    labelled_text_feeds,
    labelled_texts,
    without_each_word,
)
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.base import Learner
from jaxnets.learners.optimizers import DECOUPLED, RULES
from jaxnets.learners.schedules import SHAPES
from jaxnets.learners.supervised import supervised
from jaxnets.models.reader import READERS
from jaxnets.plots.attention import coloured_words
from jaxnets.ranges import (
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    Rate,
    Seed,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.classification import classification


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 1e-3  # peak learning rate of the schedule
    momentum: Rate = 0.9  # momentum coefficient, for --optimizer momentum and nesterov
    # weight decay; decoupled for adamw and muon, an L2 penalty for other rules; 0: none
    weight_decay: NonNegative = 1e-3
    # share of the target spread evenly over all classes; 0: no label smoothing
    label_smoothing: Rate = 0.0
    # probability that a feature is dropped, with one mask for each text in recurrent
    # networks; 0: no dropout
    dropout: Rate = 0.1
    clip_norm: Positive = 1.0  # largest norm of the whole gradient
    # damping added to the Hessian's diagonal, for --optimizer newton
    newton_damping: NonNegative = 1.0


SPACE = Hyper(LogUniform(3e-4, 3e-2), weight_decay=LogUniform(1e-4, 0.1))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    model: Annotated[str, one_of(READERS)] = "lstm"  # network that reads the text
    # data set: reviews, a .tsv or .csv file, a folder of these, or a TFDS set
    data: str = "reviews"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    skip_bad: bool = False  # leave out unusable lines; a warning counts them
    # least count of a word in the training split; rarer words become <unk>
    minimum: Count = 1
    # most words of a text; longer texts are cut; None: the 95th percentile of the
    # training split, but 64 or more
    words: Annotated[int | None, within(1, 65_536)] = None
    optimizer: Annotated[str, one_of(RULES)] = "adamw"  # update rule of the parameters
    schedule: Annotated[str, one_of(SHAPES)] = "cosine"  # schedule of the learning rate
    # updates over which the learning rate rises linearly to its peak; 0: no warm-up
    warmup: CountOrZero = 50
    batch_size: Count = 64  # texts in a step
    epochs: Annotated[int, within(1), Extendable] = 20  # passes over the training split
    reports: Count = 10  # evaluations of the validation split in a run
    # test texts in the figure of what each word adds
    shown: Annotated[int, within(1, 100)] = 12
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data
    hyper: Hyper = Hyper()


def load(config: Config) -> LabelledTextFeeds:
    """The texts as integers; the vocabulary is that of training."""
    return labelled_text_feeds(
        labelled_texts(config.data, data_dir=config.data_dir, skip_bad=config.skip_bad),
        batch_size=config.batch_size,
        seed=config.data_seed,
        minimum=config.minimum,
        length=config.words,
    )


def build(config: Config, data: LabelledTextFeeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    steps = plan(config, data).steps
    shape = schedules.over(steps, SHAPES[config.schedule], warmup=config.warmup)
    extras = optimizers.Extras(l2=config.optimizer not in DECOUPLED, clip=True)
    optimizer = optimizers.composed(RULES[config.optimizer], shape, extras)
    model = READERS[config.model](len(data.vocabulary), len(data.dataset.classes))
    rates = ("dropout",) if config.hyper.dropout else ()
    task = classification(model, rates=rates, top=1, reads="token")
    return supervised(task, optimizer)


def plan(config: Config, data: LabelledTextFeeds) -> Plan:
    """The steps of a run, and what its checkpoints hold beside the state."""
    steps = config.epochs * data.train.length
    return Plan(
        steps=steps,
        report_every=max(steps // config.reports, 1),
        metadata={"words": data.vocabulary.tokens},
    )


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    data = load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            run.log(validation=run.evaluate(data.validation))
        with run.optional("the picture of words"):
            classes = data.dataset.classes
            token, left = without_each_word(data.test, config.shown)
            logits = run.predict(left).reshape(len(token), -1, len(classes))
            added, verdicts = effects(logits)
            texts = [[data.vocabulary.tokens[i] for i in row if i] for row in token]
            values = [row[: len(text)] for row, text in zip(added, texts, strict=True)]
            title = "How much each word adds to the probability of the verdict (blue)"
            named = [classes[i] for i in verdicts]
            run.figure("words", coloured_words, texts, values, named, title=title)
        run.finish(test=run.evaluate(data.test))


if __name__ == "__main__":
    command(main, Config)
