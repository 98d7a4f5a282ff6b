"""How good should the discriminator be before the generator moves?

    uv run experiments/studies/discriminator_steps.py

Three questions about the two players, on 8x8 digits, a few seeds of each trained as one
program:

- `steps`: more or fewer steps of the discriminator for one of the generator. Goodfellow
  et al., 2014, https://arxiv.org/abs/1406.2661, section 3: the two "must be
  synchronized well". The generator takes the same number of steps in all.
- `alone`: a discriminator that is trained alone first is sure of everything. Under the
  minimax loss the generator then has nothing to learn from (section 3 there; Arjovsky &
  Bottou, 2017, https://arxiv.org/abs/1701.04862, theorem 2.4); under the non-saturating
  loss its gradient grows instead.
- `half`: the notes say that a discriminator which is right half of the time means that
  the generator is done. So it is for the best possible discriminator. Here the
  generator trains on alone until a discriminator that no longer learns is right half of
  the time: the samples get worse, and the same discriminator, trained again for a
  moment, tells them from digits.

The distance is Frechet's, on the features of our own classifier of digits, between as
many samples as there are training images and these. Writes a picture and the numbers of
each to `runs/discriminator_steps`.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import files
from jaxnets.analysis.distances import frechet_distance
from jaxnets.data.dataset import Split
from jaxnets.data.feeds.base import Feed, ordered, shuffled
from jaxnets.data.generated.digits import digits
from jaxnets.evaluation.evaluator import Judge, JudgeRecipe, judge
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.base import Learner
from jaxnets.learners.population import population, seeded
from jaxnets.models.mlp import MLP
from jaxnets.plots.parts import png
from jaxnets.plots.runs import against, comparison
from jaxnets.ranges import Count, Positive, Rate, Size
from jaxnets.run import compilation, loop
from jaxnets.run.command import study
from jaxnets.tasks.adversarial import MINIMAX, NON_SATURATING, Stakes
from jaxnets.types import ImageBatch

FOLDER = Path("runs/discriminator_steps")
RATIOS = {"1 : 5": (1, 5), "1 : 1": (1, 1), "2 : 1": (2, 1), "5 : 1": (5, 1)}


class Hyper(NamedTuple):
    """Numbers inside the mathematics."""

    learning_rate: Positive = 5e-4  # generator's learning rate
    ratio: Positive = 1.0  # discriminator's learning rate divided by the generator's
    beta1: Rate = 0.5  # decay rate of Adam's first moment
    beta2: Rate = 0.999  # decay rate of Adam's second moment


@dataclasses.dataclass(frozen=True)
class Config:
    """Small players."""

    steps: Count = 4000  # updates of the generator in a run
    # updates of a player that trains alone, in the questions `alone` and `half`
    alone: Count = 500
    batch_size: Count = 64  # images in each update of either network
    width: Size = 128  # units of each hidden layer
    noise: Size = 32  # normal random numbers from which the generator makes a sample
    # pairs of generator and discriminator that are trained, from seed 0
    seeds: Count = 3
    judge_steps: Count = 600  # training steps of the evaluator
    hyper: Hyper = Hyper()


class Bench(NamedTuple):
    """What every question needs."""

    config: Config
    train: Split
    look: Judge
    real: np.ndarray  # features of the training images


def main(config: Config) -> dict[str, Any]:
    """Answers the three questions, says and draws the answers; returns the numbers."""
    compilation.use_cache()
    data = digits()
    look = judge(data, JudgeRecipe(steps=config.judge_steps), say=print)
    images = np.asarray(data.train.columns["image"][:])
    rows = (images.reshape(len(images), -1) / 127.5 - 1).astype(np.float32)
    train = Split({"image": rows, "label": data.train.columns["label"]})
    bench = Bench(config, train, look, look(images).features)
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {"steps": _steps(bench), "alone": _alone(bench), "half": _half(bench)}
    files.write(FOLDER / "found.json", files.dump_json(found, indent=2) + "\n")
    return found


def _steps(bench: Bench) -> dict[str, list[float]]:
    """The distance at the end, a number a seed, by steps of either player."""
    found = {}
    for name, (first, second) in RATIOS.items():
        players = _players(bench, NON_SATURATING, first, second)
        state = _begun(bench, players)
        count = bench.config.steps // second
        state = _trained(bench, players, state, count, rows=max(first, second))
        found[name] = _distances(bench, players, state)
        print(f"steps {name}: distance {_shown(found[name])}")
    figure = comparison(
        found,
        label="Frechet distance",
        title="Steps of the discriminator : of the generator",
    )
    png(figure, FOLDER / "steps.png")
    return found


def _alone(bench: Bench) -> dict[str, list[list[float]]]:
    """The norm of the generator's gradient while only the discriminator learns."""
    marks = np.linspace(0, bench.config.alone, 11).astype(int).tolist()
    found = {}
    for name, stakes in (("minimax", MINIMAX), ("non-saturating", NON_SATURATING)):
        critic = _players(bench, stakes, 1, 0)
        maker = _players(bench, stakes, 0, 1)
        state, look = _begun(bench, critic), jax.jit(maker.step)
        norms = []
        for before, mark in zip((0, *marks), marks, strict=False):
            if mark > before:
                state = _trained(bench, critic, state, mark, start=before)
            _, metrics = look(state, _feed(bench, 1)(0))
            norms.append(metrics["generator_gradient_norm"].compute())
        found[name] = np.transpose(norms).tolist()
        first, last = np.mean(found[name], axis=0)[[0, -1]]
        print(
            f"alone, {name}: the generator's gradient from {first:.3g} to {last:.3g} "
            f"after {bench.config.alone} steps of the discriminator alone"
        )
    figure = against(
        {name: np.log10(np.asarray(rows)) for name, rows in found.items()},
        marks,
        labels=("steps of the discriminator alone", "log10 of the gradient's norm"),
        title="What the generator is told by a discriminator trained first",
    )
    png(figure, FOLDER / "alone.png")
    return found


def _half(bench: Bench) -> dict[str, list[list[float]]]:
    """Accuracy and distance: after training, after the generator's own, after both."""
    config = bench.config
    both, maker, critic = (
        _players(bench, NON_SATURATING, *steps) for steps in ((1, 1), (0, 1), (1, 0))
    )
    state = _trained(bench, both, _begun(bench, both), config.steps)
    stages = {"after training": state}
    state = _trained(bench, maker, _copy(state), config.alone)
    stages["generator alone"] = state
    state = _trained(bench, critic, _copy(state), config.alone)
    stages["then the discriminator"] = state
    accuracy, distance = {}, {}
    for name, reached in stages.items():
        accuracy[name] = _accuracy(bench, both, reached)
        distance[name] = _distances(bench, both, reached)
        print(
            f"half, {name}: discriminator right {_shown(accuracy[name])} %, distance "
            f"{_shown(distance[name])}"
        )
    title = f"{config.alone} steps of one player alone"
    for name, values, label in (
        ("half_accuracy", accuracy, "right on digits and samples, %"),
        ("half_distance", distance, "Frechet distance"),
    ):
        figure = comparison(values, label=label, title=title)
        png(figure, FOLDER / f"{name}.png")
    return {name: [accuracy[name], distance[name]] for name in stages}


def _players(bench: Bench, stakes: Stakes, first: int, second: int) -> Learner:
    config = bench.config
    hidden = (config.width,) * 2
    game = Game(MLP(64, hidden), MLP(1, hidden), stakes, noise=config.noise)
    return population(adversarial(game, adams(), first, second))


def _feed(bench: Bench, rows: int) -> Feed:
    size = rows * bench.config.batch_size
    return shuffled(bench.train, ImageBatch, batch_size=size, seed=0)


def _begun(bench: Bench, players: Learner) -> Any:
    config = bench.config
    return seeded(players, config.hyper, _feed(bench, 1)(0), config.seeds)


def _trained(
    bench: Bench,
    players: Learner,
    state: Any,
    steps: int,
    *,
    start: int = 0,
    rows: int = 1,
) -> Any:
    return loop.trained(
        players,
        state,
        _feed(bench, rows),
        steps=steps,
        start=start,
        steps_per_call=min(50, steps),
    )


def _copy(state: Any) -> Any:
    return jax.tree.map(jnp.copy, state)  # a step donates what it is given


def _distances(bench: Bench, players: Learner, state: Any) -> list[float]:
    count = len(bench.train)
    batch = ordered(bench.train, ImageBatch, batch_size=count)(0)
    made = np.asarray(jax.jit(players.predict)(state, batch, jax.random.key(0)))
    images = np.clip((made.reshape(-1, count, 8, 8, 1) + 1) / 2, 0, 1)
    return [frechet_distance(bench.real, bench.look(i).features) for i in images]


def _accuracy(bench: Bench, players: Learner, state: Any) -> list[float]:
    batch = ordered(bench.train, ImageBatch, batch_size=len(bench.train))(0)
    found = jax.jit(players.evaluate)(state, batch, jax.random.key(0))
    parts = [found[f"accuracy_{side}"].compute() for side in ("real", "fake")]
    return (100 * np.mean(parts, axis=0)).tolist()


def _shown(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


if __name__ == "__main__":
    study(main)
