"""What it means to be good at something: four pure functions of variables."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import PyTree

from jaxnets.metrics import Metrics
from jaxnets.tasks.hyper import Reads
from jaxnets.types import Key, Scalar, Variables


@runtime_checkable
class InitFn(Protocol):
    """Type of `init`."""

    def __call__(self, key: Key, batch: Any) -> Variables:
        """Draws variables for batches shaped like `batch`."""
        ...


@runtime_checkable
class LossFn(Protocol):
    """Type of `loss`."""

    def __call__(
        self, variables: Variables, batch: Any, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        """The scalar to minimise, then the updated buffers and this batch's metrics."""
        ...


@runtime_checkable
class EvaluateFn(Protocol):
    """Type of `evaluate`."""

    def __call__(self, variables: Variables, batch: Any, key: Key) -> Metrics:
        """What adds up over batches; `key` is for bounds that must sample."""
        ...


@runtime_checkable
class PredictFn(Protocol):
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
    """A model, what it is asked to minimise, and how it is judged."""

    init: InitFn
    loss: LossFn
    evaluate: EvaluateFn
    predict: PredictFn
    trivial: tuple[Trivial, ...] = ()  # what metrics show where nothing is learned
    reads: Reads = Reads()  # fields of `hyper` that the loss reads
