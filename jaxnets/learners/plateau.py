"""Lower the learning rate when the validation loss stops falling.

What AlexNet's and ResNet's authors did by hand (Krizhevsky, Sutskever & Hinton, 2012,
section 5). The scale lives in the state, inside the optimizer's; `observe` moves it
after an evaluation. Optax's own `reduce_on_plateau` watches the training loss at every
step and takes no traced factor.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxnets.types import Scalar


class PlateauState(NamedTuple):
    """What the rule remembers between two evaluations."""

    scale: Float[Array, "*members"]  # of the learning rate, in (0, 1]
    best: Float[Array, "*members"]  # the lowest value observed
    stale: Int[Array, "*members"]  # observations since then
    factor: Float[Array, "*members"]
    patience: Int[Array, "*members"]
    tolerance: Float[Array, "*members"]


def scale_on_plateau(
    factor: Scalar | float = 0.1,
    *,
    patience: int = 5,
    tolerance: Scalar | float = 1e-4,
) -> optax.GradientTransformation:
    """Scales updates by what `observe` decided; put it last in the chain.

    Args:
        factor: What the scale is multiplied by, in (0, 1); may be traced.
        patience: Observations without a new best that are waited for; the next one
            lowers the scale.
        tolerance: A new best is lower than the old by more than this share of it.
    """

    def init(params: Any) -> PlateauState:
        del params
        return PlateauState(
            scale=jnp.float32(1),
            best=jnp.float32(jnp.inf),
            stale=jnp.int32(0),
            factor=jnp.array(factor, jnp.float32),
            patience=jnp.int32(patience),
            tolerance=jnp.array(tolerance, jnp.float32),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        scaled = jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates)
        return scaled, state

    return optax.GradientTransformation(init, update)


def observe(state: Any, value: Any) -> Any:
    """The state after an evaluation: every plateau rule inside it has seen `value`.

    A NaN is not a new best. A state without a plateau rule is returned as it is.

    Args:
        state: Any learner's state, or a population's.
        value: What should fall, the validation loss say; one a member in a population.
    """

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, PlateauState):
            return leaf
        seen = jnp.broadcast_to(jnp.asarray(value, jnp.float32), leaf.best.shape)
        margin = leaf.tolerance * jnp.abs(leaf.best)
        better = seen < leaf.best - jnp.where(jnp.isfinite(margin), margin, 0)
        stale = jnp.where(better, 0, leaf.stale + 1)
        lower = stale > leaf.patience
        return leaf._replace(
            scale=jnp.where(lower, leaf.scale * leaf.factor, leaf.scale),
            best=jnp.where(better, seen, leaf.best),
            stale=jnp.where(lower, 0, stale),
        )

    return jax.tree.map(moved, state, is_leaf=lambda x: isinstance(x, PlateauState))
