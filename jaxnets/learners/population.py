"""Many runs of one learner, side by side on one device."""

import jax

from jaxnets.learners.base import Learner


def population(learner: Learner, *, own_batches: bool = False) -> Learner:
    """Trains one member a key and a row of hyperparameters, as one program.

    Every leaf of the state, of the metrics and of the predictions gains a leading axis,
    `members`. `init` takes keys `[members]` and a `Hyper` of arrays `[members]`. A
    member does as it would alone.

    Args:
        learner: What every member runs.
        own_batches: Whether batches have a leading axis `members` as well; by default
            all members see the same ones.
    """
    batch = 0 if own_batches else None
    return Learner(
        init=jax.vmap(learner.init, in_axes=(0, 0, batch)),
        step=jax.vmap(learner.step, in_axes=(0, batch)),
        evaluate=jax.vmap(learner.evaluate, in_axes=(0, batch, None)),
        predict=jax.vmap(learner.predict, in_axes=(0, batch, None)),
    )
