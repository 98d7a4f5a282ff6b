"""Train a recurrent network to write, character by character.

    uv run experiments/language.py
    uv run experiments/language.py --data shakespeare.txt --cell gru --layers 2
    uv run experiments/language.py --data tiny_shakespeare --data-dir ~/tfds

Truncated backpropagation through time: the text is read in chunks of `--steps`
characters, the gradient is cut between them, and the network's state goes on. Scores of
validation and test count every character once; each row of 512 warms up on the 128 in
front of it. In the end the network goes on from `--prompt`, reading its own samples.

The default, an LSTM on the documentation of Python's standard library (1.4 million
characters to train on, no download), takes a few minutes on two CPU cores.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.streams import (
    TextFeeds,
    character_feeds,
    chosen_prompt,
    named_text,
    prompts,
)
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.base import Learner
from jaxnets.learners.optimizers import DECOUPLED, RULES
from jaxnets.learners.schedules import SHAPES
from jaxnets.learners.supervised import supervised
from jaxnets.models.language import LanguageModel
from jaxnets.models.parts.recurrent import CELLS
from jaxnets.ranges import (
    Copies,
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    PositiveShare,
    Rate,
    Seed,
    Size,
    SizeOrZero,
    within,
)
from jaxnets.run.command import command
from jaxnets.run.experiment import Plan
from jaxnets.run.session import Run
from jaxnets.run.settings import Extendable, one_of
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps.space import LogUniform
from jaxnets.tasks.language import Sampling, language, perplexity


class Hyper(NamedTuple):
    """Numbers inside the mathematics: traced, so that changing one never recompiles."""

    learning_rate: Positive = 4e-3  # peak learning rate of the schedule
    momentum: Rate = 0.9  # momentum coefficient, for --optimizer momentum and nesterov
    # weight decay; decoupled for adamw and muon, an L2 penalty for other rules; 0: none
    weight_decay: NonNegative = 0.0
    # probability that a unit is dropped, in variational dropout with one mask for each
    # chunk; 0: no dropout
    dropout: Rate = 0.0
    clip_norm: Positive = 1.0  # largest norm of the whole gradient
    # damping added to the Hessian's diagonal, for --optimizer newton
    newton_damping: NonNegative = 1.0


SPACE = Hyper(LogUniform(3e-4, 3e-2), clip_norm=LogUniform(0.1, 10))


@dataclasses.dataclass(frozen=True)
class Config:
    """Choices that change shapes or the program, and so are compiled in."""

    cell: Annotated[str, one_of(CELLS)] = "lstm"  # recurrent cell of the layers
    features: Size = 256  # hidden units of each layer
    layers: Annotated[int, within(1, 1000)] = 1  # recurrent layers on top of each other
    embedding: SizeOrZero = 64  # width of the character embeddings; 0: one-hot vectors
    # data set: corpus, a text file, a ./folder of text files, or a TFDS set
    data: str = "corpus"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    skip_bad: bool = False  # leave out unusable files; a warning counts them
    optimizer: Annotated[str, one_of(RULES)] = "adamw"  # update rule of the parameters
    schedule: Annotated[str, one_of(SHAPES)] = "cosine"  # schedule of the learning rate
    # updates over which the learning rate rises linearly to its peak; 0: no warm-up
    warmup: CountOrZero = 50
    steps: Size = 64  # characters in a chunk; gradients do not reach further back
    batch_size: Count = 32  # streams of text in a step, read in parallel
    epochs: Annotated[int, within(1), Extendable] = 3  # passes over the training split
    reports: Count = 10  # evaluations of the validation split in a run
    # text that the samples continue; None: "The ", or the beginning of the training
    # text if that lacks these characters
    prompt: str | None = None
    samples: Copies = 4  # number of texts that are sampled after training
    length: Size = 300  # characters of each sample
    # sampling: divisor of the logits; near 0: nearly greedy
    temperature: Positive = 0.7
    # sampling: probability mass of the most probable tokens that are drawn from; 1: all
    top_p: PositiveShare = 0.95
    seed: Seed = 0  # seed of initialisation and noise
    data_seed: Seed = 0  # seed of the positions in the text where the streams begin
    hyper: Hyper = Hyper()


def load(config: Config) -> TextFeeds:
    """The text as streams of characters; the vocabulary is that of training."""
    data = character_feeds(
        named_text(config.data, data_dir=config.data_dir, skip_bad=config.skip_bad),
        batch_size=config.batch_size,
        steps=config.steps,
        seed=config.data_seed,
    )
    if config.prompt is not None:
        _beginning(config, data)  # refuse a wrong one before the training
    return data


def _beginning(config: Config, data: TextFeeds) -> tuple[str, Feed]:
    """What the samples continue: as text, and as the batch to predict from."""
    prompt = chosen_prompt(data, config.prompt)
    return prompt, prompts(data.vocabulary, prompt, rows=config.samples)


def build(config: Config, data: TextFeeds) -> Learner:
    """The whole experiment as a learner; sweeps start from here too."""
    steps = plan(config, data).steps
    shape = schedules.over(steps, SHAPES[config.schedule], warmup=config.warmup)
    extras = optimizers.Extras(l2=config.optimizer not in DECOUPLED, clip=True)
    optimizer = optimizers.composed(RULES[config.optimizer], shape, extras)
    model = LanguageModel(
        len(data.vocabulary),
        cell=config.cell,
        features=config.features,
        layers=config.layers,
        embedding=config.embedding,
    )
    sampling = Sampling(config.length, config.temperature, config.top_p)
    rates = ("dropout",) if config.hyper.dropout else ()
    task = language(model, sampling=sampling, unit="character", rates=rates)
    return supervised(task, optimizer)


def plan(config: Config, data: TextFeeds) -> Plan:
    """The steps of a run, and what its checkpoints hold beside the state."""
    steps = config.epochs * data.train.length
    return Plan(
        steps=steps,
        report_every=max(steps // config.reports, 1),
        metadata={"vocabulary": data.vocabulary.tokens},
    )


def main(config: Config, verbs: Verbs = Verbs()) -> None:
    """Trains, scoring validation now and then; writes; scores the test text once."""
    data = load(config)
    learner = build(config, data)
    prompt, begun = _beginning(config, data)
    with Run(config, verbs) as run:
        for _ in run.train(learner, data.train, plan(config, data)):
            score = run.evaluate(data.validation)
            run.log(validation={**score, "perplexity": perplexity(score)})
        with run.optional("the samples"):
            written = map(data.vocabulary.decode, run.predict(begun))
            run.text("samples", "\n\n---\n\n".join(prompt + w for w in written))
        score = run.evaluate(data.test)
        run.finish(test={**score, "perplexity": perplexity(score)})


if __name__ == "__main__":
    command(main, Config)
