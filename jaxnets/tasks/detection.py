"""What detectors return, whatever their network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.metrics import Mean
from jaxnets.ops import boxes as box_ops
from jaxnets.ops.nms import nms
from jaxnets.types import DetectionBatch


class Detections(NamedTuple):
    """`d` objects that were found in each image, the surest first.

    Attributes:
        boxes: [y0, x0, y1, x1] in pixels.
        scores: In [0, 1].
        label: In [0, classes).
        present: False marks padding, which comes last.
        masks: Probabilities on a grid over each box; None from networks without them.
    """

    boxes: Float[Array, "b d 4"]
    scores: Float[Array, "b d"]
    label: Int[Array, "b d"]
    present: Bool[Array, "b d"]
    masks: Float[Array, "b d m m"] | None = None


class Truth(NamedTuple):
    """The objects of one image, or of each of several."""

    boxes: Float[Array, "*b n 4"]
    label: Int[Array, "*b n"]
    learned: Bool[Array, "*b n"]
    ignored: Bool[Array, "*b n"]


class Deciding(NamedTuple):
    """Which boxes count as found.

    Attributes:
        score: Above this.
        overlap: IoU above which the worse of two boxes of a class is dropped.
        most: In an image.
        smallest: Sides below this, in pixels, are dropped.
        candidates: Boxes of an image that suppression looks at, the best ones. What
            comes back is exact if as many as `most` of them are left, or there are no
            more.
    """

    score: float = 0.05
    overlap: float = 0.5
    most: int = 100
    smallest: float = 1e-2
    candidates: int = 1000


DECIDING = Deciding()


def size_of(batch: DetectionBatch) -> tuple[int, int]:
    """Height and width of the images, in pixels."""
    return batch.image.shape[1], batch.image.shape[2]


def truth_of(batch: DetectionBatch) -> Truth:
    """What the objects of a batch are to be taken for."""
    sound = batch.present & box_ops.valid(batch.boxes)
    return Truth(batch.boxes, batch.label, sound & ~batch.ignore, sound & batch.ignore)


def decided(
    boxes: Float[Array, "b n #k 4"],
    scores: Float[Array, "b n #k"],
    present: Bool[Array, "b n"],
    rule: Deciding,
) -> Detections:
    """The boxes that are found, from candidates with a score for each class.

    Args:
        boxes: Of each candidate for each class; `k` is 1 where they are shared.
        scores: In [0, 1].
        present: Which candidates are no padding.
        rule: Which count.
    """
    classes = scores.shape[-1]

    def of_image(boxes: Array, scores: Array, present: Array) -> Detections:
        boxes = jnp.broadcast_to(boxes, (*scores.shape, 4)).reshape(-1, 4)
        able = (scores > rule.score) & present[:, None]
        able = able.reshape(-1) & box_ops.valid(boxes, smallest_side=rule.smallest)
        ranked = jnp.where(able, scores.reshape(-1), -1)
        top, index = jax.lax.top_k(ranked, min(rule.candidates, len(ranked)))
        label = index % classes
        chosen = nms(
            boxes[index],
            top,
            threshold=rule.overlap,
            size=rule.most,
            groups=label,
            present=top >= 0,
        )
        return Detections(
            chosen.boxes,
            chosen.scores,
            jnp.where(chosen.valid, label[chosen.position], 0).astype(jnp.int32),
            chosen.valid,
        )

    return jax.vmap(of_image)(boxes, scores, present)


def recalled(
    boxes: Float[Array, "b p 4"],
    present: Bool[Array, "b p"],
    objects: Float[Array, "b n 4"],
    counted: Bool[Array, "b n"],
    *,
    overlap: float = 0.5,
) -> Mean:
    """The share of objects that one of the boxes of their image overlaps by so much.

    Args:
        boxes: Proposals, or detections.
        present: Which are no padding.
        objects: Of each image.
        counted: Which of them count.
        overlap: IoU from which an object is found.
    """
    overlaps = box_ops.pairwise(box_ops.iou, objects, boxes)
    hit = jnp.any((overlaps >= overlap) & present[:, None, :], axis=2) & counted
    total = jnp.sum(hit, dtype=jnp.float32)
    return Mean(total, jnp.sum(counted, dtype=jnp.int32))
