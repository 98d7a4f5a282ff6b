"""Does cutting the gradient cut the memory? No: the carried state reaches further.

    uv run experiments/studies/truncation.py

Truncated backpropagation through time sends gradients back over S = 8 steps at most.
The claim to be tested is that a network trained so cannot use anything older. The task:
a symbol, 0 to 30 blanks, a question; answer with the symbol. Symbol and question lie up
to 31 steps apart, so that most pairs are in different chunks. Side by side, three seeds
each: the state is carried from chunk to chunk (right), or starts from zeros in each
(wrong, and what the claim would be true of). Both are tested as they were trained.

What the carried network does at a distance, it learns from nearby pairs that lie within
one chunk: to keep the symbol is the same at any distance, once it is learned.

Writes `runs/truncation/truncation.png`; takes about a minute on two CPU cores.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.feeds.base import Feed, Fetched
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.population import population
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.language import LanguageModel
from jaxnets.once import once
from jaxnets.plots.parts import png
from jaxnets.plots.runs import against
from jaxnets.ranges import Count, NonNegative, Positive, Size
from jaxnets.run import loop
from jaxnets.run.command import study
from jaxnets.tasks.language import language
from jaxnets.types import StreamBatch, Variables

PAD, BLANK, QUESTION = 0, 1, 2
SYMBOLS = 4  # numbered from 3; chance is a quarter


class Hyper(NamedTuple):
    """As in the experiments."""

    learning_rate: Positive = 1e-2  # peak learning rate of the schedule
    weight_decay: NonNegative = 0.0  # decoupled weight decay; 0: none
    clip_norm: Positive = 1.0  # largest norm of the whole gradient


@dataclasses.dataclass(frozen=True)
class Config:
    """A small study."""

    steps: Size = 8  # tokens in a chunk; gradients do not reach further back
    longest: Size = 31  # largest distance from symbol to question, in tokens
    features: Size = 32  # hidden units of the LSTM
    batch_size: Count = 32  # streams in a step, read in parallel
    updates: Count = 3000  # training steps
    seeds: Count = 3  # networks of each kind, trained side by side
    folder: Path = Path("runs/truncation")  # folder of the figure
    hyper: Hyper = Hyper()


class Recall(NamedTuple):
    """Streams `[b, t]` of symbols, blanks and questions."""

    token: np.ndarray
    target: np.ndarray  # the symbol at a question, else `<pad>`, which does not count
    distance: np.ndarray  # steps from symbol to question, at a question, else 0


def recall(rows: int, length: int, longest: int, seed: int) -> Recall:
    """Pairs one after the other, each distance in [1, longest] equally often."""
    draws = np.random.default_rng(seed)
    token = np.full((rows, length), BLANK, np.int32)
    target, distance = np.zeros_like(token), np.zeros_like(token)
    for row in range(rows):
        place = 0
        while (question := place + draws.integers(1, longest + 1)) < length:
            token[row, place] = target[row, question] = 3 + draws.integers(SYMBOLS)
            token[row, question] = QUESTION
            distance[row, question] = question - place
            place = question + 1
    return Recall(token, target, distance)


def chunks(config: Config) -> Feed:
    """A chunk an update, one after the other: nothing is seen twice."""
    size, length = config.steps, config.updates
    data = recall(config.batch_size, size * length, config.longest, seed=0)

    def fetch(step: int) -> Fetched:
        first = np.full(config.batch_size, step % length * size, np.int32)
        return Fetched(first, np.int32(step), {})

    def prepare(columns: Mapping[str, Any], fetched: Fetched) -> StreamBatch:
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, fetched.positions[0], size, 1)
        every = jnp.ones(config.batch_size, bool)
        begins = every & (fetched.step % length == 0)
        return StreamBatch(cut(columns["token"]), cut(columns["target"]), begins, every)

    columns = {"token": data.token, "target": data.target}
    rows = config.batch_size
    return Feed(rows, length, rows * length, columns, fetch, prepare, {})


def trained(config: Config, *, carried: bool) -> np.ndarray:
    """Accuracy on new streams at each distance, `[seeds, longest]`."""
    model = LanguageModel(3 + SYMBOLS, "lstm", config.features, embedding=8)
    shape = schedules.cosine(config.updates)
    rule = optimizers.composed(optimizers.adamw, shape, optimizers.Extras(clip=True))
    task = language(model, carried=carried, rates=())
    learner, feed = population(supervised(task, rule)), chunks(config)
    hyper = jax.tree.map(lambda x: jnp.full(config.seeds, x), config.hyper)
    keys = jax.random.split(jax.random.key(0), config.seeds)
    state = once(learner.init)(keys, hyper, feed(0))
    state = loop.trained(learner, state, feed, steps=config.updates)
    size = config.steps
    test = recall(64, 128 * size, config.longest, seed=1)
    pieces = test.token if carried else test.token.reshape(-1, size)

    def answers(params: Any) -> Any:
        whole = Variables(params, {})
        return functional.predict(model, whole, jnp.asarray(pieces))[0].argmax(-1)

    guess = np.asarray(jax.jit(jax.vmap(answers))(state.variables.params))
    hits = guess.reshape(config.seeds, *test.token.shape) == test.target
    each = range(1, config.longest + 1)
    return np.stack([hits[:, test.distance == d].mean(axis=1) for d in each], axis=1)


def main(config: Config) -> dict[str, float]:
    """Returns the mean accuracy beyond S steps of either way."""
    names = {"state carried, gradient cut": True, "state reset in every chunk": False}
    found = {name: trained(config, carried=way) for name, way in names.items()}
    beyond = {name: acc[:, config.steps :].mean(axis=1) for name, acc in found.items()}
    for name, each in beyond.items():
        shown = ", ".join(f"{a:.1%}" for a in each)
        print(f"{name}: recall beyond {config.steps} steps {each.mean():.1%} ({shown})")
    figure = against(
        {name: 100 * acc for name, acc in found.items()},
        range(1, config.longest + 1),
        labels=("steps from symbol to question", "recalled, %"),
        marks={f"gradients reach S = {config.steps} steps": config.steps},
        level=("chance", 100 / SYMBOLS),
        title="Truncated backpropagation: the memory is not cut with the gradient",
    )
    config.folder.mkdir(parents=True, exist_ok=True)
    png(figure, config.folder / "truncation.png")
    return {name: float(each.mean()) for name, each in beyond.items()}


if __name__ == "__main__":
    study(main)
