"""A learning algorithm is four pure functions over a state it owns."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import PyTree

from jaxnets.metrics import Metrics
from jaxnets.tasks.base import Trivial
from jaxnets.types import Key


@runtime_checkable
class InitFn(Protocol):
    """Type of `init`."""

    def __call__(self, key: Key, hyper: Any, batch: Any) -> Any:
        """The state before the first step; owns copies of all it was given."""
        ...


@runtime_checkable
class StepFn(Protocol):
    """Type of `step`."""

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Metrics]:
        """The state after one batch, and that batch's metrics: a `lax.scan` body."""
        ...


@runtime_checkable
class EvaluateFn(Protocol):
    """Type of `evaluate`."""

    def __call__(self, state: Any, batch: Any, key: Key) -> Metrics:
        """The metrics of one batch, leaving the state alone."""
        ...


@runtime_checkable
class PredictFn(Protocol):
    """Type of `predict`."""

    def __call__(self, state: Any, batch: Any, key: Key) -> PyTree:
        """What the host scores or shows, one row an example on every leaf."""
        ...


class Learner(NamedTuple):
    """How a state improves. The state is a pytree of arrays and nothing else.

    `evaluate` and `predict` know which parameters are to be judged: the average, the
    generator, whichever the algorithm stands for.
    """

    init: InitFn
    step: StepFn
    evaluate: EvaluateFn
    predict: PredictFn
    trivial: tuple[Trivial, ...] = ()  # of the task
