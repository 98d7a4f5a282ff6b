"""Which losses learn eight modes, and which lose some?

    uv run experiments/studies/ring.py

Claim (Metz, Poole, Pfau & Sohl-Dickstein, "Unrolled generative adversarial networks",
2016, https://arxiv.org/abs/1611.02163, section 3.1; Mescheder et al., 2018,
https://arxiv.org/abs/1801.04406): a GAN of the plain minimax loss may run after a few
modes of a ring of Gaussians; a penalty on the discriminator's slope makes it converge
to all. Whether modes are lost without one depends on the setting: see LOG.md. Eight
Gaussians of standard deviation `deviation` stand on a
circle of radius 1. The seeds of one loss are trained as one program. A mode counts as
covered when 2 % of the samples, a sixth of its due, lie within three of its standard
deviations. Writes `runs/ring/ring.png`, and `runs/ring/ring.json` with the numbers.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxnets import files
from jaxnets.data.dataset import Split
from jaxnets.data.feeds.base import shuffled
from jaxnets.data.generated.draws import uniforms
from jaxnets.learners import schedules
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.averaged import averaged
from jaxnets.learners.population import population, seeded
from jaxnets.models.mlp import MLP
from jaxnets.plots import samples
from jaxnets.plots.parts import png
from jaxnets.ranges import Count, NonNegative, Positive, Rate, Size
from jaxnets.run import compilation, loop
from jaxnets.run.command import study
from jaxnets.tasks.adversarial import (
    GRADIENT_PENALTY,
    MINIMAX,
    NON_SATURATING,
    R1,
    WASSERSTEIN,
    Penalty,
    Stakes,
)

FOLDER = Path("runs/ring")
MODES, SAMPLES = 8, 2500


class PointBatch(NamedTuple):
    """`b` points in the plane."""

    point: Float[Array, "b 2"]
    mask: Bool[Array, " b"]


class Hyper(NamedTuple):
    """Numbers inside the mathematics."""

    # generator's learning rate at the first step; it falls linearly to 0
    learning_rate: Positive = 1e-3
    ratio: Positive = 1.0  # discriminator's learning rate divided by the generator's
    beta1: Rate = 0.0  # decay rate of Adam's first moment
    beta2: Rate = 0.9  # decay rate of Adam's second moment
    r1: NonNegative = 0.1  # weight of the R1 penalty
    gradient_penalty: NonNegative = 1.0  # weight of the gradient penalty
    # decay rate of the averaged generator, which makes the samples; 0: no average
    average_decay: Rate = 0.99


@dataclasses.dataclass(frozen=True)
class Config:
    """What is trained, and on what."""

    # standard deviation of each Gaussian; the ring has radius 1
    deviation: Positive = 0.02
    steps: Count = 4000  # updates of the generator in a run
    batch_size: Count = 256  # points in each update of either network
    width: Size = 128  # units of each hidden layer
    noise: Size = 2  # normal random numbers from which the generator makes a sample
    seeds: Count = 3  # networks of each loss, from seed 0
    hyper: Hyper = Hyper()


class Duel(NamedTuple):
    """What is compared."""

    game: Game
    discriminator_steps: int  # in each step
    slower: int = 1  # times as many steps as `Config.steps`, at a rate as much smaller


def duels(config: Config) -> dict[str, Duel]:
    """What is compared, by name: the first and the last are trained alike."""
    hidden = (config.width,) * 3
    generator, discriminator = MLP(2, hidden), MLP(1, hidden)

    def game(stakes: Stakes, penalty: Penalty | None = None) -> Game:
        return Game(
            generator, discriminator, stakes, penalty, config.noise, reads="point"
        )

    return {
        "non-saturating, R1": Duel(game(NON_SATURATING, R1), 1),
        "Wasserstein, penalty": Duel(game(WASSERSTEIN, GRADIENT_PENALTY), 5, 2),
        "minimax, no penalty": Duel(game(MINIMAX), 1),
    }


def main(config: Config) -> dict[str, np.ndarray]:
    """Returns modes covered and share of good samples, `[seeds, 2]`, of each loss."""
    compilation.use_cache()
    points = ring(50_000, config.deviation)
    found, shown = {}, {}
    for name, duel in duels(config).items():
        made = trained(config, duel, points)
        found[name] = np.array([judged(rows, config.deviation) for rows in made])
        shown |= {f"{name}\nseed {i}": rows for i, rows in enumerate(made)}
        modes, share = found[name].T
        print(
            f"{name}: modes {', '.join(f'{m:.0f}' for m in modes)}; within three "
            f"deviations {', '.join(f'{s:.1%}' for s in share)}"
        )
    title = f"{MODES} Gaussians of deviation {config.deviation:g} on a circle of 1"
    figure = samples.clouds(shown, points[:SAMPLES], title=title, columns=config.seeds)
    FOLDER.mkdir(parents=True, exist_ok=True)
    png(figure, FOLDER / "ring.png")
    table = {
        n: [dict(zip(("modes", "share"), r, strict=True)) for r in rows.tolist()]
        for n, rows in found.items()
    }
    files.write(FOLDER / "ring.json", files.dump_json(table, indent=2) + "\n")
    return found


def trained(
    config: Config, duel: Duel, points: np.ndarray
) -> Float[np.ndarray, "seeds n 2"]:
    """Samples of the averaged generators of all seeds."""
    steps, each = duel.slower * config.steps, duel.discriminator_steps
    game = adversarial(duel.game, adams(schedules.linear(steps)), each)
    many = population(averaged(game, field="generator"))
    rows = config.batch_size * each
    feed = shuffled(Split({"point": points}), PointBatch, batch_size=rows, seed=0)
    rate = config.hyper.learning_rate / duel.slower
    paced = config.hyper._replace(learning_rate=rate)
    begun = seeded(many, paced, feed(0), config.seeds)
    state = loop.trained(many, begun, feed, steps=steps, steps_per_call=100)
    some = PointBatch(jnp.zeros((SAMPLES, 2)), jnp.ones(SAMPLES, bool))
    return np.asarray(jax.jit(many.predict)(state, some, jax.random.key(0)))


def ring(count: int, deviation: float) -> Float[np.ndarray, "n 2"]:
    """Points of the data, the modes in turn; by Box and Muller's transform."""
    u, v = uniforms("ring", (count, 2)).T
    radius, angle = deviation * np.sqrt(-2 * np.log1p(-u)), 2 * np.pi * v
    noise = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return (centres()[np.arange(count) % MODES] + noise).astype(np.float32)


def centres() -> Float[np.ndarray, "modes 2"]:
    """Where the Gaussians stand."""
    angle = 2 * np.pi * np.arange(MODES) / MODES
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def judged(samples: Float[np.ndarray, "n 2"], deviation: float) -> tuple[int, float]:
    """How many modes are covered, and the share within three deviations of one."""
    apart = np.linalg.norm(samples[:, None] - centres()[None], axis=2)
    near = apart < 3 * deviation
    return int((near.mean(axis=0) >= 0.02).sum()), float(near.any(axis=1).mean())


if __name__ == "__main__":
    study(main)
