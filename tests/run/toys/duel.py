"""Two networks against each other: a learner of another shape under the same loop.

The generator turns noise into 8x8 images, the critic tells them from digits; each has
an optimizer of its own, and both live in one state.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.learners.base import Learner
from jaxnets.metrics import mean
from jaxnets.models import functional
from jaxnets.models.mlp import MLP
from jaxnets.run.command import command
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs
from jaxnets.types import Variables

GENERATOR, CRITIC = MLP(classes=64, widths=(32,)), MLP(classes=1, widths=(32,))


class Hyper(NamedTuple):
    learning_rate: float = 2e-3
    ratio: float = 1.0


@dataclasses.dataclass(frozen=True)
class Config:
    """A small duel."""

    steps: int = 60  # how many
    every: int = 20  # steps between two reports
    seed: int = 0  # of both networks and the noise
    hyper: Hyper = Hyper()


class Side(NamedTuple):
    variables: Variables
    optimizer: Any


class DuelState(NamedTuple):
    step: Any
    key: Any
    generator: Side
    critic: Side
    hyper: Hyper


def duel():
    def rules(hyper):
        rate = hyper.learning_rate
        return optax.adam(rate, b1=0.5), optax.adam(rate * hyper.ratio, b1=0.5)

    def draw(variables, key, rows):
        noise = jax.random.normal(key, (rows, 8))
        return functional.predict(GENERATOR, variables, noise)

    def init(key, hyper, batch):
        keys = jax.random.split(key, 3)
        hyper = jax.tree.map(lambda x: jnp.array(x, jnp.float32), hyper)
        rows = batch.image.reshape(batch.image.shape[0], -1)
        sides = (
            functional.init(GENERATOR, keys[0], jnp.zeros((1, 8))),
            functional.init(CRITIC, keys[1], rows),
        )
        states = (
            Side(v, r.init(v.params)) for v, r in zip(sides, rules(hyper), strict=True)
        )
        return DuelState(jnp.int32(0), keys[2], *states, hyper)

    def step(state, batch):
        noise, other = jax.random.split(jax.random.fold_in(state.key, state.step))
        real = batch.image.reshape(batch.image.shape[0], -1)
        first, second = rules(state.hyper)

        def judge(params, rows):
            return functional.predict(CRITIC, Variables(params, {}), rows)[:, 0]

        fake = draw(state.generator.variables, noise, len(real))

        def critic_loss(params):
            return mean(
                jax.nn.softplus(-judge(params, real))
                + jax.nn.softplus(judge(params, fake)),
                batch.mask,
            )

        def generator_loss(params):
            rows = draw(Variables(params, {}), other, len(real))
            critic = state.critic.variables.params
            return mean(jax.nn.softplus(-judge(critic, rows)), batch.mask)

        def moved(side, rule, loss):
            params = side.variables.params
            grads = jax.grad(lambda p: loss(p).total / loss(p).weight)(params)
            updates, optimizer = rule.update(grads, side.optimizer, params)
            variables = Variables(optax.apply_updates(params, updates), {})
            return Side(variables, optimizer)

        metrics = {
            "critic_loss": critic_loss(state.critic.variables.params),
            "generator_loss": generator_loss(state.generator.variables.params),
        }
        after = state._replace(
            step=state.step + 1,
            generator=moved(state.generator, first, generator_loss),
            critic=moved(state.critic, second, critic_loss),
        )
        return after, metrics

    def evaluate(state, batch, key):
        rows = draw(state.generator.variables, key, len(batch.mask))
        score = functional.predict(CRITIC, state.critic.variables, rows)[:, 0]
        return {"score": mean(score, batch.mask)}

    def predict(state, batch, key):
        return draw(state.generator.variables, key, len(batch.mask))

    return Learner(init, step, evaluate, predict)


def main(config, verbs=Verbs()):
    data = image_feeds(digits(), batch_size=32, seed=0)
    with Run(config, verbs) as run:
        pauses = run.train(duel(), data.train, steps=config.steps, every=config.every)
        for _ in pauses:
            run.log(validation=run.evaluate(data.validation))
        run.finish(test=run.evaluate(data.test))
    return run


if __name__ == "__main__":
    command(main, Config)
