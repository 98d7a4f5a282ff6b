"""Hyperparameters other than the learning rate that follow a shape over the steps."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxnets.learners.base import Learner
from jaxnets.learners.schedules import Shape
from jaxnets.metrics import Metrics
from jaxnets.tasks.hyper import Reads, check
from jaxnets.types import Key


def scheduled(learner: Learner, shapes: Mapping[str, Shape]) -> Learner:
    """Trains as `learner` does, with some fields of `hyper` multiplied by shapes.

    In step t the field `name` is worth its own value times `shapes[name](t)`. What the
    state keeps is the peak, which a sweep may change without a new compilation. The
    teacher of a decoder is withdrawn so: `scheduled(learner, {"sampling":
    schedules.inverse_sigmoid(1000)})`.

    Args:
        learner: Its state is a `NamedTuple` with `step` and `hyper`, as that of
            `supervised`.
        shapes: Names of fields of `hyper` to functions of the step.
    """

    def now(state: Any) -> dict[str, Any]:
        shaped = {name: shape(state.step) for name, shape in shapes.items()}
        return {name: getattr(state.hyper, name) * f for name, f in shaped.items()}

    return _following(learner, Reads("scheduled", tuple(shapes)), now)


def warming(learner: Learner, lengths: Mapping[str, str]) -> Learner:
    """Trains as `learner` does, with some fields of `hyper` growing from zero.

    In step t the field `name` is worth min(1, t / n) of its own value, where n is the
    field that `lengths` names: a number of steps, traced, so that a sweep may change
    it. 0 leaves the other as it is. The divergence of an autoencoder is warmed up so
    (Bowman et al., "Generating sentences from a continuous space", 2015,
    https://arxiv.org/abs/1511.06349, section 3.1; Soenderby et al., "Ladder variational
    autoencoders", 2016, https://arxiv.org/abs/1602.02282, section 2.3).

    Args:
        learner: Its state is a `NamedTuple` with `step` and `hyper`.
        lengths: From fields of `hyper` to those that say over how many steps.
    """

    def now(state: Any) -> dict[str, Any]:
        hyper, found = state.hyper, {}
        for name, length in lengths.items():
            steps = getattr(hyper, length)
            share = state.step / jnp.maximum(steps, 1)
            factor = jnp.where(steps > 0, jnp.minimum(share, 1.0), 1.0)
            found[name] = getattr(hyper, name) * factor
        return found

    reads = Reads("warming", (*lengths, *lengths.values()))
    return _following(learner, reads, now)


def _following(
    learner: Learner, reads: Reads, now: Callable[[Any], dict[str, Any]]
) -> Learner:
    """A learner whose steps see other values of some fields than the state keeps."""

    def step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        hyper = state.hyper
        after, metrics = learner.step(
            state._replace(hyper=hyper._replace(**now(state))), batch
        )
        return after._replace(hyper=hyper), metrics

    def init(key: Key, hyper: Any, batch: Any) -> Any:
        check(hyper, reads)
        return learner.init(key, hyper, batch)

    return learner._replace(init=init, step=step)
