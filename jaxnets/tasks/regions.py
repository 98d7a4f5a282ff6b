"""What detectors by regions are trained on: the R-CNN family.

- Ren, He, Girshick & Sun, "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497,
  equation 1: proposals, and heads that look at them, trained together.
- Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083, equations 1 and 2.
- He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017,
  https://arxiv.org/abs/1703.06870, section 3: a binary mask of the true class alone.

Of all anchors, and of all proposals, a few are drawn for the loss, so many of them near
an object and the rest background. Constants are those of torch's reference. Departures
from the papers there: anchors that leave the image are trained, too; both losses of
boxes are smooth L1 with beta 1/9 and are divided by the number of all that were drawn.

Objects to be ignored, a crowd say, are no targets, and what lies in one is no
background.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.metrics import Mean, Metrics
from jaxnets.models import functional
from jaxnets.models.fast_rcnn import FastRCNN
from jaxnets.models.faster_rcnn import (
    FasterRCNN,
    Proposals,
    RegionOutput,
    Regions,
)
from jaxnets.models.rcnn import RCNN
from jaxnets.ops import boxes as box_ops
from jaxnets.ops.anchors import base_anchors, grid_anchors
from jaxnets.ops.geometry import Number
from jaxnets.ops.masks import mask_targets
from jaxnets.ops.matching import IGNORED, NEGATIVE, Matches, match, sample
from jaxnets.tasks.base import Task
from jaxnets.tasks.detection import (
    DECIDING,
    Deciding,
    Detections,
    Truth,
    decided,
    recalled,
    size_of,
    truth_of,
)
from jaxnets.types import DetectionBatch, Key, Scalar, Variables

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the heads' offsets; Fast R-CNN's normalisation
_RECALL = (16, 64)  # proposals whose recall is reported


class Sampling(NamedTuple):
    """Which anchors and regions of an image the loss is of.

    Attributes:
        anchors: How many.
        near: The most that may be near an object, as a share of them.
        high: IoU with an object from which an anchor is near it.
        low: IoU with all below which it is background.
        regions: How many.
        objects: The most that may be objects, as a share of them; those get masks.
        overlap: IoU with an object from which a region is one.
        beta: Where the losses of boxes turn from a parabola into a line.
    """

    anchors: int = 256
    near: float = 0.5
    high: float = 0.7
    low: float = 0.3
    regions: int = 512
    objects: float = 0.25
    overlap: float = 0.5
    beta: float = 1 / 9


_SAMPLING = Sampling()


class _Drawn(NamedTuple):
    """What is known of the regions that were drawn in one image, or in several."""

    label: Int[Array, "*b r"]  # 0 background, else 1 + the class
    object: Int[Array, "*b r"]
    positive: Bool[Array, "*b r"]
    valid: Bool[Array, "*b r"]


def two_stage(
    model: FasterRCNN,
    *,
    sampling: Sampling = _SAMPLING,
    deciding: Deciding = DECIDING,
) -> Task:
    """Proposals, classes, boxes, and masks where the network has a head for them.

    The loss is the sum of four or five, which are metrics by their names: `objectness`
    and `proposal_boxes` of anchors, `classes` and `boxes` of regions, `masks`. A batch
    without any object is trained on as well: all is background.

    `evaluate` counts the objects that one of the best 16, and of the best 64, proposals
    overlaps by half; average precision is no mean, so the host computes it from
    `predict`, which returns `Detections`.

    Args:
        model: The network.
        sampling: What is drawn for the loss.
        deciding: Which boxes count as found.
    """

    def init(key: Key, batch: DetectionBatch) -> Variables:
        return functional.init(model, key, batch.image)

    def loss(
        variables: Variables, batch: DetectionBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        del hyper
        truth = truth_of(batch)
        region_key, anchor_key, model_key = jax.random.split(key, 3)

        def choose(proposals: Proposals) -> Regions:
            return _drawn(region_key, proposals, truth, batch.mask, sampling)

        output, buffers = functional.forward(
            model, variables, model_key, batch.image, choose
        )
        parts = {
            **_proposal_losses(anchor_key, output, truth, batch.mask, sampling),
            **_head_losses(
                output.logits, output.offsets, output.regions, truth, sampling
            ),
        }
        if output.mask_logits is not None:
            if batch.masks is None:
                raise ValueError(
                    "the network has a mask_head, but the batch has no masks"
                )
            parts["masks"] = _mask_loss(
                output, output.mask_logits, batch.masks, aligned=model.pooling.aligned
            )
        return _summed(parts, batch.mask, buffers)

    def evaluate(variables: Variables, batch: DetectionBatch, key: Key) -> Metrics:
        del key
        proposals = functional.predict(model, variables, batch.image).proposals
        truth = truth_of(batch)
        return {
            f"recall_{most}": recalled(
                proposals.boxes[:, :most],
                proposals.present[:, :most],
                truth.boxes,
                truth.learned & batch.mask[:, None],
            )
            for most in _RECALL
        }

    def predict(variables: Variables, batch: DetectionBatch, key: Key) -> Detections:
        del key
        output = functional.predict(model, variables, batch.image)
        pixels = size_of(batch)
        found = found_in(
            output.logits, output.offsets, output.proposals, pixels, deciding
        )
        if model.mask_head is None:
            return found
        logits = functional.method(
            model, variables, "masks", output.maps, found.boxes, pixels
        )
        own = jnp.take_along_axis(
            logits, 1 + found.label[:, :, None, None, None], -1, mode="clip"
        )
        return found._replace(masks=jax.nn.sigmoid(own[..., 0]))

    return Task(init, loss, evaluate, predict)


def second_stage(
    model: FastRCNN | RCNN,
    propose: Callable[[DetectionBatch], Proposals],
    *,
    sampling: Sampling = _SAMPLING,
    deciding: Deciding = DECIDING,
) -> Task:
    """Classes and boxes of regions that something else proposes: R-CNN, Fast R-CNN.

    The losses are `classes` and `boxes`, as in `two_stage`. `evaluate` counts the
    objects that one of the detections overlaps by half, whatever its class.

    Args:
        model: The network.
        propose: From a batch to the places that are looked at, traced: `windows`, what
            another network proposes, or a column of the batch.
        sampling: What is drawn for the loss.
        deciding: Which boxes count as found.
    """

    def init(key: Key, batch: DetectionBatch) -> Variables:
        return functional.init(model, key, batch.image, propose(batch).boxes[:, :1])

    def loss(
        variables: Variables, batch: DetectionBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        del hyper
        truth = truth_of(batch)
        region_key, model_key = jax.random.split(key)
        drawn = _drawn(region_key, propose(batch), truth, batch.mask, sampling)
        (logits, offsets), buffers = functional.forward(
            model, variables, model_key, batch.image, drawn.boxes
        )
        parts = _head_losses(logits, offsets, drawn, truth, sampling)
        return _summed(parts, batch.mask, buffers)

    def evaluate(variables: Variables, batch: DetectionBatch, key: Key) -> Metrics:
        found, truth = predict(variables, batch, key), truth_of(batch)
        counted = truth.learned & batch.mask[:, None]
        return {"recall": recalled(found.boxes, found.present, truth.boxes, counted)}

    def predict(variables: Variables, batch: DetectionBatch, key: Key) -> Detections:
        del key
        proposals = propose(batch)
        logits, offsets = functional.predict(
            model, variables, batch.image, proposals.boxes
        )
        pixels = size_of(batch)
        return found_in(logits, offsets, proposals, pixels, deciding)

    return Task(init, loss, evaluate, predict)


def windows(
    sizes: Sequence[Number], ratios: Sequence[Number], stride: int
) -> Callable[[DetectionBatch], Proposals]:
    """Proposes the same windows in every image, whatever is in it.

    Args:
        sizes: Square roots of their areas, in pixels.
        ratios: Heights over widths.
        stride: Pixels between the centres of two.
    """

    def propose(batch: DetectionBatch) -> Proposals:
        count, height, width = batch.image.shape[:3]
        base = base_anchors(sizes, ratios, rounded=False)
        grid = height // stride, width // stride
        boxes = grid_anchors(base, grid, (stride, stride), offset=0.5)
        boxes = box_ops.clip(boxes, (height, width))
        each = jnp.broadcast_to(boxes, (count, *boxes.shape))
        return Proposals(
            each, jnp.zeros(each.shape[:2]), jnp.ones(each.shape[:2], bool)
        )

    return propose


def found_in(
    logits: Float[Array, "b r _"],
    offsets: Float[Array, "b r _ 4"],
    proposals: Proposals,
    pixels: tuple[int, int],
    rule: Deciding,
) -> Detections:
    """The objects that heads found in the proposals.

    Args:
        logits: Of the background and the classes.
        offsets: For each of them.
        proposals: What the heads looked at.
        pixels: Height and width of the images.
        rule: Which boxes count.
    """
    boxes = box_ops.decode(
        offsets[:, :, 1:], proposals.boxes[:, :, None], weights=_WEIGHTS
    )
    scores = jax.nn.softmax(logits)[..., 1:]
    return decided(box_ops.clip(boxes, pixels), scores, proposals.present, rule)


def _summed(
    parts: dict[str, Scalar], mask: Array, buffers: PyTree
) -> tuple[Scalar, tuple[PyTree, Metrics]]:
    """What a task's loss returns, from its parts."""
    total = sum(parts.values(), jnp.zeros(()))
    count = jnp.sum(mask, dtype=jnp.int32)
    every = {"loss": total, **parts}
    metrics = {name: Mean(value * count, count) for name, value in every.items()}
    return total, (buffers, metrics)


def _matched(
    candidates: Float[Array, "n 4"],
    present: Bool[Array, " n"],
    truth: Truth,
    *,
    high: Number,
    low: Number,
    low_quality: bool = False,
) -> Matches:
    """What each candidate of an image is; what lies in a crowd is no background."""
    overlaps = box_ops.pairwise(box_ops.iou, truth.boxes, candidates)
    matches = match(
        overlaps, truth.learned, high=high, low=low, low_quality=low_quality
    )
    inside = box_ops.pairwise(box_ops.ioa, candidates, truth.boxes)
    inside = jnp.any((inside >= 0.5) & truth.ignored[None], axis=1)
    unclear = ~present | (inside & (matches.label == NEGATIVE))
    return matches._replace(label=jnp.where(unclear, IGNORED, matches.label))


def _drawn(
    key: Key, proposals: Proposals, truth: Truth, mask: Array, rule: Sampling
) -> Regions:
    """The regions of each image that are trained: objects first, then background.

    The true boxes are among them, so that there is an object before any is proposed.
    """

    def of_image(
        key: Key, proposals: Proposals, truth: Truth, real: Array
    ) -> tuple[Array, _Drawn]:
        boxes = jnp.concatenate([proposals.boxes, truth.boxes])
        present = jnp.concatenate([proposals.present, truth.learned]) & real
        matches = _matched(boxes, present, truth, high=rule.overlap, low=rule.overlap)
        drawn = sample(key, matches.label, rule.regions, fraction=rule.objects)
        at = matches.target[drawn.position]
        label = jnp.where(drawn.positive, 1 + truth.label[at], 0)
        return boxes[drawn.position], _Drawn(label, at, drawn.positive, drawn.valid)

    keys = jax.random.split(key, len(mask))
    looked, known = jax.vmap(of_image)(keys, proposals, truth, mask)
    return Regions(looked, int(rule.regions * rule.objects), known)


def _proposal_losses(
    key: Key, output: RegionOutput, truth: Truth, mask: Array, rule: Sampling
) -> dict[str, Scalar]:
    """Whether anchors are near an object, and how far it is from them."""

    def of_image(
        key: Key, logits: Array, offsets: Array, truth: Truth, real: Array
    ) -> tuple[Array, Array, Array]:
        present = jnp.broadcast_to(real, logits.shape)
        matches = _matched(
            output.anchors,
            present,
            truth,
            high=rule.high,
            low=rule.low,
            low_quality=True,
        )
        drawn = sample(key, matches.label, rule.anchors, fraction=rule.near)
        own, near = output.anchors[drawn.position], drawn.positive
        target = box_ops.encode(
            truth.boxes[matches.target[drawn.position]], own, present=near
        )
        entropy = optax.sigmoid_binary_cross_entropy(
            logits[drawn.position], near.astype(logits.dtype)
        )
        apart = _apart(offsets[drawn.position], target, rule.beta)
        return (
            jnp.sum(jnp.where(drawn.valid, entropy, 0)),
            jnp.sum(jnp.where(near, apart, 0)),
            jnp.sum(drawn.valid),
        )

    keys = jax.random.split(key, len(mask))
    entropy, apart, count = jax.vmap(of_image)(
        keys, output.anchor_logits, output.anchor_offsets, truth, mask
    )
    drawn = jnp.maximum(jnp.sum(count), 1)
    return {
        "objectness": jnp.sum(entropy) / drawn,
        "proposal_boxes": jnp.sum(apart) / drawn,
    }


def _head_losses(
    logits: Array, offsets: Array, regions: Regions, truth: Truth, rule: Sampling
) -> dict[str, Scalar]:
    """The class of each region that was drawn, and where its object is."""
    drawn: _Drawn = regions.targets
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, drawn.label)
    own = jnp.take_along_axis(offsets, drawn.label[:, :, None, None], 2, mode="clip")
    boxes = jnp.take_along_axis(truth.boxes, drawn.object[:, :, None], 1, mode="clip")
    looked = jax.lax.stop_gradient(regions.boxes)
    target = box_ops.encode(boxes, looked, weights=_WEIGHTS, present=drawn.positive)
    apart = _apart(own[:, :, 0], target, rule.beta)
    count = jnp.maximum(jnp.sum(drawn.valid), 1)
    return {
        "classes": jnp.sum(jnp.where(drawn.valid, entropy, 0)) / count,
        "boxes": jnp.sum(jnp.where(drawn.positive, apart, 0)) / count,
    }


def _mask_loss(
    output: RegionOutput, logits: Array, masks: Array, *, aligned: bool
) -> Scalar:
    """The cross-entropy of the pixels of the true class, of regions that are objects.

    The target is the share of each cell that the object covers, not rounded.
    """
    count, side = logits.shape[1], logits.shape[2]
    drawn: _Drawn = jax.tree.map(lambda x: x[:, :count], output.regions.targets)
    looked = output.regions.boxes[:, :count]
    target = jax.vmap(
        lambda m, boxes, index: mask_targets(
            m, boxes, index, (side, side), aligned=aligned
        )
    )(masks, looked, drawn.object)
    own = jnp.take_along_axis(
        logits, drawn.label[:, :, None, None, None], -1, mode="clip"
    )[..., 0]
    entropy = optax.sigmoid_binary_cross_entropy(own, target).mean((-2, -1))
    total = jnp.sum(jnp.where(drawn.positive, entropy, 0))
    return total / jnp.maximum(jnp.sum(drawn.positive), 1)


def _apart(offsets: Array, target: Array, beta: float) -> Array:
    return box_ops.smooth_l1(offsets - target, beta=beta).sum(-1)
