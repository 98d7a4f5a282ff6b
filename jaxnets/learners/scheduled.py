"""Hyperparameters other than the learning rate that follow a shape over the steps."""

from collections.abc import Mapping
from typing import Any

from jaxnets.learners.base import Learner
from jaxnets.learners.schedules import Shape
from jaxnets.metrics import Metrics
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

    def step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        hyper = state.hyper
        now = {
            name: getattr(hyper, name) * shape(state.step)
            for name, shape in shapes.items()
        }
        after, metrics = learner.step(
            state._replace(hyper=hyper._replace(**now)), batch
        )
        return after._replace(hyper=hyper), metrics

    def init(key: Key, hyper: Any, batch: Any) -> Any:
        unknown = sorted(set(shapes) - set(hyper._fields))
        if unknown:
            raise ValueError(f"{unknown} are no fields of {type(hyper).__name__}")
        return learner.init(key, hyper, batch)

    return Learner(init, step, learner.evaluate, learner.predict)
