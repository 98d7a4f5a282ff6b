"""Two networks against each other, each with an optimizer of its own, in one state.

Goodfellow et al., "Generative adversarial nets", 2014, https://arxiv.org/abs/1406.2661,
algorithm 1: some steps of the discriminator, then one of the generator. Departure: the
generator's step looks at the discriminator after its steps, but draws new noise.

Neither half of a step moves anything of the other player, its batch-norm statistics
and its spectral vectors included: `moves` gives the halves, and a test compares bits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.learners.base import InitFn, Learner
from jaxnets.learners.layerwise import gradient_norms
from jaxnets.learners.schedules import Shape, constant
from jaxnets.metrics import Metrics, mean
from jaxnets.models import functional
from jaxnets.tasks.adversarial import Penalty, Stakes
from jaxnets.tasks.hyper import Reads, check, reading
from jaxnets.types import Key, Variables

Rules = Callable[
    [Any], tuple[optax.GradientTransformation, optax.GradientTransformation]
]
Half = Callable[["AdversarialState", Any, Key], tuple["AdversarialState", Metrics]]


class AdversarialState(NamedTuple):
    """Both players, and everything else that a run needs in order to go on."""

    step: Int[Array, ""]
    key: Key  # never consumed: step t draws from fold_in(key, t)
    generator: Variables
    discriminator: Variables
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    hyper: Any  # float32 scalars, owned by this state


class Game(NamedTuple):
    """Who plays, and what for. Static: each choice is another program.

    Attributes:
        generator: From noise `[b, noise]` to rows like the data's.
        discriminator: From rows to a number each, `[b]` or `[b, 1]`.
        stakes: What they lose.
        penalty: What the discriminator pays for its slope, or None.
        noise: Normal numbers that a sample is made from.
        reads: The field of a batch that holds the data.
        told: The field that both networks are given as well, `label` say; or None.
    """

    generator: nn.Module
    discriminator: nn.Module
    stakes: Stakes
    penalty: Penalty | None = None
    noise: int = 64
    reads: str = "image"
    told: str | None = None


class Moves(NamedTuple):
    """The halves of a step: each returns a state in which one player has moved.

    Attributes:
        init: The state before the first step.
        discriminator: One step of the discriminator on a batch, with this key.
        generator: One step of the generator; of the batch only the size and what the
            networks are told matter.
    """

    init: InitFn
    discriminator: Half
    generator: Half


def adams(shape: Shape | None = None) -> Rules:
    """Adam for both, as a function of the hyperparameters.

    The rate is `hyper.learning_rate` times the shape, the discriminator's
    `hyper.ratio` times that (Heusel et al., 2017, https://arxiv.org/abs/1706.08500:
    two time scales). The decays of the moments are `hyper.beta1` and `hyper.beta2`:
    0.5 and 0.999 in DCGAN, 0 and 0.9 with the gradient penalty.

    Reads: learning_rate, ratio, beta1, beta2

    Args:
        shape: Of the rate over the steps; the same for ever by default.
    """
    shape = shape or constant()

    def rules(hyper: Any) -> Any:
        peak = hyper.learning_rate  # read here, so that a missing one is seen at once

        def one(factor: Any) -> optax.GradientTransformation:
            return optax.chain(
                optax.scale_by_adam(hyper.beta1, hyper.beta2),
                optax.scale_by_learning_rate(lambda step: peak * factor * shape(step)),
            )

        return one(1.0), one(hyper.ratio)

    return rules


def moves(game: Game, rules: Rules) -> Moves:
    """The halves of a step, for who wants to order them otherwise.

    Args:
        game: Who plays, and what for.
        rules: Builds the generator's and the discriminator's update rule from the
            hyperparameters, which may be traced.

    The returned `init` raises `HyperError` if `hyper` lacks a field that the penalty or
    the rules read.
    """

    def init(key: Key, hyper: Any, batch: Any) -> AdversarialState:
        if game.penalty is not None:
            check(hyper, Reads("the penalty", (game.penalty.weight,)))
        first, second, step_key = jax.random.split(key, 3)
        # Copies: `step` may be jitted with its state donated.
        hyper = jax.tree.map(lambda x: jnp.array(x, jnp.float32), hyper)
        with reading(hyper, "the update rules of the two networks"):
            ours, theirs = rules(hyper)
        noise = jnp.zeros((len(batch.mask), game.noise))
        told = _told(game, batch)
        generator = functional.init(game.generator, first, noise, *told)
        rows = getattr(batch, game.reads)
        discriminator = functional.init(game.discriminator, second, rows, *told)
        return AdversarialState(
            jnp.int32(0),
            step_key,
            generator,
            discriminator,
            ours.init(generator.params),
            theirs.init(discriminator.params),
            hyper,
        )

    def discriminator(
        state: AdversarialState, batch: Any, key: Key
    ) -> tuple[AdversarialState, Metrics]:
        noise, dropout, other, between = jax.random.split(key, 4)
        real, told = getattr(batch, game.reads), _told(game, batch)
        # Of the generator only the samples: what it would have kept is dropped.
        fake, _ = _samples(game, state.generator, batch, noise)
        fake = jax.lax.stop_gradient(fake)

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            player = Variables(params, state.discriminator.buffers)
            on_real, buffers = _scores(game, player, dropout, real, *told)
            player = Variables(params, buffers)
            on_fake, buffers = _scores(game, player, other, fake, *told)
            metrics = _verdicts(game, on_real, on_fake, batch.mask)
            losses = metrics["discriminator_loss"]
            value = losses.total / losses.weight
            if game.penalty is not None:
                critic = lambda x: _scores(game, player, dropout, x, *told)[0]
                paid = mean(game.penalty.rows(critic, real, fake, between), batch.mask)
                metrics["penalty"] = paid
                weight = getattr(state.hyper, game.penalty.weight)
                value = value + weight * paid.total / paid.weight
            return value, (buffers, metrics)

        player, optimizer, metrics = _moved(
            objective,
            state.discriminator,
            state.discriminator_optimizer,
            rules(state.hyper)[1],
            "discriminator_gradient_norm",
        )
        after = state._replace(discriminator=player, discriminator_optimizer=optimizer)
        return after, metrics

    def generator(
        state: AdversarialState, batch: Any, key: Key
    ) -> tuple[AdversarialState, Metrics]:
        noise, dropout = jax.random.split(key)

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            player = Variables(params, state.generator.buffers)
            fake, buffers = _samples(game, player, batch, noise)
            score, _ = _scores(
                game, state.discriminator, dropout, fake, *_told(game, batch)
            )
            losses = mean(game.stakes.sample(score), batch.mask)
            value = losses.total / losses.weight
            return value, (buffers, {"generator_loss": losses})

        player, optimizer, metrics = _moved(
            objective,
            state.generator,
            state.generator_optimizer,
            rules(state.hyper)[0],
            "generator_gradient_norm",
        )
        return state._replace(generator=player, generator_optimizer=optimizer), metrics

    return Moves(init, discriminator, generator)


def adversarial(
    game: Game,
    rules: Rules,
    discriminator_steps: int = 1,
    generator_steps: int = 1,
) -> Learner:
    """Some steps of the discriminator, then some of the generator, are one step.

    A batch is split evenly among the steps of the player that has more of them: feed it
    that many times as many rows as one of them is to see. Judge the average of the
    generator with `averaged(..., field="generator")`.

    `evaluate` compares the discriminator's verdicts on a batch with those on as many
    samples; `predict` returns samples, one a row of the batch and told what that row
    says, from noise that follows from the key alone: the same key shows the same
    noise all through a training.

    The steps are unrolled: there are few, and those of the two players differ.

    Args:
        game: Who plays, and what for.
        rules: See `moves`.
        discriminator_steps: Of the discriminator in each step; 0 to train the other
            alone, on the same state.
        generator_steps: Of the generator in each step, likewise.
    """
    halves = moves(game, rules)
    parts = max(discriminator_steps, generator_steps)

    def step(state: AdversarialState, batch: Any) -> tuple[AdversarialState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        batches = _split(batch, parts)
        metrics: Metrics = {}
        for half, count in (
            (halves.discriminator, discriminator_steps),
            (halves.generator, generator_steps),
        ):
            for index in range(count):
                key, own = jax.random.split(key)
                state, seen = half(state, batches[index], own)
                for name, value in seen.items():
                    old = metrics.get(name)
                    metrics[name] = value if old is None else old.merge(value)
        return state._replace(step=state.step + 1), metrics

    def evaluate(state: AdversarialState, batch: Any, key: Key) -> Metrics:
        told = _told(game, batch)
        real = getattr(batch, game.reads)
        fake = predict(state, batch, key)
        network, player = game.discriminator, state.discriminator
        on_real, on_fake = (
            functional.predict(network, player, rows, *told).reshape(-1)
            for rows in (real, fake)
        )
        sampled = mean(game.stakes.sample(on_fake), batch.mask)
        verdicts = _verdicts(game, on_real, on_fake, batch.mask)
        return {**verdicts, "generator_loss": sampled}

    def predict(state: AdversarialState, batch: Any, key: Key) -> Float[Array, "b ..."]:
        noise = jax.random.normal(key, (len(batch.mask), game.noise))
        told = _told(game, batch)
        return functional.predict(game.generator, state.generator, noise, *told)

    return Learner(halves.init, step, evaluate, predict)


def _moved(
    objective: Any, player: Variables, optimizer: Any, rule: Any, norm: str
) -> tuple[Variables, Any, Metrics]:
    """A player after one step down its objective."""
    graded = jax.grad(objective, has_aux=True)
    grads, (buffers, metrics) = graded(player.params)
    updates, optimizer = rule.update(grads, optimizer, player.params)
    metrics |= gradient_norms(grads, norm)
    params: Any = optax.apply_updates(player.params, updates)
    return Variables(params, buffers), optimizer, metrics


def _samples(
    game: Game, player: Variables, batch: Any, key: Key
) -> tuple[Array, PyTree]:
    """Samples as in training, and the buffers after them."""
    first, second = jax.random.split(key)
    noise = jax.random.normal(first, (len(batch.mask), game.noise))
    told = _told(game, batch)
    return functional.forward(game.generator, player, second, noise, *told)


def _scores(
    game: Game, player: Variables, key: Key, *inputs: Array
) -> tuple[Array, PyTree]:
    scores, buffers = functional.forward(game.discriminator, player, key, *inputs)
    return scores.reshape(-1), buffers


def _told(game: Game, batch: Any) -> tuple[Array, ...]:
    return () if game.told is None else (getattr(batch, game.told),)


def _verdicts(
    game: Game, on_real: Array, on_fake: Array, mask: Bool[Array, " b"]
) -> Metrics:
    """The discriminator's loss, and how often it is right."""
    stakes, middle = game.stakes, game.stakes.middle
    found = {
        "discriminator_loss": mean(stakes.real(on_real) + stakes.fake(on_fake), mask)
    }
    if middle is not None:
        right = {"real": on_real > middle, "fake": on_fake < middle}
        for name, flags in right.items():
            found[f"accuracy_{name}"] = mean(flags.astype(jnp.float32), mask)
    return found


def _split(batch: Any, parts: int) -> list[Any]:
    rows = len(batch.mask)
    if rows % parts:
        raise ValueError(
            f"a batch of {rows} does not split into {parts} steps: feed a multiple"
        )
    each = rows // parts
    return [
        jax.tree.map(lambda x, at=index * each: x[at : at + each], batch)
        for index in range(parts)
    ]
