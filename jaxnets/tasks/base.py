"""A task: what is minimised and what is measured, as pure functions of variables."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import PyTree

from jaxnets.metrics import Metrics
from jaxnets.tasks.hyper import Reads
from jaxnets.types import Key, Scalar, Variables


@runtime_checkable
class TaskInitFn(Protocol):
    """Type of `init`."""

    def __call__(self, key: Key, batch: Any) -> Variables:
        """Draws variables for batches shaped like `batch`."""
        ...


@runtime_checkable
class TaskLossFn(Protocol):
    """Type of `loss`."""

    def __call__(
        self, variables: Variables, batch: Any, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        """The scalar to minimise, then the updated buffers and this batch's metrics."""
        ...


@runtime_checkable
class TaskEvaluateFn(Protocol):
    """Type of `evaluate`."""

    def __call__(self, variables: Variables, batch: Any, key: Key) -> Metrics:
        """What adds up over batches; `key` is for bounds that must sample."""
        ...


@runtime_checkable
class TaskPredictFn(Protocol):
    """Type of `predict`."""

    def __call__(self, variables: Variables, batch: Any, key: Key) -> PyTree:
        """What the host scores or shows: one row an example on every leaf."""
        ...


class Trivial(NamedTuple):
    """Values of a training metric that a model reaches without learning anything.

    A run in which the metric stays between them warns of it (`jaxnets.run.watch`).

    Attributes:
        metric: Its name among the metrics of `Task.loss`.
        low: The smallest such value.
        high: The largest.
        meaning: What such values mean, as a clause.
    """

    metric: str
    low: float
    high: float
    meaning: str


def uniform(
    metric: str, outcomes: int | None, *, factor: float = 1.0
) -> tuple[Trivial, ...]:
    """Values within 2 % of a cross-entropy's for equal probabilities, `ln outcomes`.

    Targets that are smoothed, or distributions, cost as much: every log-probability is
    the same.

    Args:
        metric: Name of the cross-entropy, in nats.
        outcomes: Classes, or tokens of a vocabulary. None, where a model does not say
            how many, and 1 give no such values.
        factor: How many such cross-entropies are added up in the metric.
    """
    if not isinstance(outcomes, int) or outcomes < 2:
        return ()
    value = factor * math.log(outcomes)
    times = "" if factor == 1 else f"{factor:g} "
    meaning = (
        f"equal probabilities cost {times}ln {outcomes} = {value:.4g}, so the network "
        "has learned nothing"
    )
    return (Trivial(metric, 0.98 * value, 1.02 * value, meaning),)


class Task(NamedTuple):
    """What is minimised and what is measured: pure functions of `Variables`.

    A task names a model and a loss; a `Learner` says how the loss falls. A batch is a
    `NamedTuple` of arrays with one leading axis and a `mask`; False marks padding. This
    task fits one number to the rows of a batch:

    >>> from collections import namedtuple
    >>> import jax.numpy as jnp
    >>> from jaxnets.metrics import mean
    >>> from jaxnets.tasks.base import Task
    >>> from jaxnets.tasks.hyper import Reads
    >>> from jaxnets.testing.tasks import check_task
    >>> from jaxnets.types import Variables
    >>> Batch, Hyper = namedtuple("Batch", "x mask"), namedtuple("Hyper", "scale")
    >>> def evaluate(variables, batch, key, scale=1.0):
    ...     return {"loss": mean(scale * (batch.x - variables.params) ** 2, batch.mask)}
    >>> def loss(variables, batch, key, hyper):
    ...     metrics = evaluate(variables, batch, key, hyper.scale)
    ...     value = metrics["loss"].total / metrics["loss"].weight
    ...     return value, (variables.buffers, metrics)
    >>> init = lambda key, batch: Variables(jnp.zeros(()), {})
    >>> predict = lambda variables, batch, key: batch.x - variables.params
    >>> task = Task(init, loss, evaluate, predict, reads=Reads("fit", ("scale",)))
    >>> check_task(task, Hyper(0.5), Batch(jnp.arange(4.0), jnp.ones(4, bool)))

    `trivial` holds the values that a metric of `loss` has as long as nothing is
    learned; a run warns if a metric stays there. `reads` names the fields of `hyper`
    that `loss` reads; the `init` of a learner checks them. `check_task` of
    `jaxnets.testing.tasks` enforces the laws:

    - `loss` is a finite scalar, with a finite gradient for every parameter. The metric
      `loss` is the same number. The buffers keep their shapes and dtypes.
    - `loss` reads no field of `hyper` that `reads` leaves out.
    - `trivial` names only metrics of `loss`.
    - `evaluate` is pure: equal arguments give equal metrics. Its metrics are `Mean`s
      that add up: the parts of a batch merge to the whole. Padding counts nowhere.
    - `predict` returns one row for each row of the batch.
    """

    init: TaskInitFn
    loss: TaskLossFn
    evaluate: TaskEvaluateFn
    predict: TaskPredictFn
    trivial: tuple[Trivial, ...] = ()
    reads: Reads = Reads()
