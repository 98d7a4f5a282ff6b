"""Which object each anchor or proposal is trained on, and which of them are drawn.

Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497, section 3.1.2, and
Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083, section 2.3. Of one
image and of static shape; use `vmap` for a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.ops.boxes import Number
from jaxnets.types import Key

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1

_TIE = 1e-6  # relative; compiled programs may round an IoU differently at each use


class Matches(NamedTuple):
    """What each of `n` anchors or proposals is in training."""

    target: Int[Array, " n"]  # object with the highest IoU, the first of equals
    label: Int[Array, " n"]  # POSITIVE, NEGATIVE or IGNORED


class Sample(NamedTuple):
    """`k` drawn anchors or proposals: positives first, padding last."""

    position: Int[Array, " k"]  # position among the given ones; 0 for padding
    positive: Bool[Array, " k"]
    valid: Bool[Array, " k"]  # False marks padding


def match(
    overlaps: Float[Array, "objects n"],
    present: Bool[Array, " objects"],
    *,
    high: Number,
    low: Number,
    low_quality: bool = False,
) -> Matches:
    """Returns the object that each anchor or proposal is trained on.

    Positive from `high` upwards, negative below `low`, ignored between. Without an
    object in the image all are negative.

    Args:
        overlaps: IoU of every object with every anchor.
        present: Which objects are not padding. Padding has an IoU of 0 with everything,
            so without this mask every anchor would be its best one.
        high: Least IoU of a positive: 0.7 in the RPN, 0.5 in the heads.
        low: IoU below which it is negative: 0.3 and 0.5.
        low_quality: Makes the anchors with the highest IoU of each object positive,
            unless it is 0. Ties count, up to rounding. Such an anchor keeps its own
            best object, which may be another one, as in torchvision and detectron2.

    Raises:
        ValueError: If `low` is above `high`.
    """
    if low > high:
        raise ValueError(f"the low threshold {low} is above the high one {high}")
    overlaps = jax.lax.stop_gradient(overlaps)
    overlaps = jnp.where(present[:, None], overlaps, -1)
    overlaps = jnp.pad(overlaps, ((0, not len(present)), (0, 0)), constant_values=-1)
    index, best = jnp.argmax(overlaps, 0), overlaps.max(0)
    positive = best >= high
    if low_quality:
        top = overlaps.max(1, keepdims=True)
        positive |= ((top > 0) & (overlaps >= top * (1 - _TIE))).any(0)
    label = jnp.where(best < low, NEGATIVE, IGNORED)
    return Matches(index, jnp.where(positive, POSITIVE, label))


def sample(
    key: Key, labels: Int[Array, " n"], size: int, *, fraction: Number
) -> Sample:
    """Draws positives and negatives at random, without replacement.

    At most `int(size * fraction)` positives; negatives fill the rest, as far as there
    are any. All sets of the right sizes are equally likely.

    Args:
        key: Decides the draw.
        labels: POSITIVE, NEGATIVE or IGNORED; the last are never drawn. Mark padded
            proposals so.
        size: Rows of the result: 256 an image in the RPN, 512 in the heads.
        fraction: Largest share of positives, in [0, 1]: 0.5 and 0.25.

    Raises:
        ValueError: If `fraction` is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of positives must be in [0, 1], not {fraction}")
    chance = jax.random.uniform(key, labels.shape)

    def drawn(label: int, most: int) -> tuple[Array, Array]:
        of_label = labels == label
        rank = jnp.where(of_label, chance, -1)
        _, index = jax.lax.top_k(rank, min(most, len(labels)))
        return index, of_label[index]

    positives, taken = drawn(POSITIVE, int(size * fraction))
    negatives, usable = drawn(NEGATIVE, size)
    usable &= jnp.arange(len(negatives)) < size - taken.sum()
    index = jnp.concatenate([positives, negatives])
    valid = jnp.concatenate([taken, usable])
    positive = jnp.arange(len(index)) < len(positives)
    front = jnp.argsort(~valid, stable=True)[:size]
    front_valid = valid[front]
    rows = (
        jnp.where(front_valid, index[front], 0),
        front_valid & positive[front],
        front_valid,
    )
    missing = (0, size - len(front))
    return Sample(*(jnp.pad(row, missing) for row in rows))
