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
    """A training algorithm: pure functions of a state that it owns.

    The state is a pytree of arrays and all that a checkpoint holds. The hyperparameters
    and the random key are part of it; step t draws from `fold_in(key, t)`. `evaluate`
    and `predict` choose the parameters to measure: the averaged ones, or the
    generator's. This learner follows the mean of its batches:

    >>> from collections import namedtuple
    >>> import jax.numpy as jnp
    >>> from jaxnets.learners.base import Learner
    >>> from jaxnets.metrics import mean
    >>> from jaxnets.testing.learners import check_learner
    >>> Batch, Hyper = namedtuple("Batch", "x mask"), namedtuple("Hyper", "rate")
    >>> State = namedtuple("State", "center rate")
    >>> def init(key, hyper, batch):
    ...     return State(jnp.zeros(()), jnp.array(hyper.rate, jnp.float32))
    >>> def evaluate(state, batch, key):
    ...     return {"loss": mean((batch.x - state.center) ** 2, batch.mask)}
    >>> def step(state, batch):
    ...     center = state.center + state.rate * jnp.mean(batch.x - state.center)
    ...     return state._replace(center=center), evaluate(state, batch, None)
    >>> predict = lambda state, batch, key: batch.x - state.center
    >>> learner = Learner(init, step, evaluate, predict)
    >>> check_learner(learner, Hyper(0.1), Batch(jnp.arange(4.0), jnp.ones(4, bool)))

    `trivial` is `Task.trivial` of the task; a run warns if a metric stays there. `init`
    raises `HyperError` if `hyper` lacks a field that is read.
    `jaxnets.testing.learners.check_learner` enforces the laws:

    - The state holds arrays only. A step keeps their shapes and dtypes, and a
      `jax.lax.scan` over `step` gives the same states as single steps.
    - `init` copies what it is given: `step` may be compiled with its state donated.
    - `step` is pure, and compiles once for all values of `hyper`.
    - Repeated steps on one batch lower the loss. All metrics are finite.
    - A member of a population trains as it does alone. `check_members` enforces this
      law for more steps.
    """

    init: InitFn
    step: StepFn
    evaluate: EvaluateFn
    predict: PredictFn
    trivial: tuple[Trivial, ...] = ()
