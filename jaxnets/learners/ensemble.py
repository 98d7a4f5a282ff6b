"""Several networks that differ in their first weights and their noise, judged as one.

Hansen & Salamon, "Neural network ensembles", IEEE PAMI 12(10), 1990,
https://doi.org/10.1109/34.58871: the errors of networks that were begun differently are
not the same, and averaging takes out what they do not share. Krizhevsky et al., 2012,
table 2: seven networks took AlexNet's top-5 error from 18.2 to 15.4 %.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.metrics import Mean, Metrics
from jaxnets.ops.norm import widen
from jaxnets.types import Key


def ensemble(
    learner: Learner,
    members: int,
    *,
    combine: Callable[[PyTree], PyTree],
    score: Callable[[PyTree, Any], Metrics],
    unrolled: bool | None = None,
) -> Learner:
    """`members` runs of `learner` as one program; predicts what they say together.

    `evaluate` scores the combined prediction under the metrics' own names, adds the
    mean over the members as `member_...`, and `accuracy_by_member` where there is an
    accuracy. `step` reports means over the members.

    Args:
        learner: What each member runs, on the same batches.
        members: How many.
        combine: From the members' predictions, a leading axis each, to one; such as
            `mean_probabilities`.
        score: From a prediction and its batch to metrics.
        unrolled: See `population`; by default on a CPU only.

    Raises:
        ValueError: If there is no member.
    """
    if members < 1:
        raise ValueError(f"an ensemble of {members} networks predicts nothing")
    on_cpu = jax.default_backend() == "cpu"
    many = population(learner, unrolled=on_cpu if unrolled is None else unrolled)

    def init(key: Key, hyper: Any, batch: Any) -> PyTree:
        alike = jax.tree.map(lambda x: jnp.full(members, x, jnp.float32), hyper)
        return many.init(jax.random.split(key, members), alike, batch)

    def step(state: PyTree, batch: Any) -> tuple[PyTree, Metrics]:
        after, metrics = many.step(state, batch)
        return after, {name: _over_members(m) for name, m in metrics.items()}

    def evaluate(state: PyTree, batch: Any, key: Key) -> Metrics:
        found = score(predict(state, batch, key), batch)
        each = many.evaluate(state, batch, key)
        found |= {f"member_{name}": _over_members(m) for name, m in each.items()}
        if "accuracy" in each:
            found["accuracy_by_member"] = each["accuracy"]
        return found

    def predict(state: PyTree, batch: Any, key: Key) -> PyTree:
        return combine(many.predict(state, batch, key))

    return Learner(init, step, evaluate, predict, learner.trivial)


def mean_probabilities(
    logits: Float[Array, "members b classes"],
) -> Float[Array, "b classes"]:
    """The logarithm of the members' mean probability of each class."""
    logs = jax.nn.log_softmax(widen(logits), axis=-1)
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(float(len(logits)))


def _over_members(metric: Mean) -> Mean:
    return Mean(jnp.sum(metric.total, axis=0), jnp.sum(metric.weight, axis=0))
