"""Which layers a gradient comes from: its norm by layer, for a look at a bad run."""

import contextlib
import contextvars
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from jaxnets.learners.base import Learner
from jaxnets.metrics import Mean, Metrics

_BY_LAYER: contextvars.ContextVar[bool] = contextvars.ContextVar("by layer")


def layerwise(learner: Learner) -> Learner:
    """Trains as `learner` does; steps also report the gradient norm of each layer.

    The metric `gradient_norm/encoder/conv0` is the 2-norm over the parameters of the
    layer `encoder/conv0`. Learners that name their norms by `gradient_norms` report
    them, however deep inside of others they are; the rest reports what it did before.

    Args:
        learner: Any; the state, and so a checkpoint, is the same with and without.
    """

    def step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        with _reporting():  # read while the step is traced: it costs no other program
            return learner.step(state, batch)

    return learner._replace(step=step)


def gradient_norms(grads: PyTree, name: str = "gradient_norm") -> Metrics:
    """The 2-norm of a gradient, as a metric; inside of `layerwise`, of each layer too.

    Args:
        grads: By parameter, as nested dictionaries: the last name is the parameter's,
            those before it are the layer's.
        name: Of the metric over all parameters.
    """
    found = {name: Mean(optax.tree.norm(grads), jnp.int32(1))}
    if _BY_LAYER.get(False):
        layers: dict[str, list[Array]] = defaultdict(list)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
            words = [str(getattr(part, "key", part)) for part in path]
            layers["/".join(words[:-1] or words)].append(leaf)
        for layer, leaves in layers.items():
            norm = Mean(optax.tree.norm(leaves), jnp.int32(1))
            found[f"{name}/{layer}"] = norm
    return found


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    token = _BY_LAYER.set(True)
    try:
        yield
    finally:
        _BY_LAYER.reset(token)
