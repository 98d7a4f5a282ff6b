"""A member of a population: a learner that stops where it diverges.

In a population nobody may raise: the others go on. So a member whose metrics are not
finite keeps the state from before that step, as a lone run would have it, and remembers
when and why.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from jaxnets.learners.base import Learner
from jaxnets.metrics import Mean, Metrics
from jaxnets.types import Key


class Member(NamedTuple):
    """A learner's state, and whether it still learns; of a population, a row each."""

    inner: Any
    steps: Int[Array, "*members"]  # that were tried
    alive: Bool[Array, "*members"]
    died: Int[Array, "*members"]  # the step that was not finite, from 0; -1 if none
    cause: Int[Array, "*members"]  # bit i: the i-th metric by name was not finite


def guarded(learner: Learner) -> Learner:
    """`learner`, frozen at the first step with a metric that is not finite.

    Metrics of that step and of later ones weigh nothing. All else is as in `learner`,
    to the bit.
    """

    def init(key: Key, hyper: Any, batch: Any) -> Member:
        inner = learner.init(key, hyper, batch)
        return Member(inner, jnp.int32(0), jnp.bool(1), jnp.int32(-1), jnp.int32(0))

    def step(state: Member, batch: Any) -> tuple[Member, Metrics]:
        after, metrics = learner.step(state.inner, batch)
        finite = [jnp.all(jnp.isfinite(metrics[n].total)) for n in sorted(metrics)]
        sound = jnp.all(jnp.stack(finite))
        learns = state.alive & sound
        dies = state.alive & ~sound
        bits = sum((~f).astype(jnp.int32) << i for i, f in enumerate(finite[:31]))
        inner = jax.tree.map(
            lambda new, old: _where(learns, new, old), after, state.inner
        )
        counted = {
            name: Mean(
                jnp.where(learns, m.total, jnp.zeros_like(m.total)),
                jnp.where(learns, m.weight, jnp.zeros_like(m.weight)),
            )
            for name, m in metrics.items()
        }
        return Member(
            inner,
            state.steps + 1,
            learns,
            jnp.where(dies, state.steps, state.died),
            jnp.where(dies, bits, state.cause),
        ), counted

    def evaluate(state: Member, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(state.inner, batch, key)

    def predict(state: Member, batch: Any, key: Key) -> PyTree:
        return learner.predict(state.inner, batch, key)

    return Learner(init, step, evaluate, predict, learner.trivial)


def reasons(state: Member, names: Sequence[str]) -> list[str]:
    """Why each member of a population stopped; empty where it goes on.

    Args:
        state: Of the population.
        names: Of the metrics of a step.
    """
    ordered = sorted(names)
    found = []
    for died, cause in zip(
        np.asarray(state.died), np.asarray(state.cause), strict=True
    ):
        wrong = [n for i, n in enumerate(ordered[:31]) if cause >> i & 1]
        found.append(
            f"step {died}: {', '.join(wrong)} is not finite" if died >= 0 else ""
        )
    return found


def row(state: Any, index: int) -> Any:
    """One member of a population's state, on the host: nothing is compiled for it."""

    def own(leaf: Any) -> Any:
        return leaf[index] if _is_key(leaf) else np.asarray(np.asarray(leaf)[index])

    return jax.tree.map(own, state)


def stacked(rows: Sequence[Any]) -> Any:
    """The state of a population of these members, on the host likewise."""

    def together(*leaves: Any) -> Any:
        if not _is_key(leaves[0]):
            return np.stack([np.asarray(leaf) for leaf in leaves])
        data = np.stack([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
        kind = jax.random.key_impl(leaves[0])
        return jax.random.wrap_key_data(jnp.asarray(data), impl=kind)

    return jax.tree.map(together, *rows)


def with_hyper(state: Any, hyper: Any) -> Any:
    """A state whose hyperparameters are others, wherever it holds them.

    What an optimizer or an average has copied of them stays.
    """

    def is_hyper(node: Any) -> bool:
        return isinstance(node, type(hyper))

    def changed(node: Any) -> Any:
        if not is_hyper(node):
            return node
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), hyper, node)

    return jax.tree.map(changed, state, is_leaf=is_hyper)


def _where(condition: Array, new: Array, old: Array) -> Array:
    if not _is_key(new):
        return jnp.where(condition, new, old)
    kind = jax.random.key_impl(new)
    data = jnp.where(condition, jax.random.key_data(new), jax.random.key_data(old))
    return jax.random.wrap_key_data(data, impl=kind)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
