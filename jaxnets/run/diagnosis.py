"""Where a gradient first grew, in a run that stopped being finite.

A run reports one norm of the whole gradient, and its states are donated step by step.
So the steps since the last saved state are taken again, with the norm of every layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.learners.layerwise import layerwise
from jaxnets.run import advice, loop
from jaxnets.run.console import Console

MOST = 2000  # steps that are taken again
_LOOKED_AT = 100  # the last of them, whose norms are fetched in every step
_GROWN = 10.0  # times the median of the steps before
_COUNTS = 0.01  # share of the whole norm; a layer below it is noise
_NAMED = 3  # layers


def wrong_fields(batch: Any) -> list[str]:
    """The fields of a batch that hold a NaN or an infinity."""
    return [
        name
        for name, rows in batch._asdict().items()
        if jnp.issubdtype(np.asarray(rows).dtype, np.inexact)
        and not np.isfinite(np.asarray(rows, np.float32)).all()
    ]


def explain(
    error: loop.NonFiniteError,
    config: Any,
    steps: int,
    replay: Callable[[], str],
    console: Console,
) -> None:
    """Notes at an error where it went wrong, and what to do.

    Args:
        error: The step that was not finite.
        config: Of the run; flags are proposed for it.
        steps: Of the whole run.
        replay: Takes the last steps again, and returns what `where` does.
        console: Where it is said what could not be found out.
    """
    if wrong := wrong_fields(error.batch):
        error.add_note(
            f"The batch itself holds a NaN or an infinity in {', '.join(wrong)}: "
            "look at the data and at what is done to it."
        )
        return
    with console.optional("the layer where the gradient grew first"):
        if found := replay():
            error.add_note(f"{found}.")
    if flags := advice.diverged(config, error.step, steps):
        error.add_note(f"{advice.sentence(flags)}.")


def where(
    learner: Learner,
    state: Any,
    feed: Feed,
    *,
    start: int,
    failed: int,
    mesh: Mesh | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Which layer's gradient grew first, as a sentence; nothing where that is unknown.

    The program that reports layers may round otherwise than the run's own, so a run
    that is chaotic may fail a step earlier or later.

    Args:
        learner: What was trained. One without norms by layer gives an empty sentence.
        state: After `start` steps; it is donated.
        feed: What it was trained on.
        start: Steps that the state has taken.
        failed: The step that was not finite, from 0.
        mesh: The devices that every batch is split over.
        say: Where it is said that steps are taken again.
    """
    if failed - start > MOST:
        return ""
    say(f"taking steps {start} to {failed} again, to see where the gradient grew")
    begin = max(start, failed - _LOOKED_AT)
    for pause in loop.train(
        learner, state, feed, steps=begin, every=max(begin, 1), start=start, mesh=mesh
    ):
        state = pause.state
    norms: list[dict[str, float]] = []
    infinite: list[str] = []
    try:
        for pause in loop.train(
            layerwise(learner),
            state,
            feed,
            steps=failed + 1,
            every=1,
            start=begin,
            mesh=mesh,
        ):
            norms.append(_by_layer(pause.metrics))
            if not norms[-1]:
                return ""
            failed = pause.step
    except loop.NonFiniteError as error:
        failed = error.step
        infinite = [_layer(name) for name in error.names if "/" in name]
    layers = list(norms[0]) if norms else []
    table = np.array([list(row.values()) for row in norms]).reshape(len(norms), -1)
    told = [_grown(layers, table, begin), _not_finite(infinite, layers, failed)]
    return ". ".join(filter(None, told))


def _grown(layers: Sequence[str], norms: Float[np.ndarray, "t n"], begin: int) -> str:
    """Names the layer that grew first of those that did not shrink again."""
    count = len(norms)
    before = np.array([np.median(norms[:t], axis=0) for t in range(1, count)])
    if not before.size:
        return ""
    # Entry [t, n]: step t + 1 against the median of the t + 1 steps before it.
    total = np.linalg.norm(norms, axis=1, keepdims=True)
    lowest = np.minimum.accumulate(norms[:0:-1])[::-1]  # from that step to the last one
    counts = (norms[1:] > _COUNTS * total[1:]) & (before > 0)
    grown = counts & (lowest > _GROWN * before)
    if not grown.any():
        return ""
    t = int(np.argmax(grown.any(axis=1)))
    factor = np.where(grown[t], norms[t + 1] / np.where(before[t] > 0, before[t], 1), 0)
    n = int(factor.argmax())
    first, last = begin + t + 1, begin + count - 1
    later = f", {norms[-1, n]:.3g} in step {last}" if last > first else ""
    return (
        f"The gradient grew first in layer {layers[n]}: norm {before[t, n]:.3g} before "
        f"step {first}, {norms[t + 1, n]:.3g} in it{later}"
    )


def _not_finite(wrong: Sequence[str], layers: Sequence[str], step: int) -> str:
    if not wrong:
        return ""
    named = ", ".join(wrong[:_NAMED])
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    where = "every layer" if len(wrong) == len(layers) else f"{named}{more}"
    return f"In step {step} the gradient is not finite in {where}"


def _by_layer(metrics: Any) -> dict[str, float]:
    return {
        _layer(name): float(np.max(value.compute()))
        for name, value in metrics.items()
        if "/" in name
    }


def _layer(metric: str) -> str:
    """`conv0` of `gradient_norm/conv0`; `generator conv0` where two networks play."""
    norm, layer = metric.split("/", 1)
    return f"{norm.removesuffix('gradient_norm').strip('_')} {layer}".strip()
