"""Many runs of one learner, side by side on one device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.learners.base import Learner
from jaxnets.once import once


def population(
    learner: Learner,
    *,
    own_batches: bool = False,
    unrolled: bool = False,
    looped: bool = False,
) -> Learner:
    """Trains one member a key and a row of hyperparameters, as one program.

    Every leaf of the state, of the metrics and of the predictions gains a leading axis,
    `members`. `init` takes keys `[members]` and a `Hyper` of arrays `[members]`. A
    member does as it would alone.

    Args:
        learner: What every member runs.
        own_batches: Whether batches have a leading axis `members` as well; by default
            all members see the same ones.
        unrolled: Whether the program holds one member after the other, instead of one
            operation for all of them (`vmap`). It takes that many times as long to
            compile, and is what convolutions want on a CPU, where the members' kernels
            together become a grouped convolution.
        looped: Whether the program is a loop over the members, `lax.map`: it compiles
            as fast as one member, and needs the memory of one at a time. Not for
            convolutions on a CPU, whose gradients are slow inside a loop.

    Raises:
        ValueError: If it is to be both.
    """
    if unrolled and looped:
        raise ValueError("a population is unrolled or looped, not both")
    mapped = _unrolled if unrolled else _looped if looped else jax.vmap
    batch = 0 if own_batches else None
    return Learner(
        init=mapped(learner.init, in_axes=(0, 0, batch)),
        step=mapped(learner.step, in_axes=(0, batch)),
        evaluate=mapped(learner.evaluate, in_axes=(0, batch, None)),
        predict=mapped(learner.predict, in_axes=(0, batch, None)),
        trivial=learner.trivial,
    )


def _unrolled(
    function: Callable[..., Any], in_axes: tuple[int | None, ...]
) -> Callable[..., Any]:
    """What `jax.vmap` computes, member by member."""

    def mapped(*arguments: Any) -> Any:
        axes = list(zip(arguments, in_axes, strict=True))
        first = next(argument for argument, axis in axes if axis is not None)
        members = len(jax.tree.leaves(first)[0])
        rows = [
            function(*(a if axis is None else _member(a, i) for a, axis in axes))
            for i in range(members)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

    return mapped


def _looped(
    function: Callable[..., Any], in_axes: tuple[int | None, ...]
) -> Callable[..., Any]:
    """What `jax.vmap` computes, by a loop inside the program."""

    def mapped(*arguments: Any) -> Any:
        own = tuple(
            a for a, axis in zip(arguments, in_axes, strict=True) if axis is not None
        )

        def one(rows: tuple[Any, ...]) -> Any:
            rest = iter(rows)
            given = zip(arguments, in_axes, strict=True)
            return function(*(a if axis is None else next(rest) for a, axis in given))

        return jax.lax.map(one, own)

    return mapped


def _member(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def seeded(many: Learner, hyper: Any, batch: Any, seeds: int) -> Any:
    """The first state of a population whose members differ in their seed alone.

    Args:
        many: What `population` returned.
        hyper: The hyperparameters of every member.
        batch: What the members begin on.
        seeds: How many members; their seeds are 0, 1 and so on.
    """
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    hypers = jax.tree.map(lambda value: jnp.full(seeds, value), hyper)
    return once(many.init)(keys, hypers, batch)
