"""Judge the running average of the variables instead of the last ones.

Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J.
Control Optim. 30(4), 1992, https://doi.org/10.1137/0330046, with exponential weights as
in Tarvainen & Valpola, "Mean teachers", 2017, https://arxiv.org/abs/1703.01780,
section 2. Departure: the weights are normalised, as Adam normalises its moments
(Kingma & Ba, 2014, https://arxiv.org/abs/1412.6980, section 3), so that the initial
variables never count: after t updates iterate s weighs d^(t-s) (1 - d) / (1 - d^t).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxnets.learners.base import Learner
from jaxnets.metrics import Metrics
from jaxnets.tasks.hyper import Reads, check
from jaxnets.types import Key


class AveragedState(NamedTuple):
    """A learner's own state, and the average of one of its fields."""

    inner: Any
    average: PyTree
    steps: Int[Array, ""]  # updates that are in the average
    decay: Float[Array, ""]


def averaged(
    learner: Learner, *, field: str = "variables", decay: str = "average_decay"
) -> Learner:
    """Trains as `learner` does; evaluates and predicts with averaged variables.

    Buffers (batch-norm statistics) are averaged with the same weights: they belong to
    the parameters they were measured with. Integers are not averaged, the last one
    counts. If gradients are accumulated (`Extras.accumulate`), the average counts
    updates, and the steps in between leave it as it is. `init` raises `HyperError` if
    `hyper` lacks the field `decay`.

    Args:
        learner: Its state is a `NamedTuple` with the field below.
        field: What is averaged.
        decay: Name of the hyperparameter, in [0, 1): the share of the average that one
            step keeps. 0 judges the last variables; 0.99 looks back about 100 steps.
    """

    def init(key: Key, hyper: Any, batch: Any) -> AveragedState:
        check(hyper, Reads("averaged", (decay,)))
        inner = learner.init(key, hyper, batch)
        # A copy: the state is donated as a whole, and a buffer only once.
        average = jax.tree.map(jnp.copy, getattr(inner, field))
        keep = jnp.array(getattr(hyper, decay), jnp.float32)
        return AveragedState(inner, average, jnp.int32(0), keep)

    def step(state: AveragedState, batch: Any) -> tuple[AveragedState, Metrics]:
        inner, metrics = learner.step(state.inner, batch)
        accumulated = _accumulated(inner)
        steps = state.steps + 1
        if accumulated is not None:
            steps = jnp.asarray(accumulated.gradient_step)
        weight = (1 - state.decay) / (1 - state.decay**steps)
        if accumulated is not None:
            weight = jnp.where(accumulated.mini_step == 0, weight, 0.0)

        def moved(old: Array, new: Array) -> Array:
            if not jnp.issubdtype(old.dtype, jnp.inexact):
                return new
            # At weight 1 the average is the new value to the bit.
            return old * (1 - weight).astype(old.dtype) + new * weight.astype(old.dtype)

        average = jax.tree.map(moved, state.average, getattr(inner, field))
        return AveragedState(inner, average, steps, state.decay), metrics

    def judged(state: AveragedState) -> Any:
        return state.inner._replace(**{field: state.average})

    def evaluate(state: AveragedState, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(judged(state), batch, key)

    def predict(state: AveragedState, batch: Any, key: Key) -> PyTree:
        return learner.predict(judged(state), batch, key)

    return Learner(init, step, evaluate, predict, learner.trivial)


def _accumulated(state: Any) -> optax.MultiStepsState | None:
    """The part of a state that counts updates of accumulated gradients, if any."""
    counts = lambda node: isinstance(node, optax.MultiStepsState)
    found = [node for node in jax.tree.leaves(state, is_leaf=counts) if counts(node)]
    return found[0] if found else None
