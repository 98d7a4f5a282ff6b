"""Train a network to turn one sequence into another, and see where it looks.

    uv run experiments/translate.py --model plain
    uv run experiments/translate.py --data pairs.tsv --features 256 --decode beam

The default turns dates as people write them into ISO 8601 (`the 4th of march, '99` to
`1999-03-04`), character by character; lines `source TAB target` go word by word.
"""

import dataclasses
from typing import Annotated, NamedTuple

import numpy as np

from jaxnets.data.feeds.pairs import PairFeeds, named_pairs, pair_feeds, shown
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.base import Learner
from jaxnets.learners.scheduled import scheduled
from jaxnets.learners.schedules import RISES
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.parts.recurrent import CELLS
from jaxnets.models.seq2seq import Attention, Seq2Seq
from jaxnets.ops.decoding import Decoding
from jaxnets.plots.attention import alignments
from jaxnets.ranges import Count, NonNegative, Positive, Rate, Seed, Share, Size, within
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, Judging, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.scores.bleu import sacrebleu
from jaxnets.sweeps.space import LogUniform, Uniform
from jaxnets.tasks.translation import translation


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 4e-3  # peak learning rate of the schedule
    weight_decay: NonNegative = 0.0  # decoupled weight decay; 0: none
    clip_norm: Positive = 1.0  # largest norm of the whole gradient
    # share of the target spread evenly over the vocabulary; 0: no label smoothing
    label_smoothing: Rate = 0.0
    # probability that a source feature or a unit before the logits is dropped; 0: no
    # dropout
    dropout: Rate = 0.0
    # final probability that a training input is the decoder's own token; 0: teacher
    # forcing
    sampling: Share = 0.0


SPACE = Hyper(LogUniform(3e-4, 3e-2), label_smoothing=Uniform(0.0, 0.2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    # data set: dates, or a .tsv file or a folder of them with lines source TAB target
    data: str = "dates"
    skip_bad: bool = False  # leave out unusable lines; a warning counts them
    # most words on either side of a pair; longer pairs are left out; None: the 95th
    # percentile of the training split
    longest: Annotated[int | None, within(1, 65_536)] = None
    # least count of a word in the training split; rarer words become <unk>
    minimum: Count = 2
    largest: Count = 10_000  # most tokens of each vocabulary, source and target
    model: Attention = "additive"  # attention of the decoder; plain: no attention
    cell: Annotated[str, one_of(CELLS)] = "gru"  # recurrent cell of encoder and decoder
    # hidden units of encoder and decoder, and width of the attention
    features: Size = 64
    embedding: Size = 32  # width of the token embeddings
    withdrawal: Annotated[str, one_of(RISES)] = "sigmoid"  # schedule of --sampling
    # how translations are decoded for predictions
    decoding: Annotated[Decoding, Judging] = Decoding()
    batch_size: Count = 128  # pairs in a step
    epochs: Annotated[int, within(1), Extendable] = 4  # passes over the training split
    reports: Count = 8  # evaluations of the validation split in a run
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the order of the data
    hyper: Hyper = Hyper()


def load(config: Config) -> PairFeeds:
    """The pairs, looked through for anything wrong, as batches of tokens."""
    pairs = named_pairs(
        config.data,
        longest=config.longest,
        minimum=config.minimum,
        largest=config.largest,
        skip_bad=config.skip_bad,
    )
    return pair_feeds(pairs, batch_size=config.batch_size, seed=config.data_seed)


def build(config: Config, data: PairFeeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    model = Seq2Seq(
        source=len(data.pairs.source),
        target=len(data.pairs.target),
        features=config.features,
        embedding=config.embedding,
        attention=config.model,
        compared=config.features,
        cell=config.cell,
    )
    rates = [r for r in functional.rates(model) if getattr(config.hyper, r, 0)]
    task = translation(model, decoding=config.decoding, rates=rates)
    steps = plan(config, data).steps
    shape = schedules.over(steps, schedules.cosine, warmup=50)
    extras = optimizers.Extras(clip=True)
    learner = supervised(task, optimizers.composed(optimizers.adamw, shape, extras))
    if "sampling" in rates:
        learner = scheduled(learner, {"sampling": RISES[config.withdrawal](steps)})
    return learner


def plan(config: Config, data: PairFeeds) -> Plan:
    """The steps of a run, and what its checkpoints hold beside the state."""
    steps = config.epochs * data.train.length
    return Plan(
        steps=steps,
        report_every=max(steps // config.reports, 1),
        metadata={
            "source": list(data.pairs.source.tokens),
            "target": list(data.pairs.target.tokens),
        },
    )


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then, and scores the test split once."""
    data = load(config)
    learner = build(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            run.log(validation=run.evaluate(data.validation))
        source, target = data.pairs.source, data.pairs.target
        made = run.predict(data.test)
        wanted = [[sentence] for sentence in data.pairs.wanted["test"]]
        bleu = sacrebleu([target.decode(row) for row in made.token], wanted)
        if config.model != "plain":
            with run.optional("the picture of the alignment"):
                some = np.unique(np.linspace(0, len(wanted) - 1, 6).astype(int))
                rows = data.pairs.dataset.test.columns["source"][some]
                read = [shown(row, source) for row in rows]
                written = [shown(row, target) for row in made.token[some]]
                weights = list(made.weights[some])
                run.figure("alignment", alignments, weights, read, written)
        scores = {"bleu": bleu, "accuracy_exact": float(made.exact.mean())}
        run.finish(test=run.evaluate(data.test), **{config.decoding.decode: scores})


if __name__ == "__main__":
    command(main, Config)
