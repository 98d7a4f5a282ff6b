"""Greedy non-maximum suppression of static shape, for `jit` and `vmap`.

Greedy: of all boxes the one with the highest score is selected, every other box that
overlaps it by more than a threshold is dropped, and so on with what is left. It goes
back to Felzenszwalb et al., "Object detection with discriminatively trained part-based
models", 2010, https://doi.org/10.1109/TPAMI.2009.167, section 5.3.

The loop over boxes is a fixpoint here. In the order of falling scores, a box is kept
unless a kept box before it suppresses it; this is iterated over all boxes at once until
nothing changes. Each round decides at least one more box for good, and so the fixpoint
is exactly what the greedy loop selects. A few rounds do (8 at most for 60 random
boxes). Other static forms work in tiles and are exact only for some thresholds.

Memory grows with the square of the number of boxes, so select the best few hundred by
`jax.lax.top_k` before.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.ops.boxes import Number, iou, pairwise
from jaxnets.types import Scalar


class Selected(NamedTuple):
    """`k` selected boxes by falling score, padded with zeros."""

    position: Int[Array, " k"]  # position among the given boxes
    boxes: Float[Array, "k 4"]
    scores: Float[Array, " k"]
    valid: Bool[Array, " k"]  # False marks padding, which comes last


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    *,
    threshold: Number | Scalar,
    size: int,
    groups: Int[Array, " n"] | None = None,
    present: Bool[Array, " n"] | None = None,
) -> Selected:
    """Returns the boxes that greedy suppression selects, the best `size` of them.

    Nothing here has a gradient; gather by `position` what needs one.

    Args:
        boxes: [y0, x0, y1, x1] in pixels.
        scores: Higher is better. Of equal scores the first box is selected first.
        threshold: Largest IoU that two selected boxes may have, in [0, 1].
        size: How many rows come back.
        groups: Class or pyramid level of each box; boxes of different groups do not
            suppress each other. None: one group.
        present: Which boxes take part. None: all of them.
    """
    keep = nms_mask(boxes, scores, threshold=threshold, groups=groups, present=present)
    rank = jnp.lexsort((jnp.where(keep, -scores, 0), ~keep))
    rank = jnp.pad(rank[:size], (0, max(size - len(rank), 0)))
    count = jnp.minimum(keep.sum(), size)
    valid = jnp.arange(size) < count
    boxes, scores = jax.lax.stop_gradient((boxes, scores))
    return Selected(
        jnp.where(valid, rank, 0),
        jnp.where(valid[:, None], boxes.at[rank].get(mode="clip"), 0),
        jnp.where(valid, scores.at[rank].get(mode="clip"), 0),
        valid,
    )


def nms_mask(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    *,
    threshold: Number | Scalar,
    groups: Int[Array, " n"] | None = None,
    present: Bool[Array, " n"] | None = None,
) -> Bool[Array, " n"]:
    """Returns which boxes greedy suppression selects, in the order given.

    A box suppresses those with a lower score whose IoU with it is above the threshold.
    Boxes with a NaN, in the score or in a coordinate, are not selected and suppress
    nothing.

    Args:
        boxes: [y0, x0, y1, x1] in pixels.
        scores: Higher is better. Of equal scores the first box is selected first.
        threshold: Largest IoU that two selected boxes may have, in [0, 1].
        groups: Class or pyramid level of each box; boxes of different groups do not
            suppress each other. None: one group.
        present: Which boxes take part. None: all of them.
    """
    boxes, scores = jax.lax.stop_gradient((boxes, scores))
    able = ~jnp.isnan(scores) & jnp.isfinite(boxes).all(-1)
    if present is not None:
        able &= present
    order = jnp.argsort(jnp.where(able, -scores, jnp.inf), stable=True)
    # In half precision neighbouring IoUs would tie with the threshold.
    boxes = boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32))[order]
    able_in_order, n = able[order], len(scores)
    suppresses = pairwise(iou, boxes, boxes) > threshold
    suppresses &= jnp.arange(n)[:, None] < jnp.arange(n)[None, :]
    if groups is not None:
        group = groups[order]
        suppresses &= group[:, None] == group[None, :]

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        new = able_in_order & ~(suppresses & keep[:, None]).any(0)
        return new, (new != keep).any()

    start = able_in_order, jnp.array(True)  # noqa: FBT003
    keep, _ = jax.lax.while_loop(lambda state: state[1], step, start)
    return jnp.zeros(n, bool).at[order].set(keep, mode="drop", unique_indices=True)
