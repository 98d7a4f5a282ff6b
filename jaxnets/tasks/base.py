"""What it means to be good at something: four pure functions of variables."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import PyTree

from jaxnets.metrics import Metrics
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


class Task(NamedTuple):
    """A model, what it is asked to minimise, and how it is judged."""

    init: InitFn
    loss: LossFn
    evaluate: EvaluateFn
    predict: PredictFn
